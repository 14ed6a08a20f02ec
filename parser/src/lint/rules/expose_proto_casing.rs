//! `ExposeProtoCasing`: the protocol of a port is in lower case.

use crate::instruction::Instruction;
use crate::lint::view::View;
use crate::lint::{Findings, Rule};
use crate::port::{self, Ports};
use crate::word::Word;

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "ExposeProtoCasing",
    summary: "the protocol of a port is in lower case",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for (word, ports) in exposed(view) {
        let lower = ports.protocol.to_lowercase();
        if lower != ports.protocol {
            let message = format!("protocol `{}` is not in lower case", ports.protocol);
            findings.add_with_help(word.span, message, format!("write `{lower}`"));
        }
    }
}

/// The ports of the file that no variable hides.
pub(super) fn exposed<'v>(view: &'v View<'_>) -> impl Iterator<Item = (&'v Word, Ports)> {
    let steps = view.stages.iter().flat_map(|stage| &stage.steps);
    let words = steps.filter_map(|step| match step.instruction {
        Some(Instruction::Expose(words)) => Some(words),
        _ => None,
    });
    words.flatten().filter_map(|word| {
        let text = word
            .expand(&|_| None)
            .ok()
            .filter(|_| !word.has_variables())?
            .text;
        Some((word, port::parse(&text).ok()?))
    })
}
