//! Stages: where each begins, what it is built from, and which of them matter.

use std::collections::BTreeSet;

use rbuild_image::{Platform, Reference};
use rbuild_parser::{
    Diagnostic, From, Instruction, Parsed, Span, Spanned, Word, parse_trigger, suggest,
};

use super::scope::{BuildArgs, GlobalScope};
use crate::error::BuildError;
use crate::graph::BaseName;

/// A stage of the Dockerfile.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) from: &'a From,
    pub(crate) span: Span,
    pub(crate) body: &'a [Spanned<Instruction>],
    pub(crate) start: Start,
}

/// What a stage, or a copy, starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    Scratch,
    Stage(usize),
    Image(Box<BaseName>),
}

/// The stages of a Dockerfile and the scope before them.
#[derive(Debug)]
pub(crate) struct Stages<'a> {
    pub(crate) global: GlobalScope,
    pub(crate) list: Vec<Stage<'a>>,
    pub(crate) target: usize,
    pub(crate) platform: Platform,
}

impl<'a> Stages<'a> {
    /// Splits the Dockerfile and resolves every `FROM`.
    pub(crate) fn new(
        parsed: &'a Parsed,
        target: Option<&str>,
        platform: &Platform,
        args: BuildArgs<'_>,
    ) -> Result<Self, BuildError> {
        let starts: Vec<usize> = (0..parsed.instructions.len())
            .filter(|i| matches!(parsed.instructions[*i].value, Instruction::From(_)))
            .collect();
        let Some(first) = starts.first() else {
            return Err(Diagnostic::error(
                "no-stage",
                Span::default(),
                "the Dockerfile has no `FROM`",
            )
            .with_help("begin with `FROM image`, or `FROM scratch` for an empty root file system")
            .into());
        };
        let froms: Vec<&From> = starts
            .iter()
            .filter_map(|i| as_from(&parsed.instructions[*i].value))
            .collect();
        let target = find_target(&froms, target)?;
        let target_name = froms[target]
            .alias
            .as_ref()
            .map_or("default", |alias| alias.value.as_str());
        let mut global = GlobalScope::new(platform, target_name, args);
        for instruction in &parsed.instructions[..*first] {
            if let Instruction::Arg(arg) = &instruction.value {
                for item in &arg.items {
                    let default = item
                        .default
                        .as_ref()
                        .map(|word| expand(word, &global))
                        .transpose()?;
                    global.declare(&item.name.value, default, args);
                }
            }
        }
        let mut stages = Self {
            global,
            list: Vec::new(),
            target,
            platform: platform.clone(),
        };
        for (number, (begin, from)) in starts.iter().zip(&froms).enumerate() {
            let end = starts
                .get(number + 1)
                .copied()
                .unwrap_or(parsed.instructions.len());
            let start = stages.start_of(from)?;
            stages.list.push(Stage {
                from,
                span: parsed.instructions[*begin].span,
                body: &parsed.instructions[begin + 1..end],
                start,
            });
        }
        Ok(stages)
    }

    /// The name of a stage in messages.
    pub(crate) fn name(&self, stage: usize) -> String {
        self.list[stage]
            .from
            .alias
            .as_ref()
            .map_or_else(|| format!("stage-{stage}"), |alias| alias.value.clone())
    }

    /// The stages that the target needs, in their order; `triggers` are the `ONBUILD` texts a stage begins with.
    pub(crate) fn reachable(
        &self,
        triggers: &dyn Fn(usize) -> Result<Vec<String>, BuildError>,
    ) -> Result<BTreeSet<usize>, BuildError> {
        let mut found = BTreeSet::new();
        let mut pending = vec![self.target];
        while let Some(stage) = pending.pop() {
            if !found.insert(stage) {
                continue;
            }
            if let Start::Stage(below) = self.list[stage].start {
                pending.push(below);
            }
            for instruction in self.list[stage].body {
                for word in super::froms(&instruction.value) {
                    if let Start::Stage(other) = self.copy_start(word, stage)? {
                        pending.push(other);
                    }
                }
            }
            for text in triggers(stage)? {
                for instruction in &parse_trigger(&text).instructions {
                    for word in super::froms(&instruction.value) {
                        // What is wrong with it is said when the trigger is lowered.
                        if let Ok(Start::Stage(other)) = self.copy_start(word, stage) {
                            pending.push(other);
                        }
                    }
                }
            }
        }
        Ok(found)
    }

    /// The `ONBUILD` texts that a stage leaves to those built from it.
    pub(crate) fn triggers(&self, stage: usize) -> Vec<String> {
        let texts =
            self.list[stage]
                .body
                .iter()
                .filter_map(|instruction| match &instruction.value {
                    Instruction::Onbuild(trigger) => Some(trigger.text.clone()),
                    _ => None,
                });
        texts.collect()
    }

