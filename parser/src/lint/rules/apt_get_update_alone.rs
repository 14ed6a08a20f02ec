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
        let verbs: Vec<&str> = text
            .split([';', '&', '|', '\n', '(', ')'])
            .filter_map(apt_verb)
            .collect();
        if verbs.contains(&"update") && verbs.iter().all(|verb| *verb == "update") {
            let message = "the package lists are kept from this layer, and a later step installs from old ones";
            findings.add_with_help(
                run.command.span,
                message,
                "write `RUN apt-get update && apt-get install …`",
            );
        }
    }
}

/// What a command tells apt to do, when it is one of apt.
fn apt_verb(command: &str) -> Option<&str> {
    let before = |word: &&str| {
        matches!(
            *word,
            "sudo" | "exec" | "time" | "then" | "do" | "else" | "if" | "!" | "{"
        ) || word.contains('=')
    };
    let mut words = command.split_whitespace().skip_while(before);
    words
        .next()
        .filter(|word| matches!(*word, "apt-get" | "apt"))?;
    words.find(|word| !word.starts_with('-'))
}
