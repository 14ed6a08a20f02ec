//! Random Dockerfiles, words and ignore files, and the test data, compared with the newest BuildKit.
//!
//! Needs the program of `tests/differential/newest`, named by `RBUILD_BUILDKIT`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rbuild_parser::{ask, parse, refusal, to_json};
use serde_json::{Value, json};

/// The running program; ended when dropped.
struct Reference {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Reference {
    fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("RBUILD_BUILDKIT") else {
            let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
            assert!(
                !required.split(',').any(|name| name == "buildkit"),
                "RBUILD_BUILDKIT does not name the reference"
            );
            return None;
        };
        // Tests run in the directory of the crate, the name is meant from that of the workspace.
        let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut child = Command::new(workspace.join(program))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program can be run");
        let input = child.stdin.take().expect("it is a pipe");
        let output = BufReader::new(child.stdout.take().expect("it is a pipe"));
        Some(Self {
            child,
            input,
            output,
        })
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.input, "{question}").expect("the program reads");
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .expect("the program answers");
        serde_json::from_str(&line).expect("an answer is JSON")
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // It ends at the end of its input; should it not, nobody else waits for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A small generator of numbers (xorshift), so that every run asks the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % bound.max(1)
    }

    fn text(&mut self, pieces: &[&str], most: usize) -> String {
        (0..=self.below(most))
            .map(|_| pieces[self.below(pieces.len())])
            .collect()
    }
}

