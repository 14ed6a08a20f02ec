//! `WorkdirRelativePath`: the first `WORKDIR` of a stage is absolute.

use crate::instruction::Instruction;
use crate::lint::view::Step;
use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "WorkdirRelativePath",
    summary: "the first `WORKDIR` of a stage is absolute",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for (index, stage) in view.stages.iter().enumerate() {
        let inherited = view
            .line_of(index)
            .iter()
            .rev()
            .skip(1)
            .any(|ancestor| ancestor.steps.iter().any(is_workdir));
        let first = stage
            .steps
            .iter()
            .find(|step| is_workdir(step))
            .filter(|_| !inherited);
        let Some(Instruction::Workdir(word)) = first.and_then(|step| step.instruction) else {
            continue;
        };
        let path = word.raw().trim_start_matches(['"', '\'']);
        // What a variable holds cannot be told here.
        if !path.starts_with(['/', '$']) && !has_drive(path) {
            let message = format!("working directory `{path}` depends on that of the base image");
            findings.add_with_help(word.span, message, format!("write `WORKDIR /{path}`"));
        }
    }
}

fn is_workdir(step: &Step<'_>) -> bool {
    matches!(step.instruction, Some(Instruction::Workdir(_)))
}

/// `C:\` and `c:/`, of images for Windows.
fn has_drive(path: &str) -> bool {
    matches!(path.as_bytes(), [drive, b':', b'/' | b'\\', ..] if drive.is_ascii_alphabetic())
}
