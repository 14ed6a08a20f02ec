//! `StageNameCasing`: a stage name is in lower case.

use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "StageNameCasing",
    summary: "a stage name is in lower case",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for stage in &view.stages {
        let Some(alias) = &stage.from.alias else {
            continue;
        };
        let written = alias.span.text(view.source);
        if written.to_lowercase() != written {
            let message = format!("stage name `{written}` is not in lower case");
            findings.add_with_help(alias.span, message, format!("write `{}`", alias.value));
        }
    }
}
