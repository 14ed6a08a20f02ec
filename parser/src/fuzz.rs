//! What the fuzz targets check, so that ordinary tests can run it too. Each check panics when it
//! does not hold.

use crate::ignore::Ignore;
use crate::lint::{Options, lint_with};
use crate::source::decode;
use crate::span::Span;
use crate::syntax::Tree;
use crate::word::Word;
use crate::{parse_trigger, render, to_json};

/// Any bytes as a Dockerfile.
pub fn parse(data: &[u8]) {
    let (source, _) = decode(data);
    let parsed = crate::parse(&source);
    assert_eq!(
        parsed.tree.print(&source),
        source,
        "the tree prints as the source"
    );
    assert!(
        is_tiled(&parsed.tree, source.len()),
        "the parts have neither gaps nor overlaps"
    );
    let findings = lint_with(&parsed, &source, &Options::default());
    for found in parsed.diagnostics.iter().chain(&findings) {
        assert!(
            source.get(found.span.range()).is_some(),
            "{found:?} lies inside, on character boundaries"
        );
    }
    for found in parsed
        .diagnostics
        .iter()
        .take(3)
        .chain(findings.iter().take(3))
    {
        assert!(
            !render(&found.message, &source, found).is_empty(),
            "a frame has text"
        );
    }
    to_json(&parsed, &source);
    parse_trigger(&source);
}

fn is_tiled(tree: &Tree, length: usize) -> bool {
    let end = tree.parts.iter().try_fold(0, |end, part| {
        (part.span.start == end).then_some(part.span.end)
    });
    end.is_some_and(|end| end as usize == length)
}

/// Any bytes as a word; the first one picks the escape character.
pub fn expand(data: &[u8]) {
    let (text, _) = decode(data.get(1..).unwrap_or_default());
    let escape = if data.first().is_some_and(|byte| byte % 2 == 1) {
        '`'
    } else {
        '\\'
    };
    let word = Word::new(text.clone(), Span::default(), escape);
    let lookup = |name: &str| (name.len() % 2 == 1).then(|| text.chars().take(20).collect());
    if let Ok(expansion) = word.expand(&lookup) {
        assert!(
            expansion
                .used
                .iter()
                .all(|name| !expansion.missed.contains(name)),
            "a name has a value or has none"
        );
        assert!(
            text.contains('$') || expansion.used.is_empty(),
            "names come from variables"
        );
    }
    let words = word.expand_words(&lookup).unwrap_or_default();
    assert!(
        words.iter().all(|word| !word.is_empty()),
        "no word is empty"
    );
}

/// Any bytes as an ignore file, and after the first empty line a path.
pub fn ignore(data: &[u8]) {
    let (text, _) = decode(data);
    let (rules, path) = text.split_once("\n\n").unwrap_or((&text, "a/b/c"));
    let Ok(ignore) = Ignore::parse(rules) else {
        return;
    };
    assert_eq!(
        ignore.decide(path).ignored,
        ignore.is_ignored(path),
        "both ways agree"
    );
    for (at, _) in path.match_indices('/') {
        let directory = &path[..at];
        let is_plain = !path.split('/').any(|part| matches!(part, "" | "." | ".."));
        if is_plain && ignore.is_ignored(directory) && !ignore.may_contain_included(directory) {
            assert!(
                ignore.is_ignored(path),
                "what is skipped with `{directory}` is ignored"
            );
        }
    }
}
