//! The command line itself: help, refusals, exit status.

use insta::assert_snapshot;

use crate::world::World;

#[test]
fn help_is_on_standard_output() {
    let mut world = World::new();
    assert_eq!(world.run(&["--help"]).code, Some(0));
    let build = world.quietly(&["build", "--help"]);
    assert_eq!(build.code, Some(0));
    for flag in [
        "--tag",
        "--file",
        "--build-arg",
        "--target",
        "--no-cache",
        "--iidfile",
    ] {
        assert!(build.stdout.contains(flag), "{flag}");
    }
    assert_eq!(world.run(&["version"]).code, Some(0));
    assert_eq!(world.run(&["--version"]).code, Some(0));
    assert_eq!(world.run(&[]).code, Some(2));
    assert_snapshot!(world.log());
}

#[test]
fn what_is_not_understood_is_refused() {
    let mut world = World::new();
    for arguments in [
        &["build", "--no-cahce", "."][..],
        &["build", "--ssh", "default", "."],
        &["build", "--cache-to=type=local,dest=x", "."],
        &["build", "-o", "out", "."],
        &["build", "--build-context", "a=b", "."],
        &["build", "-t", "UPPER", "."],
        &["build", "-t", "a:b:c", "."],
        &["build", "--platform", "a/b/c/d", "."],
        &["build", "--platform", "linux/amd64,linux/arm64", "."],
        &["build", "--progress", "tty", "."],
        &["build", "--network", "bridge", "."],
        &["build", "--build-arg", "=x", "."],
        &["build"],
        &["run", "-d", "x"],
        &["run", "-v", "a:b", "x"],
        &["images", "--filter", "x"],
        &["pull", "-a", "x"],
        &[
            "tag",
            "a",
            "b@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        ],
        &["inspect", "-f", "{{.Id}}", "x"],
    ] {
        let done = world.run(arguments);
        assert_eq!(done.code, Some(2), "{arguments:?}");
        assert!(done.stdout.is_empty(), "{arguments:?}");
    }
    assert_snapshot!(world.log());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let Some(world) = World::with_busybox() else {
        return;
    };
    let mut child = world
        .command(&["inspect", "busybox"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("spawn");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("wait");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}

#[test]
fn a_place_for_the_store_is_needed() {
    let mut world = World::new();
    world.run_with(&["images"], "", |command| {
        command.env_remove("HOME").env_remove("RBUILD_ROOT");
    });
    let done = world.run_with(&["images"], "", |command| {
        command
            .env_remove("RBUILD_ROOT")
            .env("XDG_DATA_HOME", "relative");
    });
    assert_eq!(done.code, Some(0));
    assert!(world.path("home/.local/share/rbuild/v1").exists());
    assert_snapshot!(world.log());
}
