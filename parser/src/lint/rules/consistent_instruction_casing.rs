//! `ConsistentInstructionCasing`: all instructions are written in one case.

use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "ConsistentInstructionCasing",
    summary: "all instructions are written in one case",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    let is_lower = |keyword: &str| keyword == keyword.to_lowercase();
    let is_upper = |keyword: &str| keyword == keyword.to_uppercase();
    let (mut lower, mut upper) = (0, 0);
    for statement in view.staged() {
        if is_lower(&statement.keyword.value) {
            lower += 1;
        } else if is_upper(&statement.keyword.value) {
            upper += 1;
        }
    }
    let most_are_lower = lower > upper;
    for statement in view.staged() {
        let keyword = &statement.keyword;
        let (fits, wanted) = if most_are_lower {
            (is_lower(&keyword.value), keyword.value.to_lowercase())
        } else {
            (is_upper(&keyword.value), keyword.value.to_uppercase())
        };
        if !fits {
            let message = format!(
                "`{}` is not in the case of most instructions",
                keyword.value
            );
            findings.add_with_help(keyword.span, message, format!("write `{wanted}`"));
        }
    }
}
