//! `--call`: what a Dockerfile offers, told without building it.

use rbuild_parser::{Instruction, Parsed, ResolvedMount, Span, Spanned, Word, parse, suggest};
use serde_json::{Value, json};

use super::check;
use crate::args::{BuildArgs, CallMethod, CheckArgs, CheckFormat};
use crate::dockerfile::{self, SourceFile};
use crate::exit::{Exit, Failure, Outcome};
use crate::printer::table;
use crate::session::Session;

/// Answers instead of building; none when the Dockerfile is to be built.
pub(crate) fn answer(args: &BuildArgs, session: &Session) -> Option<Outcome> {
    let call = args.call.unwrap_or_default();
    match call.method {
        CallMethod::Build if args.check => Some(check(args, false, session)),
        CallMethod::Build => None,
        CallMethod::Check => Some(check(args, call.as_json, session)),
        CallMethod::Outline => Some(outline(args, call.as_json, session)),
        CallMethod::Targets => Some(targets(args, call.as_json, session)),
    }
}

fn check(args: &BuildArgs, as_json: bool, session: &Session) -> Outcome {
    let args = CheckArgs {
        file: args.dockerfile.file.clone(),
        format: if as_json {
            CheckFormat::Json
        } else {
            CheckFormat::Text
        },
        context: args.dockerfile.context.clone(),
    };
    check::run(&args, session)
}

/// Prints the stages that can be asked for.
fn targets(args: &BuildArgs, as_json: bool, session: &Session) -> Outcome {
    let (source, parsed) = read(args, session)?;
    let stages = stages(&parsed, &source.text);
    if as_json {
        let list: Vec<Value> = stages
            .iter()
            .map(|stage| {
                json!({ "name": stage.name, "default": stage.is_last, "base": stage.base, "description": stage.description })
            })
            .collect();
        session
            .printer
            .line(&json!({ "targets": list }).to_string())?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = stages
        .iter()
        .filter(|stage| stage.name.is_some() || stage.is_last)
        .map(|stage| {
            let name = match (&stage.name, stage.is_last) {
                (Some(name), true) => format!("{name} (default)"),
                (Some(name), false) => name.clone(),
                (None, _) => "(default)".to_owned(),
            };
            vec![name, stage.description.clone()]
        })
        .collect();
    session
        .printer
        .bytes(table(&["TARGET", "DESCRIPTION"], &rows).as_bytes())?;
    Ok(Exit::Done)
}

/// Prints what the stage that would be built takes: arguments and secrets.
fn outline(args: &BuildArgs, as_json: bool, session: &Session) -> Outcome {
    let (source, parsed) = read(args, session)?;
    let stages = stages(&parsed, &source.text);
    let Some(target) = find(&stages, args.target.as_deref())? else {
        return Err(Failure::input("the Dockerfile has no `FROM`".to_owned()));
    };
    let chain = chain(&stages, target);
    let taken: Vec<Argument> = arguments(&parsed, &stages, &chain, &source.text)
        .into_iter()
        .map(|argument| argument.with_given(&args.build_arg))
        .collect();
    let secrets = secrets(&parsed, &stages, &chain);
    let stage = &stages[target];
    if as_json {
        let list: Vec<Value> = taken
            .iter()
            .map(|argument| json!({ "name": argument.name, "value": argument.value, "description": argument.description }))
            .collect();
        let secrets: Vec<Value> = secrets
            .iter()
            .map(|(id, required)| json!({ "name": id, "required": required }))
            .collect();
        let outline = json!({ "name": stage.name, "description": stage.description, "args": list, "secrets": secrets });
        session.printer.line(&outline.to_string())?;
        return Ok(Exit::Done);
    }
    let mut text = format!(
        "TARGET:      {}\n",
        stage.name.as_deref().unwrap_or("(default)")
    );
    if !stage.description.is_empty() {
        text = format!("{text}DESCRIPTION: {}\n", stage.description);
    }
    if !taken.is_empty() {
        let rows: Vec<Vec<String>> = taken
            .into_iter()
            .map(|argument| {
                vec![
                    argument.name,
                    argument.value.unwrap_or_default(),
                    argument.description,
                ]
            })
            .collect();
        text.push('\n');
        text.push_str(&table(&["BUILD ARG", "VALUE", "DESCRIPTION"], &rows));
    }
    if !secrets.is_empty() {
        let required = |required: bool| if required { "true" } else { "" };
        let rows: Vec<Vec<String>> = secrets
            .into_iter()
            .map(|(id, is_required)| vec![id, required(is_required).to_owned()])
            .collect();
        text.push('\n');
        text.push_str(&table(&["SECRET", "REQUIRED"], &rows));
    }
    session.printer.bytes(text.as_bytes())?;
    Ok(Exit::Done)
}

fn read(args: &BuildArgs, session: &Session) -> Outcome<(SourceFile, Parsed)> {
    dockerfile::check_context(&args.dockerfile.context)?;
    let source = dockerfile::locate(args.dockerfile.file.as_deref(), &args.dockerfile.context)?;
    let parsed = parse(&source.text);
    if parsed.has_errors() {
        dockerfile::show(session.printer, &source, &parsed.diagnostics);
        return Err(Failure::silent(Exit::Failed));
    }
    Ok((source, parsed))
}

/// A stage as this page of a Dockerfile shows it.
struct Stage {
    name: Option<String>,
    base: String,
    description: String,
    is_last: bool,
    /// Its instructions, as positions in the list of all.
    body: std::ops::Range<usize>,
}

fn stages(parsed: &Parsed, text: &str) -> Vec<Stage> {
    let starts: Vec<usize> = (0..parsed.instructions.len())
        .filter(|at| matches!(parsed.instructions[*at].value, Instruction::From(_)))
        .collect();
    let mut stages = Vec::new();
    for (number, start) in starts.iter().enumerate() {
        let Spanned {
            value: Instruction::From(from),
            span,
        } = &parsed.instructions[*start]
        else {
            continue;
        };
        let end = starts
            .get(number + 1)
            .copied()
            .unwrap_or(parsed.instructions.len());
        let name = from.alias.as_ref().map(|alias| alias.value.clone());
        stages.push(Stage {
            description: name
                .as_deref()
                .map(|name| description(text, *span, name))
                .unwrap_or_default(),
            name,
            base: from.image.raw().to_owned(),
            is_last: number + 1 == starts.len(),
            body: start + 1..end,
        });
    }
    stages
}

/// The comment right above an instruction, when it begins with the name it describes.
fn description(text: &str, instruction: Span, name: &str) -> String {
    let above = text.get(..instruction.start as usize).unwrap_or_default();
    let line = above
        .trim_end_matches([' ', '\t'])
        .strip_suffix('\n')
        .and_then(|above| above.lines().last());
    let comment = line
        .and_then(|line| line.trim_start().strip_prefix('#'))
        .map(str::trim)
        .unwrap_or_default();
    match comment.split_once(char::is_whitespace) {
        Some((first, rest)) if first.eq_ignore_ascii_case(name) => rest.trim().to_owned(),
        _ => String::new(),
    }
}

fn find(stages: &[Stage], target: Option<&str>) -> Outcome<Option<usize>> {
    let Some(wanted) = target else {
        return Ok(stages.len().checked_sub(1));
    };
    let lower = wanted.to_ascii_lowercase();
    let by_name = stages
        .iter()
        .rposition(|stage| stage.name.as_deref() == Some(lower.as_str()));
    let by_number = wanted.parse().ok().filter(|number| *number < stages.len());
    if let Some(found) = by_name.or(by_number) {
        return Ok(Some(found));
    }
    let failure = Failure::input(format!("the Dockerfile has no stage `{wanted}`"));
    let names = stages.iter().filter_map(|stage| stage.name.as_deref());
    Err(match suggest(&lower, names) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure,
    })
}

