//! The documents say what the code does.

use std::fs;
use std::path::{Path, PathBuf};

use rbuild_parser::{CODES, ask, parse, to_json};
use serde_json::{Value, json};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(root().join("../docs/parse-json.md")).expect("the page is there")
}

fn sources(directory: &Path, into: &mut String) {
    for entry in fs::read_dir(directory).expect("the directory is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            sources(&path, into);
        } else {
            into.push_str(&fs::read_to_string(&path).expect("it is text"));
        }
    }
}

#[test]
fn every_code_is_listed_and_used() {
    let page = page();
    let mut text = String::new();
    sources(&root().join("src"), &mut text);
    let (list, rest) = text
        .split_once("pub const CODES")
        .expect("the list is there");
    let rest = rest.split_once("];").expect("the list ends").1;
    for (code, about) in CODES {
        assert!(
            page.contains(&format!("| `{code}` | {about} |")),
            "{code} is in the page"
        );
        let quoted = format!("\"{code}\"");
        assert!(
            list.contains(&quoted) || rest.contains(&quoted),
            "{code} is used"
        );
    }
    for start in [
        "Diagnostic::error(",
        "Diagnostic::warning(",
        "self.error(",
        "self.failure(",
    ] {
        for call in text.split(start).skip(1) {
            let Some(code) = call
                .trim_start()
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next())
            else {
                continue;
            };
            assert!(
                code == "code" || CODES.iter().any(|(known, _)| *known == code),
                "{code} is listed"
            );
        }
    }
}

#[test]
fn the_questions_of_the_page_have_these_answers() {
    let page = page();
    let rows: Vec<(&str, &str)> = page
        .lines()
        .filter_map(|line| {
            line.strip_prefix("| `{")?
                .strip_suffix("}` |")?
                .split_once("}` | `{")
        })
        .collect();
    assert_eq!(rows.len(), 3);
    for (question, answer) in rows {
        let got: Value =
            serde_json::from_str(&ask(&format!("{{{question}}}"))).expect("an answer is JSON");
        let want: Value =
            serde_json::from_str(&format!("{{{answer}}}")).expect("the page has JSON");
        assert_eq!(got, want, "{question}");
    }
}

#[test]
fn the_example_of_the_page_is_true() {
    let source = "FROM busybox\nCOPY --chown=1 <<EOF /a\nhello\nEOF\n";
    let mut tree = to_json(&parse(source), source);
    let instruction = &mut tree["instructions"][1];
    let object = instruction.as_object_mut().expect("it is an object");
    object.remove("span");
    for key in ["span", "content_span"] {
        object["heredocs"][0]
            .as_object_mut()
            .expect("it is an object")
            .remove(key);
    }
    assert!(page().contains(&instruction.to_string()), "{instruction}");
}

#[test]
fn a_refusal_has_its_reason_and_what_could_be_read() {
    for (source, error) in [
        ("FROM a\nFOO b\n", Some("line 2: unknown instruction `FOO`")),
        ("RUN a\n", None),
        ("FROM a\nEXPOSE x\n", None),
        ("", Some("line 1: the file has no instructions")),
    ] {
        let tree = to_json(&parse(source), source);
        assert_eq!(
            tree.get("error"),
            error.map(|text| json!(text)).as_ref(),
            "{source}"
        );
        let lines = source.lines().count();
        assert_eq!(
            tree["instructions"].as_array().map(Vec::len),
            Some(lines),
            "{source}"
        );
    }
}
