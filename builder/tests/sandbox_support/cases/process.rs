//! What a command sees of itself, and how its end is reported.

use std::collections::BTreeMap;

use rbuild_builder::sandbox::{Outcome, ResolvedUser, ResourceLimit};

use crate::sandbox_support::harness::{Case, Needs};
use crate::sandbox_support::world::World;

pub(crate) const CASES: &[Case] = &[
    (
        "exit_codes_and_signals_are_exact",
        Needs::Any,
        exit_codes_and_signals_are_exact,
    ),
    (
        "what_cannot_be_executed_says_why",
        Needs::Any,
        what_cannot_be_executed_says_why,
    ),
    (
        "the_environment_is_what_was_given",
        Needs::Any,
        the_environment_is_what_was_given,
    ),
    (
        "path_of_the_step_is_searched_in_order",
        Needs::Any,
        path_of_the_step_is_searched_in_order,
    ),
    (
        "user_and_groups_are_set",
        Needs::Range,
        user_and_groups_are_set,
    ),
    (
        "a_user_can_open_its_streams_again",
        Needs::Range,
        a_user_can_open_its_streams_again,
    ),
    (
        "limits_umask_workdir_and_hostname_are_set",
        Needs::Any,
        limits_umask_workdir_and_hostname_are_set,
    ),
    (
        "a_missing_workdir_is_an_error",
        Needs::Any,
        a_missing_workdir_is_an_error,
    ),
    (
        "standard_input_is_empty",
        Needs::Any,
        standard_input_is_empty,
    ),
    (
        "signals_start_with_their_defaults",
        Needs::Any,
        signals_start_with_their_defaults,
    ),
    (
        "large_output_on_both_streams_arrives",
        Needs::Any,
        large_output_on_both_streams_arrives,
    ),
    (
        "no_descriptor_of_ours_is_inherited",
        Needs::Any,
        no_descriptor_of_ours_is_inherited,
    ),
];

fn exit_codes_and_signals_are_exact(world: &World) {
    for (script, want) in [
        ("true", Outcome::Exited(0)),
        ("exit 1", Outcome::Exited(1)),
        ("exit 255", Outcome::Exited(255)),
        ("kill -9 $$", Outcome::Signaled(9)),
        ("kill -TERM $$", Outcome::Signaled(15)),
        ("kill -SEGV $$", Outcome::Signaled(11)),
        // Process 1 passes signals on, so a script that stops "its container" stops itself.
        ("kill -TERM 1; sleep 1000", Outcome::Signaled(15)),
        ("kill -9 1; exit 3", Outcome::Exited(3)),
        ("trap 'exit 7' TERM; kill 0; sleep 1000", Outcome::Exited(7)),
    ] {
        let ran = world.run(&world.script(script));
        assert_eq!(ran.outcome, want, "{script}: {ran:#?}");
    }
}

fn what_cannot_be_executed_says_why(world: &World) {
    let root = world.scratch();
    for (name, mode, content) in [
        ("garbage", 0o755, "garbage"),
        ("script", 0o755, "#!/no/such/shell\n"),
        ("plain", 0o644, "#!/bin/sh\n"),
    ] {
        let path = root.join("bin").join(name);
        std::fs::create_dir_all(root.join("bin")).expect("a directory");
        std::fs::write(&path, content).expect("a file");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))
            .expect("its mode");
    }
    for (program, status, message) in [
        (
            "nosuch",
            127,
            "exec: \"nosuch\": executable file not found in $PATH",
        ),
        ("", 127, "exec: \"\": executable file not found in $PATH"),
        (
            "/no/such",
            127,
            "exec: \"/no/such\": stat /no/such: no such file or directory",
        ),
        ("/bin/plain", 126, "exec: \"/bin/plain\": permission denied"),
        ("plain", 126, "exec: \"plain\": permission denied"),
        ("/etc", 126, "exec: \"/etc\": is a directory"),
        ("/etc/passwd/x", 127, "no such file or directory"),
        ("/bin/garbage", 126, "exec /bin/garbage: exec format error"),
        ("garbage", 126, "exec format error"),
        ("/bin/script", 127, "interpreter or loader is missing"),
    ] {
        let mut step = world.command(&[program]);
        step.spec.lower.insert(0, root.clone());
        let ran = world.run(&step);
        assert_eq!(ran.outcome, Outcome::Exited(status), "{program}: {ran:#?}");
        assert!(ran.stderr.contains(message), "{program}: {}", ran.stderr);
    }
}

