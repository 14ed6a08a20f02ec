//! What is refused, and what exactly is underlined.

use rbuild_parser::{Severity, parse};

/// Source after `FROM a`, code, underlined text.
const REFUSED: &[(&str, &str, &str)] = &[
    ("WORKDRI /app", "unknown-instruction", "WORKDRI"),
    ("{{ template }}", "unknown-instruction", "{{"),
    ("FROM", "missing-argument", "FROM"),
    ("FROM b c", "from-arguments", "c"),
    ("FROM b AS", "from-arguments", "AS"),
    ("FROM b AS c d", "from-arguments", "AS c d"),
    ("FROM b IS c", "from-arguments", "IS c"),
    ("FROM b AS 1c", "bad-stage-name", "1c"),
    ("FROM b AS $c", "bad-stage-name", "$c"),
    ("FROM --platform b", "flag-without-value", "--platform"),
    (
        "FROM --platform=x --platform=y b",
        "duplicate-flag",
        "--platform",
    ),
    ("COPY --form=x b c", "unknown-flag", "--form"),
    ("COPY --link=maybe b c", "flag-not-boolean", "--link=maybe"),
    ("COPY --link= b c", "flag-not-boolean", "--link="),
    ("COPY --unpack b c", "unknown-flag", "--unpack"),
    ("ADD --from=x b c", "unknown-flag", "--from"),
    ("COPY b", "missing-argument", "b"),
    ("COPY", "missing-argument", "COPY"),
    ("ADD [\"b\"]", "missing-argument", "[\"b\"]"),
    ("COPY [\"b\", 1]", "json-not-strings", "1"),
    ("COPY b <<E\nE", "heredoc-destination", "<<E"),
    ("ADD <<E\nE", "missing-argument", "<<E"),
    ("RUN <<E\nx", "unterminated-heredoc", "<<E"),
    ("RUN <<A <<B\nA\nx", "unterminated-heredoc", "<<B"),
    ("RUN <<-E\n E", "unterminated-heredoc", "<<-E"),
    ("COPY <<E /x\nE ", "unterminated-heredoc", "<<E"),
    (
        "RUN --mount=type=cahce,target=/x y",
        "unknown-mount-type",
        "cahce",
    ),
    ("RUN --mount=tpye=cache y", "unknown-mount-key", "tpye"),
    ("RUN --mount=type=cache,target y", "bad-mount", "target"),
    ("RUN --mount=type=bind,target=/ y", "bad-mount", "/"),
    ("RUN --mount=type=bind,target=/./ y", "bad-mount", "/./"),
    ("RUN --mount=type=bind,uid=1 y", "bad-mount", "1"),
    ("RUN --mount=type=tmpfs,gid=1 y", "bad-mount", "1"),
    ("RUN --mount=type=cache,mode=0999 y", "bad-mount", "0999"),
    ("RUN --mount=type=cache,uid=+1 y", "bad-mount", "+1"),
    ("RUN --mount=type=cache,sharing=all y", "bad-mount", "all"),
    (
        "RUN --mount=type=bind,sharing=locked y",
        "bad-mount",
        "locked",
    ),
    ("RUN --mount=type=bind,size=1 y", "bad-mount", "1"),
    ("RUN --mount=type=tmpfs,size=1x y", "bad-mount", "1x"),
    ("RUN --mount=type=bind,env=A y", "bad-mount", "A"),
    ("RUN --mount=type=cache,required y", "bad-mount", "required"),
    ("RUN --mount=type=secret y", "bad-mount", "type=secret"),
    ("RUN --mount=type=secret,id=a,from=b y", "bad-mount", "b"),
    (
        "RUN --mount=type=secret,id=a,source=b y",
        "bad-mount",
        "type=secret,id=a,source=b",
    ),
    (
        "RUN --mount=type=cache,ro=perhaps y",
        "bad-mount",
        "perhaps",
    ),
    ("RUN --mount=target=/x,,ro y", "unknown-mount-key", ""),
    ("RUN --mount=a\\\"b y", "bad-list", "--mount=a\\\"b"),
    ("RUN --network=hots y", "bad-flag-value", "hots"),
    ("RUN --security=none y", "bad-flag-value", "none"),
    ("RUN --device=required y", "bad-device", "required"),
    ("RUN --device=a,b=c y", "bad-device", "b=c"),
    ("ENV", "missing-argument", "ENV"),
    ("ENV A", "missing-value", "A"),
    ("LABEL A", "missing-value", "A"),
    ("ENV A=1 B", "pair-without-equals", "B"),
    ("ENV =1", "blank-name", "=1"),
    ("ARG", "missing-argument", "ARG"),
    ("ARG =1", "blank-name", "=1"),
    ("CMD [1]", "json-not-strings", "1"),
    ("CMD [\"a\", [\"b\"]]", "json-not-strings", "[\"b\"]"),
    (
        "CMD [{\"a\": [null, true, -1.5e3]}]",
        "json-not-strings",
        "{\"a\": [null, true, -1.5e3]}",
    ),
    ("CMD --x y", "unknown-flag", "--x"),
    ("SHELL /bin/sh", "shell-not-json", "/bin/sh"),
    ("SHELL []", "missing-argument", "SHELL"),
    ("SHELL", "missing-argument", "SHELL"),
    ("EXPOSE", "missing-argument", "EXPOSE"),
    ("EXPOSE 80,", "bad-port", "80,"),
    ("EXPOSE 80/http", "bad-port", "80/http"),
    ("VOLUME []", "missing-argument", "VOLUME"),
    ("VOLUME [\" \"]", "empty-volume", "\" \""),
    ("USER", "missing-argument", "USER"),
    ("WORKDIR", "missing-argument", "WORKDIR"),
    ("STOPSIGNAL nope", "bad-signal", "nope"),
    ("HEALTHCHECK", "missing-argument", "HEALTHCHECK"),
    ("HEALTHCHECK CMD", "missing-argument", "CMD"),
    ("HEALTHCHECK CMD []", "missing-argument", "CMD"),
    ("HEALTHCHECK NONE x", "healthcheck-none", "x"),
    ("HEALTHCHECK true", "unknown-healthcheck", "true"),
    ("HEALTHCHECK --interval=5 CMD x", "bad-duration", "5"),
    ("HEALTHCHECK --interval=-5s CMD x", "bad-duration", "-5s"),
    ("HEALTHCHECK --timeout=1ns CMD x", "short-interval", "1ns"),
    ("HEALTHCHECK --retries=x CMD x", "bad-retries", "x"),
    ("HEALTHCHECK --retries=-1 CMD x", "bad-retries", "-1"),
    ("ONBUILD", "missing-argument", "ONBUILD"),
    ("ONBUILD FROM x", "bad-trigger", "FROM"),
    ("ONBUILD ONBUILD RUN x", "bad-trigger", "ONBUILD"),
    ("onbuild maintainer x", "bad-trigger", "maintainer"),
    ("ONBUILD ENV x", "missing-value", "x"),
    ("\\\n", "unknown-instruction", ""),
];

