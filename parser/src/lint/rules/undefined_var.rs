//! `UndefinedVar`: a variable is defined before it is used.

use crate::instruction::Instruction;
use crate::lint::scope::{Scope, expanded_heredocs, expanded_words, stages};
use crate::lint::view::View;
use crate::lint::{Findings, Rule};
use crate::span::Span;

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "UndefinedVar",
    summary: "a variable is defined before it is used",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for (index, stage) in stages(view) {
        let mut scope = Scope::at_start(view, index);
        for step in &stage.steps {
            match step.instruction {
                // A later name of one `ARG` sees the earlier ones.
                Some(Instruction::Arg(arg)) => {
                    for item in &arg.items {
                        if let Some(default) = &item.default {
                            report(
                                &scope,
                                &default.undefined(&|name| scope.defines(name)),
                                default.span,
                                findings,
                            );
                        }
                        scope.declare(&item.name.value);
                    }
                }
                Some(instruction) => {
                    for word in expanded_words(instruction) {
                        report(
                            &scope,
                            &word.undefined(&|name| scope.defines(name)),
                            word.span,
                            findings,
                        );
                    }
                    for heredoc in expanded_heredocs(instruction)
                        .iter()
                        .filter(|heredoc| heredoc.expand)
                    {
                        let missed = heredoc.undefined(&|name| scope.defines(name));
                        report(&scope, &missed, heredoc.content_span, findings);
                    }
                    scope.pass(step);
                }
                None => {}
            }
        }
    }
}

fn report(scope: &Scope, missed: &[String], span: Span, findings: &mut Findings) {
    for name in missed {
        let near = scope.nearest(name);
        // A base image that is not at hand may define it; its names are in upper case.
        if scope.open && near.is_none() && !name.contains(|c: char| c.is_ascii_lowercase()) {
            continue;
        }
        // Shell parameters such as `$1` and `$@` are a mistake of another kind.
        let message = format!("variable `${name}` is not defined here");
        let help = match near {
            Some(near) => format!("did you mean `${near}`?"),
            None => format!(
                "declare it with `ARG {name}` or `ENV {name}=…` above, or give a default: `${{{name}:-…}}`"
            ),
        };
        findings.add_with_help(span, message, help);
    }
}