fn the_environment_is_what_was_given(world: &World) {
    let mut step = world.command(&["/bin/env"]);
    step.spec.env = [("B", "2"), ("A", "with = and \n newline"), ("EMPTY", "")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
    let ran = world.run(&step);
    assert_eq!(ran.stdout, "B=2\nA=with = and \n newline\nEMPTY=\n");
}

fn path_of_the_step_is_searched_in_order(world: &World) {
    let root = world.scratch();
    for (directory, text) in [("one", "one"), ("two", "two")] {
        let path = root.join(directory).join("tool");
        std::fs::create_dir_all(root.join(directory)).expect("a directory");
        std::fs::write(&path, format!("#!/bin/sh\necho {text} $*\n")).expect("a script");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("its mode");
    }
    for (path, want) in [
        (Some("/none:/two:/one"), "two a b\n"),
        (Some("/one:/two"), "one a b\n"),
    ] {
        let mut step = world.command(&["tool", "a", "b"]);
        step.spec.lower.insert(0, root.clone());
        step.spec.env = path
            .map(|path| ("PATH".to_owned(), path.to_owned()))
            .into_iter()
            .collect();
        assert_eq!(world.run(&step).stdout, want, "{path:?}");
    }
    let mut step = world.command(&["echo", "found"]);
    step.spec.env.clear();
    assert_eq!(world.run(&step).stdout, "found\n");
}

fn user_and_groups_are_set(world: &World) {
    for (user, want) in [
        (
            ResolvedUser {
                uid: 1000,
                gid: 1000,
                groups: vec![],
            },
            "uid=1000(user) gid=1000(user)",
        ),
        (
            ResolvedUser {
                uid: 33,
                gid: 44,
                groups: vec![5, 6],
            },
            "uid=33 gid=44 groups=5,6",
        ),
        (
            ResolvedUser {
                uid: 0,
                gid: 0,
                groups: vec![0],
            },
            "uid=0(root) gid=0(root) groups=0(root)",
        ),
    ] {
        let mut step = world.command(&["id"]);
        step.spec.user = user;
        assert_eq!(world.run(&step).stdout.trim(), want);
    }
}

fn a_user_can_open_its_streams_again(world: &World) {
    let mut step = world.script("echo out > /dev/stdout; echo err > /dev/stderr");
    step.spec.user = ResolvedUser {
        uid: 1000,
        gid: 1000,
        groups: vec![],
    };
    let ran = world.run(&step);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("out\n", "err\n")
    );
}

fn limits_umask_workdir_and_hostname_are_set(world: &World) {
    let mut step = world.script("ulimit -n; ulimit -c; umask; pwd; hostname; cat /etc/hosts");
    step.spec.limits = vec![
        ResourceLimit {
            name: "nofile".into(),
            soft: Some(123),
            hard: Some(456),
        },
        ResourceLimit {
            name: "core".into(),
            soft: Some(0),
            hard: Some(0),
        },
    ];
    step.spec.workdir = "/usr/bin".into();
    step.spec.hostname = "a-name".into();
    step.spec.extra_hosts = vec![("db".into(), "10.0.0.7".into())];
    let ran = world.run(&step);
    assert_eq!(
        ran.stdout,
        "123\n0\n0022\n/usr/bin\na-name\n127.0.0.1\tlocalhost a-name\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.7\tdb\n"
    );
    assert_eq!(ran.names(), Vec::<&str>::new());

    let mut step = world.script("true");
    step.spec.limits = vec![ResourceLimit {
        name: "cores".into(),
        soft: None,
        hard: None,
    }];
    let error = world.try_run(&step).expect_err("there is no such limit");
    assert_eq!(
        error.to_string(),
        "invalid sandbox request: there is no resource limit `cores`"
    );
}

fn a_missing_workdir_is_an_error(world: &World) {
    let mut step = world.script("true");
    step.spec.workdir = "/not/there".into();
    let error = world
        .try_run(&step)
        .expect_err("the directory is missing")
        .to_string();
    assert!(
        error.contains("`/not/there`: No such file or directory"),
        "{error}"
    );
}

fn standard_input_is_empty(world: &World) {
    assert_eq!(world.output("cat; echo done"), "done\n");
}

fn signals_start_with_their_defaults(world: &World) {
    let ran = world.run(&world.command(&["cat", "/proc/self/status"]));
    let status: BTreeMap<String, String> = ran
        .stdout
        .lines()
        .filter_map(|line| line.split_once(":\t"))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    for key in ["SigBlk", "SigIgn", "SigPnd"] {
        assert_eq!(status[key], "0000000000000000", "{key}");
    }
}

fn large_output_on_both_streams_arrives(world: &World) {
    let ran = world
        .run(&world.script("yes out | head -c 6000000 & yes error | head -c 6000000 >&2; wait"));
    assert_eq!((ran.stdout.len(), ran.stderr.len()), (6_000_000, 6_000_000));
    assert!(ran.stdout.starts_with("out\nout\n") && ran.stderr.starts_with("error\nerror\n"));
}

fn no_descriptor_of_ours_is_inherited(world: &World) {
    // Of the shell's child: its three streams, and the directory it reads.
    assert_eq!(
        world
            .output("ls /proc/self/fd")
            .split_whitespace()
            .collect::<Vec<_>>(),
        ["0", "1", "2", "3"]
    );
    // The init process keeps its streams and two pipes, and nobody may look at them.
    let mut step =
        world.script("ls -l /proc/1/fd /proc/1/root /proc/1/cwd; tr '\\0' ' ' < /proc/1/environ");
    step.spec.user = ResolvedUser::default();
    let ran = world.run(&step);
    assert!(!ran.stdout.contains("->"), "{ran:#?}");
}
