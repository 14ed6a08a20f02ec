//! Every Dockerfile at hand, compared with what Moby's own parser makes of it.
//!
//! Needs Python with the package `dockerfile` (`RBUILD_PYTHON` names the interpreter, `python3`
//! when it is not set). `RBUILD_DOCKERFILES` names directories with further files, separated by
//! colons. The known differences are in `docs/parser-differences.md`, and in [`EXCUSED`].

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rbuild_parser::{decode, parse, to_json};
use serde_json::{Value, json};

/// Files that are read differently on purpose, with the reason.
const EXCUSED: &[(&str, &str)] = &[
    (
        "onbuild",
        "the package does not hand on the heredocs of `ONBUILD`",
    ),
    (
        "directive-spelling",
        "the reference always has the backslash as escape character in flags",
    ),
    (
        "directives",
        "the reference does not know `# check=`, so `# escape=` below it is a comment there",
    ),
    (
        "heredoc-names",
        "the reference is older than blanks after `<<`",
    ),
    (
        "json-fallback",
        "the reference is older than the rule that nothing may follow a JSON array",
    ),
    (
        "long-line",
        "the reference has a limit of 64 KiB for a line",
    ),
    (
        "wide-characters",
        "the reference takes the bytes of a flag for characters",
    ),
];

/// The interpreter, when the reference can be run with it.
fn python() -> Option<String> {
    let python = std::env::var("RBUILD_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python)
        .args(["-c", "import dockerfile"])
        .stderr(Stdio::null())
        .status();
    if probe.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name == "dockerfile"),
        "the package `dockerfile` is required and not there"
    );
    None
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().to_lowercase();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&path, files),
            Ok(kind) if kind.is_file() && is_dockerfile(&name) => files.push(path),
            _ => {}
        }
    }
}

fn is_dockerfile(name: &str) -> bool {
    let begins = |start: &str| {
        name.strip_prefix(start)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    name.ends_with(".dockerfile")
        || (begins("dockerfile") || begins("containerfile")) && !name.ends_with(".dockerignore")
}

fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(
        &PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata"),
        &mut files,
    );
    for directory in std::env::var("RBUILD_DOCKERFILES")
        .unwrap_or_default()
        .split(':')
        .filter(|name| !name.is_empty())
    {
        collect(Path::new(directory), &mut files);
    }
    files.sort();
    files
}

/// Our tree in the form that the reference prints.
fn ours(source: &str) -> Value {
    let parsed = parse(source);
    let tree = to_json(&parsed, source);
    let list = tree["instructions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let flat = |instruction: &Value| {
        let child = &instruction["child"];
        let inner = if child.is_null() { instruction } else { child };
        let heredocs = instruction["heredocs"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let heredocs: Vec<Value> = heredocs
            .iter()
            .map(|body| json!({ "name": body["name"], "content": body["content"] }))
            .collect();
        json!({
            "instruction": instruction["instruction"],
            "child": child["instruction"],
            "flags": instruction["flags"],
            "args": inner["args"],
            "heredocs": heredocs,
            "start": instruction["span"]["start"]["line"],
        })
    };
    json!({ "refused": tree.get("error").is_some(), "instructions": list.iter().map(flat).collect::<Vec<_>>() })
}

/// The same of the reference; it gives unknown instructions one empty argument.
fn theirs(answer: &Value, ours: &Value) -> Value {
    let list = answer["instructions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let flat = |(index, instruction): (usize, &Value)| {
        let mut instruction = instruction.clone();
        if instruction["args"] == json!([""]) && ours[index]["args"] == json!([]) {
            instruction["args"] = json!([]);
        }
        if let Some(object) = instruction.as_object_mut() {
            object.remove("json");
            object.remove("end");
        }
        instruction
    };
    Value::Array(list.iter().enumerate().map(flat).collect())
}

#[test]
fn files_are_read_as_moby_reads_them() {
    let Some(python) = python() else {
        eprintln!("skipped: Python has no package `dockerfile`");
        return;
    };
    let files = files();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/differential/reference.py"
    );
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the interpreter was run before");
    let paths: Vec<String> = files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let paths = paths.join(
        "
",
    ) + "
";
    let mut input = child.stdin.take().expect("it is a pipe");
    let writer = std::thread::spawn(move || input.write_all(paths.as_bytes()));
    let output = child.wait_with_output().expect("it can be waited for");
    writer
        .join()
        .expect("the writer does not panic")
        .expect("the paths are read");
    let answers = String::from_utf8(output.stdout).expect("the answers are text");
    let answers: Vec<Value> = answers
        .lines()
        .map(|line| serde_json::from_str(line).expect("it is JSON"))
        .collect();
    assert_eq!(
        answers.len(),
        files.len(),
        "there is one answer for each file"
    );

    let mut differences = Vec::new();
    let mut compared = 0;
    for (path, answer) in files.iter().zip(&answers) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        if EXCUSED.iter().any(|(name, _)| *name == stem) {
            continue;
        }
        let (source, _) = decode(&fs::read(path).expect("it can be read"));
        let ours = ours(&source);
        compared += 1;
        if answer.get("error").is_some() {
            if ours["refused"] != json!(true) {
                differences.push(format!(
                    "{}: the reference says {}",
                    path.display(),
                    answer["error"]
                ));
            }
        } else if ours["instructions"] != theirs(answer, &ours["instructions"]) {
            differences.push(format!(
                "{}:\n  {}\n  {}",
                path.display(),
                ours["instructions"],
                theirs(answer, &ours["instructions"])
            ));
        }
    }
    assert_eq!(differences.join("\n"), "", "of {compared} files");
    assert!(compared > 70, "the test data was found");
}
