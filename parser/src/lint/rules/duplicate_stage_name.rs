//! `DuplicateStageName`: each stage has a name of its own.

use std::collections::HashSet;

use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "DuplicateStageName",
    summary: "each stage has a name of its own",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    let mut seen: HashSet<&str> = HashSet::new();
    for alias in view
        .stages
        .iter()
        .filter_map(|stage| stage.from.alias.as_ref())
    {
        if !seen.insert(&alias.value) {
            let message = format!("an earlier stage is called `{}` too", alias.value);
            findings.add_with_help(
                alias.span,
                message,
                "the name means the later one from here on",
            );
        }
    }
}
