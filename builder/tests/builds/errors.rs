//! What a wrong Dockerfile is told.

use crate::support::Fixture;

#[track_caller]
fn check(dockerfile: &str, want: &str) {
    let mut fixture = Fixture::new();
    fixture.files(&[
        ("present", "1"),
        ("dir/x", ""),
        ("dropped.log", ""),
        (".dockerignore", "# logs\n*.log\n"),
    ]);
    let error = fixture.build(dockerfile).error();
    assert!(
        error.contains(want),
        "{dockerfile}\n  got: {error}\n  want: {want}"
    );
}

#[test]
fn files_that_are_not_there() {
    check(
        "FROM scratch\nCOPY presnt /\n",
        "`presnt` is not there to copy (did you mean `present`?)",
    );
    check(
        "FROM scratch\nCOPY dir/y /\n",
        "`dir/y` is not there to copy",
    );
    check(
        "FROM scratch\nCOPY dropped.log /\n",
        "it exists, but line 2 of .dockerignore (`*.log`) leaves it out",
    );
    check(
        "FROM scratch AS a\nFROM scratch\nCOPY --from=a /x /\n",
        "`/x` is not there to copy",
    );
}

#[test]
fn destinations_that_cannot_be() {
    check(
        "FROM scratch\nCOPY present /x\nCOPY dir /x\n",
        "cannot copy into `/x`: it is not a directory",
    );
    check(
        "FROM scratch\nCOPY present /x\nCOPY present /x/y\n",
        "`x` is not a directory",
    );
    check(
        "FROM scratch\nCOPY dir /d/present\nCOPY present /d/\n",
        "cannot copy a file onto the directory `/d/present`",
    );
    check("FROM scratch\nCOPY present /x\nWORKDIR /x\n", "`/x`");
}

#[test]
fn names_that_are_not_there() {
    check(
        "FROM nobody-has-this\n",
        "cannot get image `nobody-has-this:latest`",
    );
    check(
        "FROM scratch AS build\nFROM scratch\nCOPY --from=biuld /a /\n",
        "did you mean the stage `build`?",
    );
    check(
        "FROM scratch\nCOPY --from=3 /a /\n",
        "there is no earlier stage number 3",
    );
    check(
        "FROM scratch\nCOPY --chown=app present /\n",
        "no user `app` in /etc/passwd",
    );
    check(
        "FROM scratch\nCOPY --chown=1:web present /\n",
        "no group `web` in /etc/group",
    );
    check(
        "FROM scratch\nUSER app\nRUN x\n",
        "no user `app` in /etc/passwd",
    );
    check("FROM a/B\n", "is no repository name");
}

#[test]
fn variables_that_are_empty() {
    check(
        "FROM $NOTHING\n",
        "the base image `$NOTHING` is empty after expansion",
    );
    check("FROM scratch\nWORKDIR $NOTHING\n", "`WORKDIR` is empty");
    check("FROM scratch\nENV A=\"${B:?is needed}\"\n", "is needed");
}

#[test]
fn values_that_mean_nothing() {
    check(
        "FROM scratch\nSTOPSIGNAL SIGNOTHING\n",
        "`SIGNOTHING` is no signal",
    );
    check("FROM scratch\nEXPOSE web\n", "`web` is no port");
    check(
        "FROM scratch\nCOPY --chmod=rwx present /\n",
        "`rwx` is no file mode",
    );
    check(
        "FROM --platform=a/b/c/d scratch\nFROM --platform=a/b/c/d x\n",
        "is no platform",
    );
}

#[test]
fn what_is_not_supported_yet_is_refused_by_name() {
    check(
        "FROM scratch\nCOPY --link present /\n",
        "`COPY --link` is not supported yet",
    );
    check(
        "FROM scratch\nCOPY --parents present /\n",
        "`COPY --parents` is not supported yet",
    );
    check(
        "FROM scratch\nADD https://example.org/x /\n",
        "`ADD` from a URL or a Git repository is not supported yet",
    );
    check(
        "FROM scratch\nRUN --mount=type=ssh x\n",
        "`RUN --mount=type=ssh` is not supported yet",
    );
    check(
        "FROM scratch\nRUN --mount=type=secret,id=s,required=true x\n",
        "the secret `s` was not given",
    );
    check(
        "FROM scratch\nRUN --security=insecure x\n",
        "`RUN --security=insecure` is not supported yet",
    );
}

#[test]
fn a_target_that_is_not_there() {
    let mut fixture = Fixture::new();
    let built = fixture.build_with("FROM scratch AS build\nFROM scratch AS test\n", |request| {
        request.target = Some("tset".into());
    });
    assert_eq!(
        built.error(),
        "no-such-target: the Dockerfile has no stage `tset` (did you mean `test`?)"
    );
}

#[test]
fn a_failed_command_tells_its_exit_code_and_its_last_output() {
    let mut fixture = Fixture::new();
    let built = fixture.build("FROM scratch\nRUN fail 7\nRUN write a 1\n");
    let Err(rbuild_builder::BuildError::Step(failure)) = &built.result else {
        panic!("{:?}", built.result)
    };
    assert_eq!(failure.name, "[2/3] RUN fail 7");
    assert_eq!(
        failure.diagnostic.message,
        "the command failed with exit code 7"
    );
    assert_eq!(failure.tail, b"fail 7");
    assert_eq!(built.ran, ["fail 7"]);
}

#[test]
fn build_arguments_that_nothing_takes_get_a_notice() {
    let mut fixture = Fixture::new();
    let built = fixture.build_with("FROM scratch\nARG VERSION\n", |request| {
        request.build_args = vec![("VERSON".into(), "1".into())];
    });
    assert_eq!(
        built.notices,
        ["build argument `VERSON` is not used by any `ARG`; did you mean `VERSION`?"]
    );
}
