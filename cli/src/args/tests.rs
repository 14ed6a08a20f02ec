use std::ffi::OsString;

use clap::CommandFactory;

use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn build_may_be_left_out() {
    for (line, want) in [
        ("rbuild -t x .", "rbuild build -t x ."),
        ("rbuild .", "rbuild build ."),
        ("rbuild --root r -t x .", "rbuild --root r build -t x ."),
        (
            "rbuild --root=r --tls-verify=false .",
            "rbuild --root=r --tls-verify=false build .",
        ),
        ("rbuild build .", "rbuild build ."),
        ("rbuild --root images .", "rbuild --root images build ."),
        ("rbuild ls", "rbuild ls"),
        ("rbuild --help", "rbuild --help"),
        ("rbuild", "rbuild"),
    ] {
        assert_eq!(with_verb(words(line)), words(want), "{line}");
    }
}

#[track_caller]
fn check_refused(line: &str, hint: &str) {
    let error = Cli::read(words(line)).expect_err(line);
    let explained = explain(&error, &words(line)).expect("a known flag");
    let text = format!(
        "{}\n{}",
        explained.message,
        explained.hint.unwrap_or_default()
    );
    assert!(text.contains(hint), "{line}: `{text}`\n{error}");
}

#[test]
fn flags_that_only_docker_has_are_named() {
    check_refused(
        "rbuild --ssh default .",
        "`--ssh` of docker's `build` is not supported yet",
    );
    check_refused("rbuild build --cache-from x .", "the cache is local");
    check_refused("rbuild build -o out .", "rbuild save");
    check_refused("rbuild run -d x", "foreground");
    check_refused("rbuild run -v a:b x", "`-v`");
    check_refused("rbuild pull --all-tags x", "one by one");
}

#[test]
fn flags_that_nobody_has_are_left_to_the_parser() {
    let line = "rbuild --no-such-flag .";
    let error = Cli::read(words(line)).expect_err(line);
    assert!(explain(&error, &words(line)).is_none());
}

#[test]
fn the_arguments_of_a_command_are_its_own() {
    let cli = Cli::read(words("rbuild run -e A=1 busybox sh -c --rm -it")).expect("parses");
    let Command::Run(run) = cli.command else {
        panic!("{:?}", cli.command)
    };
    assert_eq!(run.command, ["sh", "-c", "--rm", "-it"]);
    assert_eq!(run.env, ["A=1"]);
}
