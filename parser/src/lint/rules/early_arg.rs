//! `EarlyArg`: an `ARG` stands right above the steps that need it.

use crate::instruction::Instruction;
use crate::lint::view::View;
use crate::lint::{Findings, Rule};
use crate::syntax::Statement;

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "EarlyArg",
    summary: "an `ARG` stands right above the steps that need it",
    experimental: false,
    in_buildkit: false,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for stage in &view.stages {
        for (index, step) in stage.steps.iter().enumerate() {
            let Some(Instruction::Arg(arg)) = step.instruction else {
                continue;
            };
            for item in arg
                .items
                .iter()
                .filter(|item| !is_ambient(&item.name.value))
            {
                let after = &stage.steps[index + 1..stage.steps.len().min(index + 1 + FAR)];
                // Where no text names it, a program may read it from its environment.
                let Some(first_use) = after
                    .iter()
                    .position(|step| mentions(view.source, step.statement, &item.name.value))
                else {
                    continue;
                };
                let costly = after[..first_use]
                    .iter()
                    .filter(|step| matches!(step.instruction, Some(Instruction::Run(_))));
                let costly = costly.count();
                if costly > 0 {
                    let name = &item.name.value;
                    let steps = if costly == 1 {
                        "a `RUN` again that does".to_owned()
                    } else {
                        format!("{costly} `RUN`s again that do")
                    };
                    let message = format!("another value of `{name}` runs {steps} not use it");
                    let line = view
                        .lines
                        .line_column(after[first_use].statement.span.start)
                        .line;
                    findings.add_with_help(
                        item.name.span,
                        message,
                        format!("move `ARG {name}` down to line {line}"),
                    );
                }
            }
        }
    }
}

/// How many instructions further down a use is looked for.
const FAR: usize = 200;

/// Arguments that tools read without being told.
fn is_ambient(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    upper.ends_with("_PROXY")
        || upper.starts_with("TARGET")
        || upper.starts_with("BUILD")
        || upper == "DEBIAN_FRONTEND"
        || upper == "SOURCE_DATE_EPOCH"
}

/// Whether the text of an instruction has the name as a whole word.
fn mentions(source: &str, statement: &Statement, name: &str) -> bool {
    let heredocs = statement
        .heredocs
        .iter()
        .map(|heredoc| heredoc.content.as_str());
    std::iter::once(statement.line_span.text(source))
        .chain(heredocs)
        .any(|text| {
            text.match_indices(name).any(|(at, _)| {
                let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
                !text[..at].ends_with(is_part) && !text[at + name.len()..].starts_with(is_part)
            })
        })
}