fn rounds() -> usize {
    std::env::var("RBUILD_FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3_000)
}

/// An answer without the wording of its error.
fn plain(mut answer: Value) -> Value {
    if answer.get("error").is_some() {
        answer = json!({ "error": true });
    }
    answer
}

const WORDS: &[&str] = &[
    "a", "b", "x", " ", "  ", "\t", "$", "{", "}", "${x", "${y", "${z", "$x", "$y", "$w", "${x:-",
    "${z:-", "${x:+", "${z-", "${x+", "${z:?", "${y:?", "${y?", "${x#", "${z#", "${x##", "${x%",
    "${y%%", "${x%%", "${x/", "${x//", "${z//", "${x//b/", "/", "*", "?", "\"", "'", "\\", "\\\"",
    "\\$", "\\}", "\\/", "\\*", "<", "<<", "é", "한", "=", ":", "[", "]", ".", "-", "#", "%", "\n",
    "`", "1", "$1", "$10", "$@", "_",
];

#[test]
fn words_expand_as_in_the_newest_buildkit() {
    let Some(mut reference) = Reference::start() else {
        eprintln!("skipped: RBUILD_BUILDKIT is not set");
        return;
    };
    let mut numbers = Numbers(3);
    for round in 0..rounds() {
        let input = numbers.text(WORDS, 8);
        let escape = if numbers.below(5) == 0 { "`" } else { "\\" };
        let mode = if round % 2 == 0 { "word" } else { "words" };
        let question = json!({
            "mode": mode, "input": input, "escape": escape, "env": ["x=a/b.ab*aXé", "y=", "w=1 2  3"],
        });
        let ours: Value =
            serde_json::from_str(&ask(&question.to_string())).expect("an answer is JSON");
        assert_eq!(plain(ours), plain(reference.ask(&question)), "{question}");
    }
}

const RULES: &[&str] = &[
    "a", "b", "c", "/", "**", "*", "?", ".", "..", "!", "[ab]", "[^a]", "\\*", "#", " ", "\n",
    "\n", "/", "a", "dir", "x.go", "*.go",
];

#[test]
fn ignore_files_do_as_in_the_newest_moby() {
    let Some(mut reference) = Reference::start() else {
        eprintln!("skipped: RBUILD_BUILDKIT is not set");
        return;
    };
    let mut numbers = Numbers(5);
    for _ in 0..rounds() {
        let input = numbers.text(RULES, 11);
        let paths: Vec<String> = (0..6)
            .map(|_| {
                let parts: Vec<&str> = (0..=numbers.below(3))
                    .map(|_| ["a", "b", "c", "dir", "x.go", "y.go", "."][numbers.below(7)])
                    .collect();
                parts.join("/")
            })
            .collect();
        let question = json!({ "mode": "ignore", "input": input, "paths": paths });
        let ours: Value =
            serde_json::from_str(&ask(&question.to_string())).expect("an answer is JSON");
        assert_eq!(plain(ours), plain(reference.ask(&question)), "{question}");
    }
}

const NAMES: &[&str] = &[
    "RUN",
    "FROM",
    "COPY",
    "ADD",
    "ENV",
    "LABEL",
    "ARG",
    "CMD",
    "ENTRYPOINT",
    "ONBUILD",
    "HEALTHCHECK",
    "EXPOSE",
    "VOLUME",
    "USER",
    "WORKDIR",
    "SHELL",
    "STOPSIGNAL",
    "MAINTAINER",
    "run",
];

const ARGUMENTS: &[&str] = &[
    "a",
    "b=c",
    "\"x y\"",
    "'q r'",
    "\\",
    "\\\n",
    "`\n",
    " ",
    "  ",
    "\t",
    "\n",
    "\n",
    "\r\n",
    "#c",
    "\n# c\n",
    "--flag=1",
    "--link",
    "--from=x",
    "--platform=x",
    "--chown=a",
    "--interval=5s",
    "--retries=3",
    "--timeout=x",
    "--network=none",
    "--network=x",
    "--security=x",
    "--device=a,b",
    "as",
    "AS",
    "x1",
    "1x",
    "/d",
    "--link=true",
    "--from",
    "--a=\"b c\"",
    "--x",
    "--",
    "<<E",
    "<<-E",
    "<< E",
    "3<<E",
    "\nE\n",
    "\n\tE\n",
    "<<\"E\"",
    "<<'E'",
    "[\"a\",\"b\"]",
    "[1]",
    "[\"a\",",
    "[]",
    "['a']",
    "$x",
    "${x}",
    "${x:-a b}",
    "CMD",
    "NONE",
    "=",
    "\"",
    "'",
    "\\\"",
    "a\\ b",
    "\\ \n",
    "\n\n",
    "# escape=`\n",
    "#syntax=x\n",
    "[ \"a\" , \"b\\n\\u0041\" ] ",
    "{",
    "<<",
];

/// Our tree in the form of the reference, whose unknown instructions have one empty argument.
fn same_form(instruction: &Value) -> Value {
    let mut value = instruction.clone();
    if let Some(object) = value.as_object_mut() {
        object.remove("span");
        if object["args"] == json!([""]) {
            object.insert("args".to_owned(), json!([]));
        }
        for heredoc in object["heredocs"].as_array_mut().into_iter().flatten() {
            let kept = ["name", "content", "expand", "chomp"]
                .map(|key| (key.to_owned(), heredoc[key].clone()));
            *heredoc = Value::Object(kept.into_iter().collect());
        }
        if let Some(child) = object.get("child").map(same_form) {
            object.insert("child".to_owned(), child);
        }
    }
    value
}

#[track_caller]
fn compare(reference: &mut Reference, source: &str) {
    let theirs = reference.ask(&json!({ "mode": "parse", "input": source }));
    let parsed = parse(source);
    if theirs.get("error").is_some() {
        assert!(
            refusal(&parsed).is_some(),
            "{source:?}: {}",
            theirs["error"]
        );
        return;
    }
    let form = |list: &Value| -> Vec<Value> {
        list.as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .map(same_form)
            .collect()
    };
    assert_eq!(
        form(&to_json(&parsed, source)["instructions"]),
        form(&theirs["instructions"]),
        "{source:?}"
    );
    let refused = theirs["typed"].as_str();
    // The builder expands `from` of a mount, see docs/parser-differences.md.
    if refused.is_none_or(|reason| !reason.contains("support variable expansion")) {
        // That a file has nothing but `ARG` is found later there.
        let lacks_stage =
            |code: &str, message: &str| code == "no-stage" && message != "the file has no stage";
        let ours = refusal(&parsed).is_some()
            || parsed
                .diagnostics
                .iter()
                .any(|found| lacks_stage(found.code, &found.message));
        assert_eq!(
            ours,
            refused.is_some(),
            "{source:?}: {refused:?} {:?}",
            parsed.diagnostics
        );
    }
}

#[test]
fn dockerfiles_are_read_as_in_the_newest_buildkit() {
    let Some(mut reference) = Reference::start() else {
        eprintln!("skipped: RBUILD_BUILDKIT is not set");
        return;
    };
    let mut numbers = Numbers(11);
    for _ in 0..rounds() {
        let mut source = String::from(["", "FROM a\n", "FROM a\n"][numbers.below(3)]);
        for _ in 0..=numbers.below(3) {
            source.push_str(NAMES[numbers.below(NAMES.len())]);
            source.push_str([" ", " ", "\t"][numbers.below(3)]);
            source.push_str(&numbers.text(ARGUMENTS, 7));
            source.push('\n');
        }
        compare(&mut reference, &source);
    }
}

#[test]
fn the_test_data_is_read_as_in_the_newest_buildkit() {
    let Some(mut reference) = Reference::start() else {
        eprintln!("skipped: RBUILD_BUILDKIT is not set");
        return;
    };
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/dockerfiles");
    for directory in ["valid", "invalid"] {
        for entry in fs::read_dir(root.join(directory)).expect("the directory is there") {
            let path = entry.expect("it can be listed").path();
            let source = fs::read_to_string(&path).expect("it is text");
            // Lines of more than 64 KiB, and bytes of flags that are not ASCII: see the document.
            let name = path.file_stem().unwrap_or_default();
            if name != "long-line" && name != "wide-characters" {
                compare(&mut reference, &source);
            }
        }
    }
}
