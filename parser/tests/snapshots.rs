//! The tree of every file in `testdata/dockerfiles/valid`, and what is said about every file in
//! `invalid`. `INSTA_UPDATE=always` accepts what has changed; then read the difference.

use std::fs;
use std::path::{Path, PathBuf};

use rbuild_parser::{parse, refusal, render, to_json};
use serde_json::Value;

/// Name and text of each file of a directory, in order.
fn files(directory: &str) -> Vec<(String, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/dockerfiles")
        .join(directory);
    let entries = fs::read_dir(&root).expect("the directory is there");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| (stem(path), fs::read_to_string(path).expect("it is text")))
        .collect()
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .expect("names are text")
        .to_owned()
}

/// Spans as `line:column-line:column`, long texts cut: what a reader of the snapshots can check.
fn short(value: &Value) -> Value {
    let place = |value: &Value| format!("{}:{}", value["line"], value["column"]);
    match value {
        Value::Object(object) if object.contains_key("start") => Value::String(format!(
            "{}-{}",
            place(&object["start"]),
            place(&object["end"])
        )),
        Value::Object(object) => Value::Object(
            object
                .iter()
                .map(|(key, value)| (key.clone(), short(value)))
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.iter().map(short).collect()),
        Value::String(text) if text.len() > 500 => {
            Value::String(format!("{}… {} bytes", &text[..20], text.len()))
        }
        other => other.clone(),
    }
}

fn settings(directory: &str) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("snapshots/{directory}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

#[test]
fn valid_files_have_these_trees() {
    for (name, source) in files("valid") {
        let parsed = parse(&source);
        assert_eq!(parsed.diagnostics, [], "{name}");
        assert_eq!(parsed.tree.print(&source), source, "{name}");
        assert_eq!(
            parsed.instructions.len(),
            parsed.tree.statements.len(),
            "{name}"
        );
        let tree = to_json(&parsed, &source);
        let list = tree["instructions"].as_array().expect("there is a list");
        let mut lines: Vec<String> = list
            .iter()
            .map(|instruction| short(instruction).to_string())
            .collect();
        for key in ["escape", "syntax", "check"] {
            lines.extend(tree.get(key).map(|value| format!("{key}: {value}")));
        }
        settings("valid").bind(|| insta::assert_snapshot!(name, lines.join("\n")));
    }
}

#[test]
fn invalid_files_are_refused_like_this() {
    for (name, source) in files("invalid") {
        let parsed = parse(&source);
        assert!(parsed.has_errors(), "{name}");
        assert_eq!(parsed.tree.print(&source), source, "{name}");
        assert_eq!(
            refusal(&parsed).is_some(),
            to_json(&parsed, &source).get("error").is_some(),
            "{name}"
        );
        let frames: Vec<String> = parsed
            .diagnostics
            .iter()
            .map(|found| render("Dockerfile", &source, found))
            .collect();
        settings("invalid").bind(|| insta::assert_snapshot!(name, frames.join("\n")));
    }
}