#[test]
fn mistakes_are_underlined_where_they_are() {
    for (line, code, underlined) in REFUSED {
        let source = format!("FROM a\n{line}\n");
        let parsed = parse(&source);
        let errors: Vec<_> = parsed
            .diagnostics
            .iter()
            .filter(|found| found.is_error())
            .collect();
        assert_eq!(errors.len(), 1, "{line}: {errors:?}");
        assert_eq!(
            (errors[0].code, errors[0].span.text(&source)),
            (*code, *underlined),
            "{line}"
        );
    }
}

#[test]
fn whole_files_are_refused() {
    for (source, code, underlined) in [
        ("", "no-instructions", ""),
        ("# only a comment\n", "no-instructions", ""),
        ("ARG A\n", "no-stage", "ARG"),
        ("ARG A\nRUN x\nCMD y\n", "no-stage", "RUN"),
        ("# escape=x\nFROM a\n", "bad-escape-directive", "x"),
        (
            "# escape=`\n# ESCAPE=`\nFROM a\n",
            "duplicate-directive",
            "# ESCAPE=`",
        ),
        (
            "# syntax=a\n# check=b\n# syntax=c\nFROM a\n",
            "duplicate-directive",
            "# syntax=c",
        ),
    ] {
        let parsed = parse(source);
        let found: Vec<_> = parsed
            .diagnostics
            .iter()
            .map(|found| (found.code, found.span.text(source)))
            .collect();
        assert_eq!(found, [(code, underlined)], "{source:?}");
    }
}

