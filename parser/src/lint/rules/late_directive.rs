//! `LateDirective`: parser directives stand at the very top.

use crate::lint::view::View;
use crate::lint::{Findings, Rule};
use crate::syntax::PartKind;

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "LateDirective",
    summary: "parser directives stand at the very top",
    experimental: false,
    in_buildkit: false,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for part in view
        .parsed
        .tree
        .parts
        .iter()
        .filter(|part| part.kind == PartKind::Comment)
    {
        let text = part.span.text(view.source);
        let Some((name, value)) = text.trim_start_matches('#').split_once('=') else {
            continue;
        };
        let name = name.trim().to_ascii_lowercase();
        let is_value = match name.as_str() {
            "syntax" => value.contains('/'),
            "escape" => matches!(value.trim(), "\\" | "`"),
            _ => false,
        };
        if is_value {
            let message = format!("directive `{name}` has no effect here, it is a comment");
            findings.add_with_help(
                part.span,
                message,
                "move it above everything else, comments and empty lines included",
            );
        }
    }
}
