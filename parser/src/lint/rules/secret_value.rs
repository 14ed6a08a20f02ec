//! `SecretValue`: no `ARG`, `ENV` or `LABEL` holds what looks like a key or a token.

use crate::instruction::Instruction;
use crate::lint::view::View;
use crate::lint::{Findings, Rule};
use crate::word::Word;

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "SecretValue",
    summary: "no `ARG`, `ENV` or `LABEL` holds what looks like a key or a token",
    experimental: false,
    in_buildkit: false,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for step in view
        .head
        .iter()
        .chain(view.stages.iter().flat_map(|stage| &stage.steps))
    {
        let words: Vec<&Word> = match step.instruction {
            Some(Instruction::Arg(arg)) => arg
                .items
                .iter()
                .filter_map(|item| item.default.as_ref())
                .collect(),
            Some(Instruction::Env(env)) => env.pairs.iter().map(|pair| &pair.value).collect(),
            Some(Instruction::Label(label)) => label.pairs.iter().map(|pair| &pair.value).collect(),
            _ => continue,
        };
        for word in words {
            if let Some(what) = secret(word.raw().trim_matches(['"', '\''])) {
                let message =
                    format!("this looks like {what}, and stays in the image for everybody to read");
                findings.add_with_help(
                    word.span,
                    message,
                    "withdraw it, and use `RUN --mount=type=secret,id=…`",
                );
            }
        }
    }
}

/// Forms of secrets that are hard to mistake: how they begin, how long they are at least, what they are.
const FORMS: [(&str, usize, &str); 11] = [
    ("AKIA", 20, "an access key of AWS"),
    ("ASIA", 20, "an access key of AWS"),
    ("ghp_", 40, "a token of GitHub"),
    ("gho_", 40, "a token of GitHub"),
    ("ghs_", 40, "a token of GitHub"),
    ("github_pat_", 60, "a token of GitHub"),
    ("glpat-", 26, "a token of GitLab"),
    ("xoxb-", 40, "a token of Slack"),
    ("xoxp-", 40, "a token of Slack"),
    ("npm_", 40, "a token of npm"),
    ("pypi-AgE", 60, "a token of PyPI"),
];

fn secret(value: &str) -> Option<&'static str> {
    if value.contains("-----BEGIN ") && value.contains("PRIVATE KEY") {
        return Some("a private key");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let form = FORMS
        .iter()
        .find(|(start, length, _)| value.starts_with(start) && value.len() >= *length);
    form.filter(|_| value.chars().all(plain))
        .map(|(_, _, what)| *what)
}
