//! `MultipleInstructionsDisallowed`: one `CMD`, one `ENTRYPOINT`, one `HEALTHCHECK` in a stage.

use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "MultipleInstructionsDisallowed",
    summary: "one `CMD`, one `ENTRYPOINT`, one `HEALTHCHECK` in a stage",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for stage in &view.stages {
        for name in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
            let all = || stage.steps.iter().filter(|step| step.statement.is(name));
            // Those before the last have no effect.
            for step in all().take(all().count().saturating_sub(1)) {
                let message = format!("a later `{name}` of the stage overrides this one");
                findings.add_with_help(step.statement.line_span, message, "remove it");
            }
        }
    }
}
