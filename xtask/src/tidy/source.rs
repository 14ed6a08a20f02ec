//! Rules for Rust files: length, and words that may stand only in some places.

use super::{Findings, SourceFile};

/// A file longer than this is looked at, one longer than the wall is split.
const LONG: usize = 400;
const WALL: usize = 600;

/// A word and where it may stand.
struct Rule {
    word: &'static str,
    /// Prefixes of paths.
    allowed: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        word: "#[ignore",
        allowed: &[],
        why: "a test that lacks a capability says so and returns; RBUILD_REQUIRE makes it fail",
    },
    Rule {
        word: "todo!",
        allowed: &[],
        why: "finish it or refuse it with an error",
    },
    Rule {
        word: "unimplemented!",
        allowed: &[],
        why: "finish it or refuse it with an error",
    },
    Rule {
        word: "unsafe",
        allowed: &[
            "builder/src/sandbox/",
            "builder/tests/sandbox_support/",
            "registry-server/src/http/mapping.rs",
        ],
        why: "unsafe code stays in the sandbox",
    },
    Rule {
        word: "axum",
        allowed: &["registry-server/src/http/", "registry-client/tests/"],
        why: "only the HTTP edge knows the web framework",
    },
    Rule {
        word: "println!",
        allowed: PRINTERS,
        why: "only the command lines print",
    },
    Rule {
        word: "eprintln!",
        allowed: PRINTERS,
        why: "only the command lines print",
    },
    Rule {
        word: "print!",
        allowed: PRINTERS,
        why: "only the command lines print",
    },
    Rule {
        word: "eprint!",
        allowed: PRINTERS,
        why: "only the command lines print",
    },
];

/// Marks of work put off; written in two parts so that this file does not find itself.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];

const PRINTERS: &[&str] = &["cli/", "xtask/", "registry-server/src/main.rs"];

/// Checks one Rust file.
pub(super) fn check(file: &SourceFile, findings: &mut Findings) {
    let code = code_only(&file.text);
    let lines: Vec<&str> = code.lines().collect();
    let end = product_end(&lines);
    if !is_test(&file.path) && end > LONG {
        let what = format!("{end} lines without its tests");
        if end > WALL {
            findings.error(&file.path, format!("{what}; the wall is {WALL}"));
        } else {
            findings.warning(&file.path, format!("{what}; the rule is {LONG}"));
        }
    }
    for (number, line) in file.text.lines().enumerate() {
        if let Some(mark) = MARKS.iter().find(|mark| line.contains(**mark)) {
            findings.error(
                &format!("{}:{}", file.path, number + 1),
                format!("`{mark}`: do it, or open an issue"),
            );
        }
    }
    for rule in RULES {
        let anywhere = rule
            .allowed
            .iter()
            .any(|prefix| file.path.starts_with(prefix));
        if anywhere {
            continue;
        }
        // Tests may say why they do nothing, and speak HTTP to what they test.
        let tests_too = rule.allowed.is_empty() || rule.word == "unsafe";
        let end = if tests_too { lines.len() } else { end };
        if is_test(&file.path) && !tests_too {
            continue;
        }
        for (number, line) in lines[..end].iter().enumerate() {
            if names(line, rule.word) {
                findings.error(
                    &format!("{}:{}", file.path, number + 1),
                    format!("`{}`: {}", rule.word, rule.why),
                );
            }
        }
    }
}

/// Whether a whole file is tests.
fn is_test(path: &str) -> bool {
    path.contains("/tests/")
        || path.contains("/benches/")
        || path.ends_with("/tests.rs")
        || path.ends_with("/contract.rs")
}

/// The number of lines before a trailing `mod tests`.
fn product_end(lines: &[&str]) -> usize {
    let module = lines
        .iter()
        .rposition(|line| line.starts_with("mod tests {"));
    module.map_or(lines.len(), |line| line.saturating_sub(1))
}

/// Whether `line` holds `word` as a word of its own.
fn names(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let free = |c: Option<char>| !c.is_some_and(part_of_word);
        (free(before) || word.starts_with('#')) && (free(after) || word.ends_with('!'))
    })
}

/// The text with comments and what stands in quotes blanked out; lines stay where they are.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = comment_or_literal(rest);
        if skipped == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(
                rest[..skipped]
                    .chars()
                    .map(|c| if c == '\n' { c } else { ' ' }),
            );
            rest = &rest[skipped..];
        }
    }
    code
}

/// How many bytes of a comment or a literal `text` starts with.
fn comment_or_literal(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return text.find("*/").map_or(text.len(), |end| end + 2);
    }
    if let Some(raw) = text
        .strip_prefix('r')
        .map(|rest| rest.trim_start_matches('#'))
        .filter(|raw| raw.starts_with('"'))
    {
        let hashes = text.len() - raw.len() - 1;
        let close = format!("\"{}", "#".repeat(hashes));
        return raw[1..].find(&close).map_or(text.len(), |end| {
            text.len() - raw.len() + 1 + end + close.len()
        });
    }
    if text.starts_with('"') {
        return literal_end(text, '"');
    }
    // A lifetime has no closing quote where a character has one.
    let character = text.strip_prefix('\'').and_then(|rest| {
        let mut chars = rest.chars();
        let first = chars.next()?;
        (first == '\\' || chars.next() == Some('\'')).then_some(())
    });
    if character.is_some() {
        literal_end(text, '\'')
    } else {
        0
    }
}

fn literal_end(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return offset + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::{Findings, SourceFile, check, code_only, product_end};

    fn errors(path: &str, text: &str) -> usize {
        let mut findings = Findings::default();
        check(
            &SourceFile {
                path: path.to_owned(),
                text: text.to_owned(),
            },
            &mut findings,
        );
        findings.errors.len()
    }

    #[test]
    fn words_count_in_code_only_and_only_where_forbidden() {
        assert_eq!(errors("store/src/a.rs", "fn f() { unsafe { g() } }"), 1);
        assert_eq!(
            errors("builder/src/sandbox/sys.rs", "fn f() { unsafe { g() } }"),
            0
        );
        assert_eq!(
            errors(
                "store/src/a.rs",
                "// unsafe\nconst A: &str = \"unsafe \\\" unsafe\"; /* todo!() */"
            ),
            0
        );
        assert_eq!(
            errors(
                "store/src/a.rs",
                "const A: &str = r#\"unsafe \" unsafe\"#; fn f<'a>(x: &'a str) {} const Q: char = '\"';"
            ),
            0
        );
        assert_eq!(errors("store/src/a.rs", "#![deny(unsafe_code)]"), 0);
        assert_eq!(
            errors("cli/src/a.rs", "#[ignore]\nfn f() { println!(); todo!() }"),
            2
        );
        assert_eq!(
            errors(
                "store/src/a.rs",
                "fn f() {}\n#[cfg(test)]\nmod tests {\n fn f() { println!() }\n}"
            ),
            0
        );
    }

    #[test]
    fn a_file_is_measured_without_its_tests() {
        let long = "fn f() {}\n".repeat(601);
        assert_eq!(errors("store/src/a.rs", &long), 1);
        assert_eq!(errors("store/src/a/tests.rs", &long), 0);
        assert_eq!(
            errors(
                "store/src/a.rs",
                &format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n")
            ),
            0
        );
        assert_eq!(product_end(&["a", "#[cfg(test)]", "mod tests {", "}"]), 1);
    }

    #[test]
    fn blanking_keeps_lines() {
        let text = "a \"b\nc\" d // e\nf";
        assert_eq!(code_only(text).lines().count(), text.lines().count());
        assert_eq!(code_only(text).replace(' ', ""), "a\nd\nf");
    }
}
