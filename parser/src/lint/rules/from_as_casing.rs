//! `FromAsCasing`: `AS` is written in the case of `FROM`.

use crate::lint::view::View;
use crate::lint::{Findings, Rule};
use crate::syntax::Shape;

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "FromAsCasing",
    summary: "`AS` is written in the case of `FROM`",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for stage in &view.stages {
        let Shape::Words(words) = &stage.statement.arguments.shape else {
            continue;
        };
        let (from, Some(keyword)) = (&stage.statement.keyword.value, words.get(1)) else {
            continue;
        };
        // A `From` in mixed case is the business of ConsistentInstructionCasing.
        let wanted = match from {
            from if *from == from.to_lowercase() => keyword.value.to_lowercase(),
            from if *from == from.to_uppercase() => keyword.value.to_uppercase(),
            _ => continue,
        };
        if keyword.value != wanted {
            let message = format!("`{}` and `{from}` differ in case", keyword.value);
            findings.add_with_help(keyword.span, message, format!("write `{wanted}`"));
        }
    }
}
