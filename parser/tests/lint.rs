//! The examples of every page in `docs/lint`, and what skips a rule.

use std::fs;
use std::path::PathBuf;

use rbuild_parser::ignore::Ignore;
use rbuild_parser::lint::{Base, Options, RULES, lint, lint_with};
use rbuild_parser::{Severity, parse};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/lint")
}

/// The fenced blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split_once("\n```"))
        .map(|(block, _)| format!("{block}\n"))
        .collect()
}

/// The codes of what is found in a source, with what the pages say about the world.
#[track_caller]
fn codes(source: &str, ignore: Option<&Ignore>) -> Vec<&'static str> {
    let parsed = parse(source);
    assert_eq!(parsed.diagnostics, [], "{source}");
    let base = |name: &str| {
        name.starts_with("arm64v8/").then(|| Base {
            platform: Some("linux/arm64".to_owned()),
            ..Base::default()
        })
    };
    let options = Options {
        ignore,
        base: Some(&base),
        platform: Some("linux/amd64"),
        check: None,
    };
    lint_with(&parsed, source, &options)
        .iter()
        .map(|finding| finding.code)
        .collect()
}

#[test]
fn the_examples_of_every_page_do_what_they_say() {
    for rule in RULES {
        let path = directory().join(format!("{}.md", rule.name));
        let page =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let ignore = blocks(&page, "dockerignore")
            .first()
            .map(|text| Ignore::parse(text).expect("it is well formed"));
        let examples = blocks(&page, "dockerfile");
        let [bad, good] = &examples[..] else {
            panic!("{}: a bad and a good example", rule.name)
        };
        let found = codes(bad, ignore.as_ref());
        assert!(
            found.contains(&rule.name),
            "the bad example of {} is found, not {found:?}",
            rule.name
        );
        assert_eq!(
            codes(good, ignore.as_ref()),
            [""; 0],
            "the good example of {} is good",
            rule.name
        );
    }
}

#[test]
fn every_rule_is_listed_and_every_page_has_a_rule() {
    let list = fs::read_to_string(directory().join("README.md")).expect("the list is there");
    for rule in RULES {
        assert!(
            list.contains(&format!("[{0}]({0}.md)", rule.name)),
            "{}",
            rule.name
        );
    }
    for entry in fs::read_dir(directory()).expect("the pages are there") {
        let name = entry
            .expect("it can be listed")
            .file_name()
            .into_string()
            .expect("names are text");
        let name = name.strip_suffix(".md").expect("only pages are here");
        assert!(
            name == "README" || RULES.iter().any(|rule| rule.name == name),
            "{name}"
        );
    }
    assert_eq!(RULES.iter().filter(|rule| rule.in_buildkit).count(), 22);
}

#[test]
fn the_example_of_the_list_is_clean() {
    let list = fs::read_to_string(directory().join("README.md")).expect("the list is there");
    assert_eq!(codes(&blocks(&list, "dockerfile")[0], None), [""; 0]);
}

#[test]
fn rules_can_be_skipped() {
    for (source, want) in [
        ("FROM a:1 AS B\n", &["StageNameCasing"][..]),
        ("# check=skip=StageNameCasing\nFROM a:1 AS B\n", &[]),
        ("# check=skip=all\nFROM a:1 AS B\nCMD x\n", &[]),
        ("FROM a:1\n# check=skip=JSONArgsRecommended\nCMD x\n", &[]),
        ("FROM a:1\n# check=skip=all\nCMD x\n", &[]),
        (
            "FROM a:1\n# check=skip=StageNameCasing\nCMD x\n",
            &["JSONArgsRecommended"],
        ),
        (
            "# check=skip=JSONArgsRecomended\nFROM a:1\n",
            &["unknown-rule"],
        ),
        ("# check=what\nFROM a:1\n", &["bad-check-directive"]),
    ] {
        let found: Vec<_> = lint(&parse(source), source)
            .iter()
            .map(|finding| finding.code)
            .collect();
        assert_eq!(found, want, "{source}");
    }
    let source = "# check=error=true\nFROM a:1 AS B\n";
    assert_eq!(lint(&parse(source), source)[0].severity, Severity::Error);
    let source = "# check=error=true\nFROM a\n";
    assert_eq!(
        lint(&parse(source), source)[0].severity,
        Severity::Warning,
        "the rule is ours"
    );
    let options = Options {
        check: Some("skip=StageNameCasing"),
        ..Options::default()
    };
    assert_eq!(
        lint_with(&parse("FROM a:1 AS B\n"), "FROM a:1 AS B\n", &options),
        []
    );
}

#[track_caller]
fn check(source: &str, rule: &str, underlined: &[&str]) {
    let parsed = parse(source);
    assert_eq!(parsed.diagnostics, [], "{source}");
    let found = lint(&parsed, source);
    let found: Vec<_> = found
        .iter()
        .filter(|finding| finding.code == rule)
        .map(|finding| finding.span.text(source))
        .collect();
    assert_eq!(found, underlined, "{source}");
}

