//! `run`: what reaches the command, and what comes back.

use insta::assert_snapshot;

use crate::world::World;

#[test]
fn the_exit_status_is_handed_on() {
    let Some(mut world) = World::with_sandbox() else {
        return;
    };
    for (arguments, code) in [
        (&["true"][..], 0),
        (&["false"], 1),
        (&["sh", "-c", "exit 42"], 42),
        (&["sh", "-c", "kill -9 $$"], 137),
        (&["nosuchprogram"], 127),
        (&["/etc/passwd"], 126),
    ] {
        let mut all = vec!["run", "busybox"];
        all.extend(arguments);
        assert_eq!(world.run(&all).code, Some(code), "{arguments:?}");
    }
    assert_snapshot!(world.log());
}

#[test]
fn flags_change_what_the_command_sees() {
    let Some(mut world) = World::with_sandbox() else {
        return;
    };
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nENV A=image B=image\nWORKDIR /work\nUSER worker\nENTRYPOINT [\"echo\"]\nCMD [\"default\"]\n",
    );
    world.quietly(&["build", "-q", "-t", "app", "ctx"]);
    world.run(&["run", "app"]);
    world.run(&["run", "app", "other", "words"]);
    world.run(&["run", "--entrypoint", "id", "app"]);
    world.run(&["run", "--entrypoint", "", "app", "pwd"]);
    world.run(&[
        "run",
        "--entrypoint",
        "",
        "-u",
        "0:0",
        "-w",
        "/tmp",
        "app",
        "sh",
        "-c",
        "id; pwd",
    ]);
    world.run(&[
        "run",
        "--entrypoint",
        "",
        "-e",
        "A=mine",
        "-e",
        "C=mine",
        "app",
        "sh",
        "-c",
        "echo $A $B $C $HOME",
    ]);
    world.run_with(
        &["run", "-e", "A", "-e", "B", "--entrypoint", "env", "app"],
        "",
        |command| {
            command.env("A", "callers");
        },
    );
    world.run(&["run", "-u", "nobody-here", "app"]);
    world.run(&["run", "-w", "relative", "app"]);
    world.run(&[
        "run",
        "--network",
        "none",
        "busybox",
        "ls",
        "/sys/class/net",
    ]);
    let log = world.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| !line.starts_with("HOSTNAME="))
        .collect();
    assert_snapshot!(lines.join("\n"));
}

#[test]
fn input_reaches_the_command_only_when_asked_for() {
    let Some(mut world) = World::with_sandbox() else {
        return;
    };
    world.run_input(&["run", "busybox", "cat"], "input\n");
    world.run_input(&["run", "-i", "busybox", "cat"], "input\n");
    world.run_input(&["run", "-t", "busybox", "true"], "");
    assert_snapshot!(world.log());
}

#[test]
fn nothing_of_a_container_stays() {
    let Some(world) = World::with_sandbox() else {
        return;
    };
    let write = world.quietly(&["run", "busybox", "sh", "-c", "echo x > /left; ls /left"]);
    assert_eq!((write.code, write.stdout.as_str()), (Some(0), "/left\n"));
    let look = world.quietly(&["run", "--rm", "busybox", "ls", "/left"]);
    assert_eq!(look.code, Some(1), "{look:?}");
}

#[test]
fn what_cannot_be_run_is_told_apart_from_what_failed() {
    let mut world = World::new();
    let done = world.run(&["run", "127.0.0.1:1/none:1"]);
    assert_eq!(done.code, Some(125));
    let done = world.run(&["run", "--rm=false", "busybox"]);
    assert_eq!(done.code, Some(2));
    assert_snapshot!(world.log());
}