/// The stage and those it is built from, the lowest first.
fn chain(stages: &[Stage], target: usize) -> Vec<usize> {
    let mut chain = vec![target];
    let mut at = target;
    while let Some(below) = stages[..at].iter().rposition(|stage| {
        stage.name.as_deref() == Some(stages[at].base.to_ascii_lowercase().as_str())
    }) {
        chain.push(below);
        at = below;
    }
    chain.reverse();
    chain
}

/// A build argument that the stage takes.
struct Argument {
    name: String,
    value: Option<String>,
    description: String,
}

impl Argument {
    /// What the command line gives wins over a default.
    fn with_given(mut self, given: &[(String, Option<String>)]) -> Self {
        let last = given.iter().rev().find(|(name, _)| *name == self.name);
        if let Some(value) = last.and_then(|(_, value)| value.clone()) {
            self.value = Some(value);
        }
        self
    }
}

fn arguments(parsed: &Parsed, stages: &[Stage], chain: &[usize], text: &str) -> Vec<Argument> {
    let first_body = stages.first().map_or(0, |stage| stage.body.start);
    let mut taken: Vec<Argument> = Vec::new();
    let global = 0..first_body;
    let ranges =
        std::iter::once(global).chain(chain.iter().map(|stage| stages[*stage].body.clone()));
    for instruction in ranges.flat_map(|range| &parsed.instructions[range]) {
        let Instruction::Arg(arg) = &instruction.value else {
            continue;
        };
        for item in &arg.items {
            let value = item.default.as_ref().map(shown);
            let described = description(text, instruction.span, &item.name.value);
            match taken.iter_mut().find(|known| known.name == item.name.value) {
                Some(known) => {
                    known.value = value.or(known.value.take());
                    if !described.is_empty() {
                        known.description = described;
                    }
                }
                None => taken.push(Argument {
                    name: item.name.value.clone(),
                    value,
                    description: described,
                }),
            }
        }
    }
    taken
}

/// A default as people read it: quotes gone, variables as they are written.
fn shown(word: &Word) -> String {
    let kept = |name: &str| Some(format!("${name}"));
    word.expand(&kept)
        .map_or_else(|_| word.raw().to_owned(), |expansion| expansion.text)
}

/// Names of secrets, and whether the stage cannot be built without them.
fn secrets(parsed: &Parsed, stages: &[Stage], chain: &[usize]) -> Vec<(String, bool)> {
    let mut found: Vec<(String, bool)> = Vec::new();
    for instruction in chain
        .iter()
        .flat_map(|stage| &parsed.instructions[stages[*stage].body.clone()])
    {
        let Instruction::Run(run) = &instruction.value else {
            continue;
        };
        for mount in &run.mounts {
            let Ok(ResolvedMount::Secret(secret)) = mount.value.resolve(&|_| None) else {
                continue;
            };
            match found.iter_mut().find(|(id, _)| *id == secret.id) {
                Some((_, required)) => *required |= secret.required,
                None => found.push((secret.id, secret.required)),
            }
        }
    }
    found
}