#[test]
fn variables_are_followed_through_stages() {
    for (source, want) in [
        ("FROM scratch\nCOPY $a $PATH\n", &["$a"][..]),
        (
            "FROM scratch AS x\nENV A=1\nARG B\nFROM x\nCOPY $A $B\n",
            &[],
        ),
        ("ARG A=1\nFROM scratch\nCOPY $A /\n", &["$A"]),
        ("ARG A=1\nFROM scratch\nARG A\nCOPY $A /\n", &[]),
        ("FROM scratch\nENV A=1 B=$A\n", &["$A"]),
        ("FROM scratch\nARG A=1 B=$A\n", &[]),
        ("FROM scratch\nCOPY ${a:-b} ${a#c}/\n", &["${a#c}/"]),
        (
            "FROM scratch\nCOPY <<E <<'F' /d/\n$a\nE\n$a\nF\n",
            &["$a\n"],
        ),
        ("FROM scratch\nRUN echo $a\n", &[]),
        (
            "FROM scratch\nRUN --mount=type=cache,target=$a true\n",
            &["$a"],
        ),
        ("FROM a:1\nCOPY $JAVA_HOME $a /\n", &["$a"]),
        (
            "FROM a:1\nENV HOME_DIRECTORY=/x\nCOPY x $HOME_DIRECTROY\n",
            &["$HOME_DIRECTROY"],
        ),
        ("FROM scratch\nCOPY $TARGETOS /\n", &["$TARGETOS"]),
    ] {
        check(source, "UndefinedVar", want);
    }
}

#[test]
fn what_a_parent_stage_sets_counts() {
    check(
        "FROM a:1 AS x\nWORKDIR /x\nFROM x\nWORKDIR y\n",
        "WorkdirRelativePath",
        &[],
    );
    check(
        "FROM a:1\nWORKDIR x\nWORKDIR y\n",
        "WorkdirRelativePath",
        &["x"],
    );
    check("FROM a:1\nWORKDIR $X/y\n", "WorkdirRelativePath", &[]);
    check(
        "FROM a:1 AS x\nSHELL [\"bash\", \"-c\"]\nFROM x\nCMD y\n",
        "JSONArgsRecommended",
        &[],
    );
    check(
        "FROM a:1 AS x\nSHELL [\"bash\", \"-ec\"]\nFROM x\nRUN <<E\na\nb\nE\n",
        "HeredocWithoutErrexit",
        &[],
    );
}

#[test]
fn our_rules_know_their_limits() {
    check(
        "FROM a:1\nRUN <<E\na &&\n  b\nE\nRUN <<E\n#!/bin/x\na\nb\nE\nRUN cat <<E\na\nb\nE\n",
        "HeredocWithoutErrexit",
        &[],
    );
    check(
        "FROM a:1\nRUN <<E\nset -eux; a\nb\nE\n",
        "HeredocWithoutErrexit",
        &[],
    );
    check(
        "FROM a:1\nWORKDIR /d\nCOPY a b /d\nCOPY a b .\nCOPY a b $X\nCOPY a /e\n",
        "SeveralSourcesOneName",
        &[],
    );
    check("FROM a:1\nARG V\nRUN echo $V\nRUN x\n", "EarlyArg", &[]);
    check("FROM a:1\nARG V\nRUN x\nRUN y\n", "EarlyArg", &[]);
    check(
        "FROM a:1\nARG V W\nRUN x $W\nRUN echo ${V}\n",
        "EarlyArg",
        &["V"],
    );
    check(
        "FROM a AS x\nFROM x\nFROM a:latest\nFROM b@sha256:0\nFROM h:5000/c\nFROM $D\n",
        "UnpinnedBase",
        &["a", "a:latest", "h:5000/c"],
    );
    check(
        "FROM a:1\nRUN apt-get -q update; apt-get -y install x\nRUN echo apt-get update\n",
        "AptGetUpdateAlone",
        &[],
    );
    check(
        "FROM a:1\nRUN A=b sudo apt update\n",
        "AptGetUpdateAlone",
        &["A=b sudo apt update"],
    );
    check(
        "FROM a:1\n# syntax=docker/dockerfile:1\nRUN x\n",
        "LateDirective",
        &["# syntax=docker/dockerfile:1"],
    );
}

#[test]
fn words_that_cannot_be_read_are_told_without_a_build() {
    for (line, code, underlined) in [
        ("ENV A=\"b", "unclosed-quote", "\"b"),
        ("COPY a ${b", "bad-substitution", "${b"),
        ("ARG A=${b^c}", "bad-substitution", "${b^"),
        ("LABEL a=${b#\\x}", "bad-pattern", "${b#\\x}"),
        ("FROM $\u{7b}\u{7d}", "bad-substitution", "${}"),
    ] {
        let source = format!("FROM a:1\n{line}\n");
        let found = lint(&parse(&source), &source);
        let found: Vec<_> = found
            .iter()
            .filter(|finding| finding.code.contains('-'))
            .map(|finding| (finding.code, finding.severity, finding.span.text(&source)))
            .collect();
        assert_eq!(found, [(code, Severity::Warning, underlined)], "{line}");
    }
}
