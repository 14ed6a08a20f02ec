//! What each instruction becomes.

use std::time::Duration;

use rbuild_parser::{
    BindMount, CacheMount, Form, HealthcheckTest, Instruction, Network, ResolvedMount, Script,
    SecretMount, Security, Sharing, Spanned, SshMount, TmpfsMount, Word, parse, parse_trigger,
};

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

/// The text of every word in a list.
fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(Word::raw).collect()
}

#[test]
fn stages_have_an_image_a_name_and_a_platform() {
    for (source, image, alias, platform) in [
        ("FROM b", "b", None, None),
        ("FROM b:1 AS C", "b:1", Some("c"), None),
        (
            "from --platform=$P b as c-1_d.e",
            "b",
            Some("c-1_d.e"),
            Some("$P"),
        ),
        ("FROM --platform= \"b\"", "\"b\"", None, None),
    ] {
        let Instruction::From(from) = one(source) else {
            unreachable!("{source}")
        };
        assert_eq!(from.image.raw(), image, "{source}");
        assert_eq!(
            from.alias.map(|alias| alias.value).as_deref(),
            alias,
            "{source}"
        );
        assert_eq!(from.platform.as_ref().map(Word::raw), platform, "{source}");
    }
}

#[test]
fn arguments_have_names_and_defaults() {
    let Instruction::Arg(arg) = one("ARG A B= C=\"d e\" F=g=h") else {
        unreachable!()
    };
    let items: Vec<_> = arg
        .items
        .iter()
        .map(|item| {
            (
                item.name.value.as_str(),
                item.default.as_ref().map(Word::raw),
            )
        })
        .collect();
    assert_eq!(
        items,
        [
            ("A", None),
            ("B", Some("")),
            ("C", Some("\"d e\"")),
            ("F", Some("g=h"))
        ]
    );
}

#[test]
fn pairs_are_read_in_both_forms() {
    for (source, want, legacy) in [
        (
            "ENV A=1 B=\"2 3\"",
            &[("A", "1"), ("B", "\"2 3\"")][..],
            false,
        ),
        ("ENV A=1\\ 2 B='3'", &[("A", "1\\ 2"), ("B", "'3'")], false),
        ("ENV A  b  c ", &[("A", "b  c")], true),
        (
            "ENV ONE TWO= THREE=world",
            &[("ONE", "TWO= THREE=world")],
            true,
        ),
        ("LABEL k v w", &[("k", "v w")], true),
        ("LABEL \"a b\"=c d=", &[("\"a b\"", "c"), ("d", "")], false),
        ("ENV A=\\\n  B=1", &[("A", ""), ("B", "1")], false),
        ("ENV A=b\\", &[("A", "b")], false),
    ] {
        let (pairs, is_legacy) = match one(source) {
            Instruction::Env(env) => (env.pairs, env.legacy),
            Instruction::Label(label) => (label.pairs, label.legacy),
            other => unreachable!("{other:?}"),
        };
        let pairs: Vec<_> = pairs
            .iter()
            .map(|pair| (pair.key.raw(), pair.value.raw()))
            .collect();
        assert_eq!((&pairs[..], is_legacy), (want, legacy), "{source}");
    }
}

#[test]
fn copies_have_sources_and_flags() {
    let source = "COPY --from=b --chown=c:d --chmod=u=rwX --link --parents=false --exclude=*.md --exclude=x a/ b* /c/";
    let Instruction::Copy(copy) = one(source) else {
        unreachable!()
    };
    assert_eq!(copy.from.as_ref().map(Word::raw), Some("b"));
    assert_eq!(copy.chown.as_ref().map(Word::raw), Some("c:d"));
    assert_eq!(copy.chmod.as_ref().map(Word::raw), Some("u=rwX"));
    assert!(copy.link && !copy.parents);
    assert_eq!(texts(&copy.excludes), ["*.md", "x"]);
    assert_eq!(
        (texts(&copy.sources.paths), copy.sources.destination.raw()),
        (vec!["a/", "b*"], "/c/")
    );

    let Instruction::Add(add) =
        one("ADD --checksum=sha256:0 --keep-git-dir=true --unpack [\"a b\", \"/c d/\"]")
    else {
        unreachable!()
    };
    assert_eq!(add.checksum.as_ref().map(Word::raw), Some("sha256:0"));
    assert_eq!(
        (add.keep_git_dir, add.unpack, add.link),
        (Some(true), Some(true), false)
    );
    assert_eq!(
        (texts(&add.sources.paths), add.sources.destination.raw()),
        (vec!["a b"], "/c d/")
    );
}

