//! Expansion agrees with a POSIX shell where both have the same rules.

use std::process::Command;

use proptest::collection::vec;
use proptest::prelude::*;
use rbuild_parser::{Span, Word};

const VARIABLES: [(&str, &str); 3] = [("a", "x/y.tar.gz"), ("b", ""), ("c", "one")];

/// The shell, when there is one. It is asked with all words of a case at once, in double quotes,
/// where it neither splits nor matches file names.
fn shell(words: &[String]) -> Option<Vec<String>> {
    let lines = words
        .iter()
        .map(|word| format!("printf '%s\\n' \"{word}\"\n"));
    let script: String = std::iter::once("set -e\n".to_owned())
        .chain(lines)
        .collect();
    let mut command = Command::new("dash");
    command.arg("-c").arg(script).env_clear().envs(VARIABLES);
    let output = command.output().ok()?;
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("the words are text");
    Some(text.lines().map(str::to_owned).collect())
}

/// Whether there is a shell; a test that needs one and does not find it says so.
fn is_there() -> bool {
    if Command::new("dash")
        .args(["-c", ":"])
        .status()
        .is_ok_and(|status| status.success())
    {
        return true;
    }
    let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name == "dash"),
        "dash is required and not there"
    );
    false
}

/// Words of the subset: `#` and `%` with plain patterns, defaults, nesting, no quotes inside.
fn word() -> impl Strategy<Value = String> {
    let plain =
        prop::sample::select(&["u", "/", ".", "-", " ", "z9", "é"][..]).prop_map(str::to_owned);
    let name = || prop::sample::select(&["a", "b", "c", "d"][..]);
    let variable = prop_oneof![
        name().prop_map(|name| format!("${{{name}}}")),
        name().prop_map(|name| format!("${name}/"))
    ];
    let pattern =
        prop::sample::select(&["*", "?", "*/", "/*", ".*", "*.", "x", "on?", "*.gz", ""][..]);
    let trimmed = (
        name(),
        prop::sample::select(&["#", "##", "%", "%%"][..]),
        pattern,
    )
        .prop_map(|(name, operator, pattern)| format!("${{{name}{operator}{pattern}}}"));
    let leaf = prop_oneof![plain, variable, trimmed];
    let nested = leaf.prop_recursive(3, 12, 3, move |inner| {
        let operator = prop::sample::select(&[":-", "-", ":+", "+"][..]);
        (name(), operator, vec(inner, 0..3))
            .prop_map(|(name, operator, word)| format!("${{{name}{operator}{}}}", word.concat()))
    });
    vec(nested, 0..5).prop_map(|parts| parts.concat())
}

#[test]
fn expansion_agrees_with_dash() {
    if !is_there() {
        eprintln!("skipped: no dash");
        return;
    }
    let lookup = |name: &str| {
        VARIABLES
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    };
    let config = ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(words in vec(word(), 20))| {
        let Some(wanted) = shell(&words) else { return Ok(()) };
        for (text, want) in words.iter().zip(wanted) {
            let got = Word::new(text.clone(), Span::default(), '\\').expand(&lookup).expect("it is well formed");
            prop_assert_eq!(got.text, want, "{}", text);
        }
    });
}