    /// What `--from` names in stage `stage`: an earlier stage by name or number, or an image.
    pub(crate) fn copy_start(&self, word: &Word, stage: usize) -> Result<Start, BuildError> {
        let text = expand(word, &self.global)?;
        if text.is_empty() {
            return Err(
                Diagnostic::error("empty-from", word.span, "`--from` names nothing")
                    .with_help("variables in `--from` see the `ARG`s before the first `FROM` only")
                    .into(),
            );
        }
        if let Ok(number) = text.parse::<usize>() {
            return if number < stage {
                Ok(Start::Stage(number))
            } else {
                Err(Diagnostic::error(
                    "no-such-stage",
                    word.span,
                    format!("there is no earlier stage number {number}"),
                )
                .with_help(format!(
                    "stages are counted from 0, and this one is number {stage}"
                ))
                .into())
            };
        }
        self.named(&text, word.span, stage, self.platform.clone())
    }

    fn start_of(&self, from: &From) -> Result<Start, BuildError> {
        let text = expand(&from.image, &self.global)?;
        if text.is_empty() {
            let message = format!(
                "the base image `{}` is empty after expansion",
                from.image.raw()
            );
            return Err(Diagnostic::error("empty-base", from.image.span, message)
                .with_help("declare the variable with a default in an `ARG` before the first `FROM`, or give it with `--build-arg`")
                .into());
        }
        if text == "scratch" {
            return Ok(Start::Scratch);
        }
        let platform = match &from.platform {
            None => self.platform.clone(),
            Some(word) => {
                let text = expand(word, &self.global)?;
                text.parse()
                    .map_err(|error: rbuild_image::platform::ParsePlatformError| {
                        Diagnostic::error("bad-platform", word.span, error.to_string())
                    })?
            }
        };
        self.named(&text, from.image.span, self.list.len(), platform)
    }

    fn named(
        &self,
        text: &str,
        span: Span,
        before: usize,
        platform: Platform,
    ) -> Result<Start, BuildError> {
        let lower = text.to_ascii_lowercase();
        let named = |stage: &Stage<'_>| {
            stage
                .from
                .alias
                .as_ref()
                .is_some_and(|alias| alias.value == lower)
        };
        let earlier = &self.list[..before.min(self.list.len())];
        if let Some(stage) = earlier.iter().rposition(named) {
            return Ok(Start::Stage(stage));
        }
        let names = earlier
            .iter()
            .filter_map(|stage| Some(stage.from.alias.as_ref()?.value.as_str()));
        let near_stage = suggest(&lower, names).map(str::to_owned);
        let reference = text.parse::<Reference>().map_err(|error| {
            Diagnostic::error("bad-reference", span, error.to_string())
                .with_suggestion(near_stage.as_deref())
        })?;
        Ok(Start::Image(Box::new(BaseName {
            reference,
            platform,
            span,
            near_stage,
        })))
    }
}

fn as_from(instruction: &Instruction) -> Option<&From> {
    match instruction {
        Instruction::From(from) => Some(from),
        _ => None,
    }
}

fn find_target(froms: &[&From], target: Option<&str>) -> Result<usize, BuildError> {
    let Some(target) = target else {
        return Ok(froms.len() - 1);
    };
    let lower = target.to_ascii_lowercase();
    let named = |from: &&From| {
        from.alias
            .as_ref()
            .is_some_and(|alias| alias.value == lower)
    };
    if let Some(stage) = froms.iter().rposition(named) {
        return Ok(stage);
    }
    if let Ok(number) = target.parse::<usize>()
        && number < froms.len()
    {
        return Ok(number);
    }
    let names: Vec<&str> = froms
        .iter()
        .filter_map(|from| Some(from.alias.as_ref()?.value.as_str()))
        .collect();
    let diagnostic = Diagnostic::error(
        "no-such-target",
        Span::default(),
        format!("the Dockerfile has no stage `{target}`"),
    );
    Err(match suggest(&lower, names.iter().copied()) {
        Some(nearest) => diagnostic.with_help(format!("did you mean `{nearest}`?")),
        None if names.is_empty() => {
            diagnostic.with_help("no stage has a name: add `AS name` to a `FROM`")
        }
        None => diagnostic.with_help(format!("it has: {}", names.join(", "))),
    }
    .into())
}

pub(crate) fn expand(word: &Word, scope: &GlobalScope) -> Result<String, BuildError> {
    Ok(word.expand(&|name| scope.get(name))?.text)
}
