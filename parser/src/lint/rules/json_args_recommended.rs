//! `JSONArgsRecommended`: `CMD` and `ENTRYPOINT` are JSON arrays.

use crate::instruction::{Form, Instruction};
use crate::lint::view::Step;
use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "JSONArgsRecommended",
    summary: "`CMD` and `ENTRYPOINT` are JSON arrays",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for (index, stage) in view.stages.iter().enumerate() {
        // Whoever sets a shell wants it.
        let mut has_shell = view.line_of(index).iter().rev().skip(1).any(|ancestor| {
            ancestor.base.as_ref().is_some_and(|base| base.has_shell)
                || ancestor.steps.iter().any(sets_shell)
        }) || stage.base.as_ref().is_some_and(|base| base.has_shell);
        for step in &stage.steps {
            has_shell |= sets_shell(step);
            let (Some(Instruction::Cmd(command) | Instruction::Entrypoint(command)), false) =
                (step.instruction, has_shell)
            else {
                continue;
            };
            if matches!(command.form, Form::Shell(_)) {
                let name = step.statement.name();
                let message = format!(
                    "`{name}` in shell form runs below a shell, which does not pass signals on"
                );
                findings.add_with_help(
                    step.statement.line_span,
                    message,
                    format!("write `{name} [\"…\"]`"),
                );
            }
        }
    }
}

fn sets_shell(step: &Step<'_>) -> bool {
    matches!(step.instruction, Some(Instruction::Shell(_)))
}