#[test]
fn heredocs_are_files_of_a_copy() {
    for (source, paths, heredocs) in [
        (
            "COPY <<a <<'b' c /d/\n1 $x\na\n2 $x\nb\n",
            &["c"][..],
            &[("a", "1 y\n"), ("b", "2 $x\n")][..],
        ),
        ("COPY <<-a /d\n\t\t1\n\ta\n", &[], &[("a", "1\n")]),
        ("COPY << a b /d\n1\na\n", &["b"], &[("a", "1\n")]),
        (
            "COPY <<a <<a /d/\n1\na\n2\na\n",
            &[],
            &[("a", "2\n"), ("a", "2\n")],
        ),
        ("ADD [\"<<a\", \"/d\"]", &[], &[("a", "")]),
        (
            "COPY <<a /d\n'$x' \\$x \"\\\\\"\na\n",
            &[],
            &[("a", "'y' $x \"\\\"\n")],
        ),
    ] {
        let sources = match one(source) {
            Instruction::Copy(copy) => copy.sources,
            Instruction::Add(add) => add.sources,
            other => unreachable!("{other:?}"),
        };
        assert_eq!(texts(&sources.paths), paths, "{source}");
        let lookup = |name: &str| (name == "x").then(|| "y".to_owned());
        let got: Vec<(String, String)> = sources
            .heredocs
            .iter()
            .map(|heredoc| {
                (
                    heredoc.name.clone(),
                    heredoc.expanded(&lookup).expect("it is well formed").text,
                )
            })
            .collect();
        let want: Vec<(String, String)> = heredocs
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        assert_eq!(got, want, "{source}");
    }
}

#[test]
fn mounts_have_their_defaults() {
    let bind = |source: Option<&str>, target: &str, read_only| {
        ResolvedMount::Bind(BindMount {
            from: None,
            source: source.map(str::to_owned),
            target: target.to_owned(),
            read_only,
        })
    };
    let cache = |id: Option<&str>, sharing, read_only| {
        let (from, source, mode, uid, gid) = (None, None, None, None, None);
        let (id, target) = (id.map(str::to_owned), "/c".to_owned());
        ResolvedMount::Cache(CacheMount {
            id,
            target,
            from,
            source,
            sharing,
            read_only,
            mode,
            uid,
            gid,
        })
    };
    let secret = |id: &str, target: Option<&str>, env: Option<&str>, required| {
        let (target, env) = (target.map(str::to_owned), env.map(str::to_owned));
        ResolvedMount::Secret(SecretMount {
            id: id.to_owned(),
            target,
            env,
            required,
            mode: None,
            uid: None,
            gid: None,
        })
    };
    for (options, want) in [
        ("target=/x", bind(None, "/x", true)),
        ("type=bind,dst=/x,src=y,rw", bind(Some("y"), "/x", false)),
        ("destination=x,readwrite=false", bind(None, "x", true)),
        ("type=BIND,ro=false,target=/x", bind(None, "/x", false)),
        ("source=.", bind(Some("."), "", true)),
        ("type=cache,target=/c", cache(None, Sharing::Shared, false)),
        (
            "type=cache,target=/c,id=$v,sharing=LOCKED,ro",
            cache(Some("w"), Sharing::Locked, true),
        ),
        (
            "type=$cache,target=/c,sharing=private",
            cache(None, Sharing::Private, false),
        ),
        (
            "type=tmpfs,target=/t,size=1.5k",
            ResolvedMount::Tmpfs(TmpfsMount {
                target: "/t".to_owned(),
                size: Some(1536),
                read_only: false,
            }),
        ),
        (
            "type=secret,id=a",
            secret("a", Some("/run/secrets/a"), None, false),
        ),
        (
            "type=secret,id=a/b,required",
            secret("a/b", Some("/run/secrets/b"), None, true),
        ),
        (
            "type=secret,target=/x/y",
            secret("y", Some("/x/y"), None, false),
        ),
        (
            "type=secret,source=a,env=E,required=false",
            secret("a", None, Some("E"), false),
        ),
        (
            "type=secret,id=a,env=E,target=/x",
            secret("a", Some("/x"), Some("E"), false),
        ),
        ("type=secret,id=a,env=", secret("a", None, Some("a"), false)),
        (
            "type=ssh,mode=0600,uid=1,gid=2",
            ResolvedMount::Ssh(SshMount {
                id: None,
                target: None,
                required: false,
                mode: Some(0o600),
                uid: Some(1),
                gid: Some(2),
            }),
        ),
    ] {
        let source = format!("RUN --mount={options} x");
        let Instruction::Run(run) = one(&source) else {
            unreachable!("{source}")
        };
        let lookup = |name: &str| match name {
            "v" => Some("w".to_owned()),
            "cache" => Some("cache".to_owned()),
            _ => None,
        };
        assert_eq!(run.mounts[0].value.resolve(&lookup), Ok(want), "{options}");
    }
}

#[test]
fn run_flags_are_typed() {
    let Instruction::Run(run) =
        one("RUN --network=host --security=insecure --device=a,required --device=name=b x")
    else {
        unreachable!()
    };
    assert_eq!(
        run.network.map(|network| network.value),
        Some(Network::Host)
    );
    assert_eq!(
        run.security.map(|security| security.value),
        Some(Security::Insecure)
    );
    let devices: Vec<_> = run
        .devices
        .iter()
        .map(|device| (device.value.name.raw(), device.value.required))
        .collect();
    assert_eq!(devices, [("a", true), ("b", false)]);
}

