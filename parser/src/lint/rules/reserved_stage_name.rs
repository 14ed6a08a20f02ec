//! `ReservedStageName`: no stage is called `scratch` or `context`.

use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "ReservedStageName",
    summary: "no stage is called `scratch` or `context`",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for alias in view
        .stages
        .iter()
        .filter_map(|stage| stage.from.alias.as_ref())
    {
        if matches!(alias.value.as_str(), "scratch" | "context") {
            findings.add(alias.span, format!("`{}` is a reserved name", alias.value));
        }
    }
}
