//! From instructions to a graph of steps. Pure but for one question: what a base image's config says.
//!
//! Running the planner twice gives equal graphs: no clock, no environment, no randomness.

mod history;
mod lower;
mod metadata;
mod mount;
mod run;
pub(crate) mod scope;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rbuild_parser::{Instruction, Parsed, Word, suggest};

use crate::base::BaseImage;
use crate::error::BuildError;
use crate::graph::{BaseName, Graph, Op, StagePlan, Step, StepId};
use crate::request::BuildRequest;
use lower::{Lowering, Tip};
use scope::BuildArgs;
use stage::{Stages, Start};

/// Answers what the plan asks the world: the config of a base image.
pub(crate) type AskBase<'a> = dyn Fn(&BaseName) -> Result<Arc<BaseImage>, BuildError> + Sync + 'a;

/// A plan and what is worth saying about it.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) graph: Graph,
    pub(crate) notices: Vec<String>,
}

/// Plans a build.
pub(crate) fn plan(
    parsed: &Parsed,
    request: &BuildRequest,
    ask: &AskBase<'_>,
) -> Result<Planned, BuildError> {
    let args = BuildArgs(&request.build_args);
    let stages = Stages::new(parsed, request.target.as_deref(), &request.platform, args)?;
    let reachable = reach(&stages, ask)?;

    let mut steps = Vec::new();
    let mut tips: BTreeMap<usize, Tip> = BTreeMap::new();
    for (order, stage) in reachable.iter().enumerate() {
        let mut lowering = Lowering {
            request,
            stages: &stages,
            ask,
            tips: &tips,
            index: *stage,
            order,
            steps: &mut steps,
            images: BTreeMap::new(),
        };
        let tip = lowering.stage()?;
        tips.insert(*stage, tip);
    }
    name_steps(&mut steps, reachable.len());
    let target = tips
        .remove(&stages.target)
        .ok_or_else(|| BuildError::Diagnostics(Vec::new()))?;
    let graph = Graph {
        steps,
        target: finish(target, request),
        stages: reachable.len(),
    };
    Ok(Planned {
        graph,
        notices: unused_args(parsed, args),
    })
}

/// The stages that matter. Their bases are asked for on the way: triggers of a base may name more stages.
fn reach(stages: &Stages<'_>, ask: &AskBase<'_>) -> Result<BTreeSet<usize>, BuildError> {
    let mut asked = BTreeSet::new();
    loop {
        let reachable = stages.reachable(&|stage| match &stages.list[stage].start {
            Start::Image(name) if asked.contains(&stage) => {
                Ok(ask(name)?.config.config.on_build.clone())
            }
            Start::Stage(below) => Ok(stages.triggers(*below)),
            Start::Image(_) | Start::Scratch => Ok(Vec::new()),
        })?;
        let fresh: Vec<usize> = reachable.difference(&asked).copied().collect();
        if fresh.is_empty() {
            return Ok(reachable);
        }
        ask_all(stages, &fresh, ask)?;
        asked.extend(fresh);
    }
}

/// The stages and images that an instruction takes files from.
fn froms(instruction: &Instruction) -> Vec<&Word> {
    match instruction {
        Instruction::Copy(copy) => copy.from.iter().collect(),
        Instruction::Run(run) => run
            .mounts
            .iter()
            .filter_map(|mount| mount::from(&mount.value))
            .collect(),
        _ => Vec::new(),
    }
}

/// Base images are asked for at once, so that pulls run side by side.
fn ask_all(stages: &Stages<'_>, reachable: &[usize], ask: &AskBase<'_>) -> Result<(), BuildError> {
    let mut names: Vec<BaseName> = Vec::new();
    let mut add = |start: Start| {
        if let Start::Image(name) = start
            && !names
                .iter()
                .any(|own| own.reference == name.reference && own.platform == name.platform)
        {
            names.push(*name);
        }
    };
    for stage in reachable {
        add(stages.list[*stage].start.clone());
        for instruction in stages.list[*stage].body {
            for word in froms(&instruction.value) {
                add(stages.copy_start(word, *stage)?);
            }
        }
    }
    if let [only] = &names[..] {
        return ask(only).map(drop);
    }
    std::thread::scope(|threads| {
        let asked: Vec<_> = names
            .iter()
            .map(|name| threads.spawn(move || ask(name).map(drop)))
            .collect();
        let answers = asked
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(BuildError::Cancelled)));
        answers.collect::<Result<Vec<()>, _>>().map(drop)
    })
}

/// `[build 2/5] RUN make`: the stage's name only when there are several stages.
fn name_steps(steps: &mut [Step], stages: usize) {
    let mut totals: BTreeMap<usize, usize> = BTreeMap::new();
    for step in steps.iter() {
        *totals.entry(step.stage).or_default() += 1;
    }
    for step in steps {
        let total = totals.get(&step.stage).copied().unwrap_or_default();
        let stage = if stages > 1 {
            format!("{} ", step.stage_name)
        } else {
            String::new()
        };
        step.name = format!("[{stage}{}/{total}] {}", step.number, step.name);
    }
}

fn finish(tip: Tip, request: &BuildRequest) -> StagePlan {
    let mut plan = tip.plan;
    for (name, value) in &request.labels {
        plan.config
            .config
            .labels
            .insert(name.clone(), value.clone());
    }
    plan
}

/// A build argument that no `ARG` takes is most often a slip of the pen.
fn unused_args(parsed: &Parsed, args: BuildArgs<'_>) -> Vec<String> {
    let mut declared: Vec<&str> = Vec::new();
    for instruction in &parsed.instructions {
        if let Instruction::Arg(arg) = &instruction.value {
            declared.extend(arg.items.iter().map(|item| item.name.value.as_str()));
        }
    }
    let automatic = ["BUILD", "TARGET"]
        .iter()
        .flat_map(|prefix| {
            ["PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT", "STAGE"]
                .map(|s| format!("{prefix}{s}"))
        })
        .collect::<Vec<_>>();
    let is_used = |name: &str| {
        declared.contains(&name)
            || scope::is_predefined(name)
            || automatic.iter().any(|own| own == name)
    };
    let mut notices = Vec::new();
    for (name, _) in args.0.iter().filter(|(name, _)| !is_used(name)) {
        let hint = suggest(name, declared.iter().copied())
            .map(|nearest| format!("; did you mean `{nearest}`?"))
            .unwrap_or_default();
        notices.push(format!(
            "build argument `{name}` is not used by any `ARG`{hint}"
        ));
    }
    notices
}

/// A step before it has its full name.
pub(crate) struct NewStep<'a> {
    pub(crate) op: Op,
    pub(crate) parent: Option<StepId>,
    pub(crate) span: rbuild_parser::Span,
    pub(crate) text: &'a str,
}