#[test]
fn health_checks_have_a_test_and_times() {
    let Instruction::Healthcheck(check) =
        one("HEALTHCHECK --interval=1m --timeout=500ms --retries=3 CMD a b")
    else {
        unreachable!()
    };
    assert_eq!(check.interval, Some(Duration::from_mins(1)));
    assert_eq!(check.timeout, Some(Duration::from_millis(500)));
    assert_eq!(
        (check.start_period, check.start_interval, check.retries),
        (None, None, Some(3))
    );
    let HealthcheckTest::Command(command) = check.test else {
        unreachable!()
    };
    assert_eq!(command.form, Form::Shell("a b".to_owned()));
    let Instruction::Healthcheck(check) = one("healthcheck cmd [\"a\"]") else {
        unreachable!()
    };
    let HealthcheckTest::Command(command) = check.test else {
        unreachable!()
    };
    assert_eq!(command.form, Form::Exec(vec!["a".to_owned()]));
    let Instruction::Healthcheck(check) = one("HEALTHCHECK none") else {
        unreachable!()
    };
    assert_eq!(check.test, HealthcheckTest::None);
}

#[test]
fn triggers_are_stored_as_text_and_read_again() {
    for (source, text) in [
        ("ONBUILD RUN a  b", "RUN a  b"),
        ("onbuild   copy a \\\n  b", "copy a   b"),
        ("ONBUILD RUN <<E\nx\nE\n", "RUN <<E\nx\nE"),
        (
            "ONBUILD COPY <<A <<B /c/\n1\nA\n2\nB\n",
            "COPY <<A <<B /c/\n1\nA\n2\nB",
        ),
    ] {
        let Instruction::Onbuild(onbuild) = one(source) else {
            unreachable!("{source}")
        };
        assert_eq!(onbuild.text, text, "{source}");
        let again = parse_trigger(&onbuild.text);
        assert_eq!(again.diagnostics, [], "{source}");
        assert_eq!(again.instructions.len(), 1, "{source}");
        assert!(onbuild.instruction.is_some(), "{source}");
    }
    assert!(parse_trigger("RUN a\nRUN b").has_errors());
    assert!(parse_trigger("").has_errors());
}

#[test]
fn directives_count_at_the_top_only() {
    for (source, escape, syntax, check) in [
        ("FROM a", '\\', None, None),
        (
            "# syntax=docker/dockerfile:1\n# escape=`\nFROM a",
            '`',
            Some("docker/dockerfile:1"),
            None,
        ),
        ("#ESCAPE = `  \nFROM a", '`', None, None),
        ("\u{feff}# escape=`\nFROM a", '`', None, None),
        ("  # escape=`\nFROM a", '`', None, None),
        (
            "# check=skip=all;error=true\r\nFROM a",
            '\\',
            None,
            Some("skip=all;error=true"),
        ),
        ("# a comment\n# escape=`\nFROM a", '\\', None, None),
        ("\n# escape=`\nFROM a", '\\', None, None),
        ("# unknown=x\n# escape=`\nFROM a", '\\', None, None),
        ("#\n# escape=`\nFROM a", '\\', None, None),
        ("# escape=\n# syntax=x\nFROM a", '\\', None, None),
        ("#!/bin/x\n# syntax=x\nFROM a", '\\', Some("x"), None),
        ("#!/bin/x\n# escape=`\nFROM a", '\\', None, None),
    ] {
        let parsed = parse(source);
        assert_eq!(parsed.diagnostics, [], "{source:?}");
        let text =
            |value: &Option<Spanned<String>>| value.as_ref().map(|value| value.value.clone());
        let got = (
            parsed.directives.escape,
            text(&parsed.directives.syntax),
            text(&parsed.directives.check),
        );
        assert_eq!(
            got,
            (escape, syntax.map(str::to_owned), check.map(str::to_owned)),
            "{source:?}"
        );
    }
}

#[test]
fn the_escape_character_changes_continuation_and_words() {
    let parsed = parse("# escape=`\nFROM a\nENV A=c:\\ B=`\n  C=a` b\nCOPY --chown=a`\"b x y\n");
    assert_eq!(parsed.diagnostics, []);
    let Instruction::Env(env) = &parsed.instructions[1].value else {
        unreachable!()
    };
    let pairs: Vec<_> = env
        .pairs
        .iter()
        .map(|pair| (pair.key.raw(), pair.value.raw()))
        .collect();
    assert_eq!(pairs, [("A", "c:\\"), ("B", ""), ("C", "a` b")]);
    let Instruction::Copy(copy) = &parsed.instructions[2].value else {
        unreachable!()
    };
    assert_eq!(copy.chown.as_ref().map(Word::raw), Some("a\"b"));
}

#[test]
fn comments_above_an_instruction_are_kept() {
    let parsed = parse("# syntax=x\n# one\n#\n# two\nFROM a\n# three\nRUN b \\\n# four\n c\n");
    let comments = |index: usize| -> Vec<&str> {
        parsed.tree.statements[index]
            .comments
            .iter()
            .map(|comment| comment.value.as_str())
            .collect()
    };
    assert_eq!(comments(0), ["two"]);
    assert_eq!(comments(1), ["three"]);
}
