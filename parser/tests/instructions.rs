//! What each instruction becomes.

use rbuild_parser::{Form, Instruction, Script, parse};

#[track_caller]
fn one(source: &str) -> Instruction {
    let source = format!("FROM a\n{source}");
    let parsed = parse(&source);
    assert_eq!(parsed.diagnostics, [], "{source}");
    parsed
        .instructions
        .into_iter()
        .nth(1)
        .expect("there is a second instruction")
        .value
}

#[track_caller]
fn shell(source: &str) -> String {
    let Instruction::Run(run) = one(source) else {
        unreachable!("{source}")
    };
    let Form::Shell(text) = run.command.form else {
        unreachable!("{source}")
    };
    text
}

#[test]
fn run_text_is_what_the_shell_gets() {
    for (source, want) in [
        ("RUN echo hi", "echo hi"),
        ("run   echo  hi  ", "echo  hi"),
        ("RUN a \\\n  b", "a   b"),
        ("RUN a \\\n# c\n  # d\n\n  && b", "a   && b"),
        ("RUN a \\  \nb", "a b"),
        ("RUN a\\\\\n", "a\\\\"),
        ("RUN ['a', 'b']", "['a', 'b']"),
        ("RUN --network=none -- --x", "--x"),
        ("RUN\ta\r\n", "a"),
        ("RUN", ""),
    ] {
        assert_eq!(shell(source), want, "{source:?}");
    }
}

#[test]
fn scripts_hold_their_heredocs() {
    for (source, want) in [
        ("RUN <<EOF\na\nb\nEOF\n", Script::Shell("a\nb\n".to_owned())),
        ("RUN <<-EOF\n\ta\n\tEOF\n", Script::Shell("a\n".to_owned())),
        (
            "RUN cat <<A <<B\na\nA\nb\nB\n",
            Script::Shell("cat <<A <<B\na\nA\nb\nB".to_owned()),
        ),
        (
            "RUN <<EOF\n#!/bin/x\na\nEOF\n",
            Script::File {
                name: "EOF".to_owned(),
                content: "#!/bin/x\na\n".to_owned(),
            },
        ),
        (
            "RUN [\"a\", \"<<b\"]",
            Script::Exec(vec!["a".to_owned(), "<<b".to_owned()]),
        ),
    ] {
        match one(source) {
            Instruction::Run(run) => assert_eq!(run.script(), want, "{source:?}"),
            other => panic!("{other:?}"),
        }
    }
}
