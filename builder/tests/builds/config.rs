//! What the image says (builder-features rules 1 to 8, 14 to 24, 46, 50).

use crate::support::{Built, Fixture};

fn build(dockerfile: &str) -> Built {
    Fixture::new().build(dockerfile)
}

fn build_with(dockerfile: &str, args: &[(&str, &str)]) -> Built {
    let args: Vec<(String, String)> = args
        .iter()
        .map(|(k, v)| ((*k).into(), (*v).into()))
        .collect();
    Fixture::new().build_with(dockerfile, |request| request.build_args = args)
}

#[track_caller]
fn check_env(dockerfile: &str, args: &[(&str, &str)], want: &[&str]) {
    let env = build_with(dockerfile, args).config().config.env;
    assert_eq!(env[1..], *want, "{dockerfile}");
}

#[test]
fn scopes_of_arguments() {
    check_env("ARG G=1\nFROM scratch\nENV E=x$G\n", &[], &["E=x"]);
    check_env("ARG G=1\nFROM scratch\nARG G\nENV E=x$G\n", &[], &["E=x1"]);
    check_env(
        "ARG G=1\nFROM scratch\nARG G=2\nENV E=x$G\n",
        &[],
        &["E=x2"],
    );
    check_env(
        "ARG G=1\nFROM scratch\nARG G=2\nENV E=x$G\n",
        &[("G", "3")],
        &["E=x3"],
    );
    check_env(
        "FROM scratch\nENV V=env\nARG V\nENV E=$V\n",
        &[("V", "cli")],
        &["V=env", "E=cli"],
    );
    check_env(
        "FROM scratch\nENV V=env\nARG V=def\nENV E=$V\n",
        &[],
        &["V=env", "E=def"],
    );
    check_env(
        "FROM scratch AS a\nARG V=1\nFROM a\nENV E=$V\n",
        &[],
        &["E=1"],
    );
    check_env(
        "FROM scratch AS a\nENV V=1\nFROM scratch\nENV E=x$V\n",
        &[],
        &["E=x"],
    );
}

#[test]
fn one_env_line_sees_the_values_before_it_and_one_arg_line_its_own() {
    check_env(
        "FROM scratch\nENV a=old\nENV a=new b=$a\n",
        &[],
        &["a=new", "b=old"],
    );
    check_env("FROM scratch\nARG A=1 B=$A\nENV E=$B\n", &[], &["E=1"]);
}

#[test]
fn automatic_arguments() {
    check_env("FROM scratch\nENV E=x$TARGETOS\n", &[], &["E=x"]);
    check_env(
        "FROM scratch AS final\nARG TARGETOS TARGETSTAGE\nENV E=$TARGETOS/$TARGETSTAGE\n",
        &[],
        &["E=linux/final"],
    );
    check_env(
        "ARG TARGETOS=none\nFROM scratch\nARG TARGETOS\nENV E=$TARGETOS\n",
        &[("TARGETOS", "x")],
        &["E=x"],
    );
}

#[test]
fn path_is_added_where_the_base_has_none() {
    let env = build("FROM scratch\nENV A=1\n").config().config.env;
    assert_eq!(
        env,
        [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "A=1"
        ]
    );
}