#[test]
fn warnings_do_not_refuse() {
    for (line, code) in [
        ("ARG --x a", "unknown-flag"),
        ("STOPSIGNAL --x TERM", "unknown-flag"),
        ("HEALTHCHECK --interval=x NONE", "flag-without-effect"),
        ("ONBUILD FOO x", "unknown-instruction"),
        ("ONBUILD COPY x", "missing-argument"),
    ] {
        let source = format!("FROM a\n{line}\n");
        let parsed = parse(&source);
        let found: Vec<_> = parsed
            .diagnostics
            .iter()
            .map(|found| (found.code, found.severity))
            .collect();
        assert_eq!(found, [(code, Severity::Warning)], "{line}");
        assert_eq!(parsed.instructions.len(), 2, "{line}");
    }
}

#[test]
fn hints_name_what_was_meant() {
    for (line, help) in [
        ("WORKDRI /app", "did you mean `WORKDIR`?"),
        ("COPY --form=x b c", "did you mean `--from`?"),
        ("RUN --mount=tpye=cache y", "did you mean `type`?"),
        (
            "RUN --mount=type=cahce,target=/x y",
            "did you mean `cache`?",
        ),
        (
            "RUN --mount=type=cache,target=/x,sharing=share y",
            "did you mean `shared`?",
        ),
        ("RUN --network=hots y", "did you mean `host`?"),
        ("RUN --security=x y", "it is one of `sandbox`, `insecure`"),
        ("STOPSIGNAL SIGTREM", "did you mean `SIGTERM`?"),
        ("FROM b # c", "a comment needs a line of its own"),
        ("EXPOSE 80, 90", "ports are separated by blanks"),
        ("// x", "comments begin with `#`"),
        (
            "RUN\u{a0}x",
            "the space after `RUN` is not an ordinary one; type it anew",
        ),
        (
            "&& make",
            "if this line belongs to the command above, end that line with the escape character",
        ),
        ("CMD --x y", "`CMD` takes no flags"),
        (
            "FROM --platform b",
            "write `--platform=VALUE`; a value after a blank is not read",
        ),
        (
            "RUN <<E\n  E",
            "line 3 is no end: `E` must stand alone at the start of a line; after `<<-` tabs may precede it",
        ),
    ] {
        let source = format!("FROM a\n{line}\n");
        let parsed = parse(&source);
        let first = parsed
            .diagnostics
            .first()
            .and_then(|found| found.help.as_deref());
        assert_eq!(first, Some(help), "{line}");
    }
}

#[test]
fn several_problems_are_told_in_one_run_but_not_endlessly() {
    let parsed = parse("FROM a\nFOO\nCOPY x\nRUN --bar y\n");
    let codes: Vec<_> = parsed.diagnostics.iter().map(|found| found.code).collect();
    assert_eq!(
        codes,
        ["unknown-instruction", "missing-argument", "unknown-flag"]
    );
    let parsed = parse(&"FOO\n".repeat(1_000));
    assert_eq!(parsed.diagnostics.len(), 101);
    assert_eq!(
        parsed.diagnostics.last().map(|found| found.code),
        Some("too-many-problems")
    );
}
