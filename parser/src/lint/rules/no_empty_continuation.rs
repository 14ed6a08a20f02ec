//! `NoEmptyContinuation`: no empty line inside a continued instruction.

use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "NoEmptyContinuation",
    summary: "no empty line inside a continued instruction",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for statement in &view.parsed.tree.statements {
        if let Some(span) = statement.empty_line {
            let help =
                "remove the line, or make it a comment; later versions of Docker may refuse it";
            findings.add_with_help(span, "empty line in a continued instruction", help);
        }
    }
}
