//! `LegacyKeyValueFormat`: `ENV` and `LABEL` are written with `=`.

use crate::instruction::{Env, Instruction, Label};
use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "LegacyKeyValueFormat",
    summary: "`ENV` and `LABEL` are written with `=`",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for step in view.stages.iter().flat_map(|stage| &stage.steps) {
        let Some(
            Instruction::Env(Env {
                pairs,
                legacy: true,
            })
            | Instruction::Label(Label {
                pairs,
                legacy: true,
            }),
        ) = step.instruction
        else {
            continue;
        };
        let name = step.statement.name();
        let message = format!("`{name}` with a blank instead of `=`");
        let help = pairs.first().map(|pair| {
            let value = pair.value.raw();
            let quoted = value.contains(char::is_whitespace) && !value.starts_with(['"', '\'']);
            let quote = if quoted { "\"" } else { "" };
            format!("write `{name} {}={quote}{value}{quote}`", pair.key.raw())
        });
        findings.add_with_help(step.statement.line_span, message, help.unwrap_or_default());
    }
}
