//! `AptGetUpdateAlone`: `apt-get update` and `apt-get install` share a `RUN`.

use crate::instruction::{Instruction, Script};
use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "AptGetUpdateAlone",
    summary: "`apt-get update` and `apt-get install` share a `RUN`",
    experimental: false,
    in_buildkit: false,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for step in view.stages.iter().flat_map(|stage| &stage.steps) {
        let Some(Instruction::Run(run)) = step.instruction else {
            continue;
        };
        let text = match run.script() {
            Script::Exec(words) => words.join(" "),
            Script::Shell(text) | Script::File { content: text, .. } => text,
        };
        let words: Vec<&str> = text
            .split(|c: char| c.is_whitespace() || matches!(c, ';' | '&' | '|'))
            .collect();
        let runs = |verbs: &[&str]| {
            words.iter().enumerate().any(|(at, word)| {
                let verb = words[at + 1..]
                    .iter()
                    .find(|word| !word.starts_with('-') && !word.is_empty());
                matches!(*word, "apt-get" | "apt") && verb.is_some_and(|verb| verbs.contains(verb))
            })
        };
        let others = [
            "install",
            "upgrade",
            "dist-upgrade",
            "full-upgrade",
            "build-dep",
            "download",
            "source",
        ];
        if runs(&["update"]) && !runs(&others) {
            let message = "the package lists are kept from this layer, and a later step installs from old ones";
            findings.add_with_help(
                run.command.span,
                message,
                "write `RUN apt-get update && apt-get install …`",
            );
        }
    }
}