#[track_caller]
fn check_command(dockerfile: &str, entrypoint: &[&str], cmd: &[&str]) {
    let config = build(dockerfile).config().config;
    assert_eq!(
        (config.entrypoint, config.cmd),
        (strings(entrypoint), strings(cmd)),
        "{dockerfile}"
    );
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn entrypoint_and_cmd() {
    check_command("FROM scratch\nCMD a b\n", &[], &["/bin/sh", "-c", "a b"]);
    check_command("FROM scratch\nCMD [\"a\", \"b\"]\n", &[], &["a", "b"]);
    check_command(
        "FROM scratch\nSHELL [\"/bin/bash\", \"-e\"]\nCMD a\n",
        &[],
        &["/bin/bash", "-e", "a"],
    );
    check_command(
        "FROM scratch AS b\nCMD [\"a\"]\nFROM b\nENTRYPOINT [\"e\"]\n",
        &["e"],
        &[],
    );
    check_command(
        "FROM scratch\nCMD [\"a\"]\nENTRYPOINT [\"e\"]\n",
        &["e"],
        &["a"],
    );
    check_command("FROM scratch\nCMD [\"a\"]\nCMD []\n", &[], &[]);
}

#[test]
fn metadata_instructions() {
    let config = build(
        "FROM scratch\nLABEL a=1 b=\"x y\"\nLABEL a=2\nEXPOSE 80 8000-8001/udp\nVOLUME /data [\"x\"]\nSTOPSIGNAL SIGINT\nUSER 5:6\nMAINTAINER me\nONBUILD RUN x\nHEALTHCHECK --interval=5s CMD x y\nSHELL [\"/s\"]\n",
    )
    .config();
    assert_eq!(config.author.as_deref(), Some("me"));
    let config = config.config;
    let pairs: Vec<_> = config
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(pairs, ["a=2", "b=x y"]);
    assert_eq!(
        config.exposed_ports.keys().collect::<Vec<_>>(),
        ["80/tcp", "8000/udp", "8001/udp"]
    );
    assert_eq!(config.stop_signal, "SIGINT");
    assert_eq!(config.user, "5:6");
    assert_eq!(config.on_build, ["RUN x"]);
    assert_eq!(config.shell, ["/s"]);
    assert_eq!(config.working_dir, "/");
    let check = config.healthcheck.unwrap();
    assert_eq!(
        (check.test, check.interval),
        (strings(&["CMD-SHELL", "x y"]), 5_000_000_000)
    );
}

#[test]
fn working_directories_stack() {
    let config = build("FROM scratch\nWORKDIR /a\nWORKDIR b\nWORKDIR ../c\n").config();
    assert_eq!(config.config.working_dir, "/a/c");
}

#[test]
fn triggers_run_in_the_child_only() {
    let mut fixture = Fixture::new();
    fixture.image(
        "base",
        "FROM scratch\nONBUILD ENV T=$A\nONBUILD RUN write t 1\nENV A=1\n",
    );
    let child = fixture.image("child", "FROM base\nENV X=1\n");
    assert_eq!(child.ran, ["write t 1"]);
    let config = child.config().config;
    assert_eq!(config.env[1..], ["A=1", "T=1", "X=1"]);
    assert!(config.on_build.is_empty());
    assert!(fixture.build("FROM child\n").ran.is_empty());
    let stages = fixture.build("FROM scratch AS a\nONBUILD RUN write u 1\nFROM a\n");
    assert_eq!(stages.ran, ["write u 1"]);
}

#[test]
fn triggers_may_copy_from_a_stage_that_nothing_else_needs() {
    let mut fixture = Fixture::new();
    fixture.image("base", "FROM scratch\nONBUILD COPY --from=files /f /f\n");
    for child in [
        "FROM scratch AS files\nRUN write f 1\nFROM base\n",
        "FROM scratch AS files\nRUN write f 2\nFROM scratch AS own\nONBUILD COPY --from=files /f /f\nFROM own\n",
    ] {
        assert_eq!(fixture.build(child).ran.len(), 1, "{child}");
    }
}

#[test]
fn the_later_of_two_stages_of_one_name_is_meant() {
    let config = build("FROM scratch AS a\nENV V=1\nFROM scratch AS A\nENV V=2\nFROM a\n").config();
    assert_eq!(config.config.env[1..], ["V=2"]);
}

#[test]
fn history_has_an_entry_for_each_instruction() {
    let mut fixture = Fixture::new();
    fixture.files(&[("a", "1")]);
    let config = fixture.build("FROM scratch\nARG V=1\nENV E=2\nCOPY a  /a\nRUN write b 1\nRUN same\nCMD [\"x\", \"y\"]\n").config();
    let history: Vec<_> = config
        .history
        .iter()
        .map(|entry| {
            (
                entry.created_by.as_deref().unwrap_or_default(),
                entry.empty_layer,
            )
        })
        .collect();
    assert_eq!(
        history,
        [
            ("ARG V=1", true),
            ("ENV E=2", true),
            ("COPY a /a # buildkit", false),
            ("RUN |1 V=1 /bin/sh -c write b 1 # buildkit", false),
            ("RUN |1 V=1 /bin/sh -c same # buildkit", true),
            ("CMD [\"x\" \"y\"]", true),
        ]
    );
    assert_eq!(config.rootfs.diff_ids.len(), 2);
}

#[test]
fn an_epoch_sets_the_times_of_the_image() {
    let mut fixture = Fixture::new();
    let config = fixture
        .build_with("FROM scratch\nRUN write a 1\n", |request| {
            request.epoch = Some(1_000_000_000);
        })
        .config();
    assert_eq!(config.created.as_deref(), Some("2001-09-09T01:46:40Z"));
    assert_eq!(config.history[0].created, config.created);
}

#[test]
fn heredocs_of_run() {
    let ran = build("FROM scratch\nRUN <<EOF\none\ntwo\nEOF\nRUN cat <<A <<B\n1\nA\n2\nB\n").ran;
    assert_eq!(ran, ["one\ntwo\n", "cat <<A <<B\n1\nA\n2\nB"]);
    assert_eq!(
        build("FROM scratch\nRUN <<EOF\n#!/bin/x\none\nEOF\n").ran,
        ["/dev/pipes/EOF"]
    );
}
