//! `SecretsUsedInArgOrEnv`: no `ARG` or `ENV` is named like a secret.

use crate::instruction::Instruction;
use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "SecretsUsedInArgOrEnv",
    summary: "no `ARG` or `ENV` is named like a secret",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for step in view.stages.iter().flat_map(|stage| &stage.steps) {
        let names: Vec<_> = match step.instruction {
            Some(Instruction::Arg(arg)) => arg
                .items
                .iter()
                .map(|item| (item.name.value.as_str(), item.name.span))
                .collect(),
            Some(Instruction::Env(env)) => env
                .pairs
                .iter()
                .map(|pair| (pair.key.raw(), pair.key.span))
                .collect(),
            _ => continue,
        };
        for (name, span) in names.into_iter().filter(|(name, _)| is_secret(name)) {
            let message = format!(
                "`{name}` looks like a secret, and `{}` leaves it in the image",
                step.statement.name()
            );
            let help = "hand it to the step that needs it: `RUN --mount=type=secret,id=…`";
            findings.add_with_help(span, message, help);
        }
    }
}

/// A whole part of the name, between underscores, is a telling word, and none tells the contrary.
fn is_secret(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let has = |words: &[&str]| {
        name.split('_')
            .any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
    };
    has(&SECRET) && !has(&HARMLESS)
}
