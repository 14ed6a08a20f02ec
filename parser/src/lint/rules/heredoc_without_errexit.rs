//! `HeredocWithoutErrexit`: a script in a heredoc stops at the first error.

use crate::instruction::{Form, Instruction, Script};
use crate::lint::view::Step;
use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "HeredocWithoutErrexit",
    summary: "a script in a heredoc stops at the first error",
    experimental: false,
    in_buildkit: false,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for (index, stage) in view.stages.iter().enumerate() {
        let inherited = view.line_of(index);
        let earlier = inherited
            .iter()
            .rev()
            .skip(1)
            .rev()
            .flat_map(|ancestor| &ancestor.steps);
        let mut stops = earlier
            .filter_map(shell_of)
            .next_back()
            .is_some_and(stops_at_errors);
        for step in &stage.steps {
            if let Some(shell) = shell_of(step) {
                stops = stops_at_errors(shell);
            }
            let (Some(Instruction::Run(run)), false) = (step.instruction, stops) else {
                continue;
            };
            let (Script::Shell(script), Form::Shell(line)) = (run.script(), &run.command.form)
            else {
                continue;
            };
            let Some(heredoc) = run.heredocs.first() else {
                continue;
            };
            let whole = heredoc.span.text(view.source) == line.trim();
            if whole && commands(&script) > 1 && !begins_with_errexit(&script) {
                let message = "a command that fails in the middle of this script does not stop it";
                findings.add_with_help(heredoc.span, message, "begin the script with `set -e`");
            }
        }
    }
}

fn shell_of<'a>(step: &Step<'a>) -> Option<&'a [String]> {
    match step.instruction {
        Some(Instruction::Shell(shell)) => Some(&shell.value),
        _ => None,
    }
}

/// `-e`, also among other letters, or `-o errexit`.
fn stops_at_errors(shell: &[String]) -> bool {
    shell.iter().any(|word| {
        word == "errexit"
            || (word.starts_with('-') && !word.starts_with("--") && word.contains('e'))
    })
}

/// Lines that are more than comments; a line that goes on counts with the next.
fn commands(script: &str) -> usize {
    let joined = script.replace("\\\n", " ");
    let mut open = false;
    joined
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter(|line| {
            !std::mem::replace(
                &mut open,
                line.ends_with("&&") || line.ends_with("||") || line.ends_with('|'),
            )
        })
        .count()
}

fn begins_with_errexit(script: &str) -> bool {
    let lines = script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.take(3).any(|line| {
        let Some(options) = line.strip_prefix("set ") else {
            return false;
        };
        stops_at_errors(
            &options
                .split([' ', ';', '&'])
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
    })
}
