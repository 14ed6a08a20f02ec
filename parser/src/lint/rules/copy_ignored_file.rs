//! `CopyIgnoredFile`: what is copied is not ignored.

use crate::instruction::Instruction;
use crate::lint::view::View;
use crate::lint::{Findings, Rule};
use crate::pattern::clean;

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "CopyIgnoredFile",
    summary: "what is copied is not ignored",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    let Some(ignore) = view.options.ignore else {
        return;
    };
    // With a `!` rule a part of an ignored directory may be there after all.
    if ignore
        .patterns()
        .iter()
        .any(|pattern| pattern.starts_with('!'))
    {
        return;
    }
    for step in view.stages.iter().flat_map(|stage| &stage.steps) {
        let sources = match step.instruction {
            Some(Instruction::Copy(copy)) if copy.from.is_none() => &copy.sources,
            Some(Instruction::Add(add)) => &add.sources,
            _ => continue,
        };
        for word in sources
            .paths
            .iter()
            .filter(|word| !word.has_variables() && !is_remote(word.raw()))
        {
            let Ok(expansion) = word.expand(&|_| None) else {
                continue;
            };
            let path = clean(&expansion.text);
            let everything = || {
                ignore
                    .patterns()
                    .iter()
                    .any(|pattern| matches!(pattern.as_str(), "*" | "**" | "**/*"))
            };
            let decision = match path.as_str() {
                "." | "/" if everything() => ignore.decide("any"),
                "." | "/" => continue,
                path => ignore.decide(path.trim_start_matches('/')),
            };
            if let (true, Some((line, rule))) = (decision.ignored, decision.line) {
                let message = format!("`{}` is not in the build context", word.raw());
                findings.add_with_help(
                    word.span,
                    message,
                    format!("line {line} of the ignore file leaves it out: `{rule}`"),
                );
            }
        }
    }
}

fn is_remote(path: &str) -> bool {
    path.contains("://") || path.starts_with("git@")
}
