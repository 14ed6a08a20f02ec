//! Registries: push, pull, what is sent twice, login.

use insta::assert_snapshot;

use crate::world::World;

/// Lines of parallel transfers, in one order.
fn sorted(log: &str) -> String {
    let mut lines: Vec<&str> = log.lines().collect();
    let is_transfer = |line: &str| line.starts_with("[D") && line.contains("]: ");
    let mut start = 0;
    while start < lines.len() {
        let length = lines[start..]
            .iter()
            .take_while(|line| is_transfer(line))
            .count();
        lines[start..start + length].sort_unstable();
        start += length.max(1);
    }
    // Which of them comes first decides about the numbers of their labels.
    lines.join("\n")
}

#[test]
fn an_image_is_pushed_once_and_pulled_again() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.start_registry();
    world.write("ctx/Dockerfile", "FROM busybox\nCOPY file /\n");
    world.write("ctx/file", "x");
    world.quietly(&["build", "-q", "-t", "REGISTRY/team/app:1", "ctx"]);
    let first = world.quietly(&["push", "REGISTRY/team/app:1"]);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert_eq!(
        first.stderr.matches("pushed").count(),
        3,
        "{}",
        first.stderr
    );
    let second = world.quietly(&["push", "REGISTRY/team/app:1"]);
    assert_eq!(
        second.stderr.matches("already exists").count(),
        3,
        "{}",
        second.stderr
    );
    assert_eq!(first.stdout, second.stdout, "the same manifest");
    world.run(&["push", "-q", "REGISTRY/team/app:1"]);

    let digest = first
        .stdout
        .split_whitespace()
        .nth(2)
        .expect("a digest")
        .to_owned();
    let pull = |world: &World, name: &str, root: &str| {
        let output = world
            .command(&["--root", root, "pull", name])
            .output()
            .expect("run");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let pulled = pull(&world, "REGISTRY/team/app:1", "other");
    assert!(pulled.contains(&format!("Digest: {digest}")), "{pulled}");
    assert!(pulled.contains("Downloaded newer image"), "{pulled}");
    let again = pull(&world, "REGISTRY/team/app:1", "other");
    assert!(again.contains("Image is up to date"), "{again}");
    pull(&world, &format!("REGISTRY/team/app@{digest}"), "by-digest");
    world.run(&["--root", "by-digest", "images", "--digests"]);
    world.run(&["--root", "other", "images", "--digests"]);
    world.run(&["--root", "other", "rmi", "REGISTRY/team/app:1"]);
    assert_snapshot!(sorted(&world.log()));
}

#[test]
fn an_image_that_was_pulled_is_pushed_byte_for_byte() {
    let Some(world) = World::with_busybox() else {
        return;
    };
    let mut world = world;
    world.start_registry();
    world.quietly(&["tag", "busybox", "REGISTRY/one:1"]);
    let first = world.quietly(&["push", "REGISTRY/one:1"]);
    let in_other = |arguments: &[&str]| {
        let mut all = vec!["--root", "other"];
        all.extend(arguments);
        let done = world.quietly(&all);
        assert_eq!(done.code, Some(0), "{done:?}");
        done
    };
    in_other(&["pull", "-q", "REGISTRY/one:1"]);
    in_other(&["tag", "REGISTRY/one:1", "REGISTRY/two:1"]);
    let second = in_other(&["push", "REGISTRY/two:1"]);
    assert_eq!(first.stdout, second.stdout);
    assert!(
        second.stderr.contains("mounted from one"),
        "{}",
        second.stderr
    );
    let third = in_other(&["push", "--all-tags", "REGISTRY/two"]);
    assert_eq!(third.stdout, second.stdout);
}

#[test]
fn a_base_image_is_pulled_once_for_builds() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.start_registry();
    world.quietly(&["tag", "busybox", "REGISTRY/base:1"]);
    world.quietly(&["push", "REGISTRY/base:1"]);
    let from = format!("FROM {}/base:1\nENV A=b\n", world.registry());
    world.write("ctx/Dockerfile", &from);
    let build = |extra: &[&str]| {
        let mut arguments = vec![
            "--root",
            "other",
            "build",
            "--progress",
            "plain",
            "-t",
            "app",
        ];
        arguments.extend(extra);
        arguments.push("ctx");
        world.quietly(&arguments)
    };
    let first = build(&[]);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.stderr.contains("[internal] pull"), "{}", first.stderr);
    let second = build(&[]);
    assert!(
        !second.stderr.contains("[internal] pull"),
        "{}",
        second.stderr
    );
    world.quietly(&["--root", "other", "rmi", "app"]);
    let images = world.quietly(&["--root", "other", "images"]).stdout;
    assert!(
        images.contains("base"),
        "a base that was pulled is an image: {images}"
    );
}

#[test]
fn what_a_registry_warns_of_is_shown() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.start_registry();
    world.quietly(&["tag", "busybox", "REGISTRY/app:1"]);
    let pushed = world.quietly(&["push", "REGISTRY/app:1"]);
    assert!(!pushed.stderr.contains("warning:"), "{}", pushed.stderr);
    world.deprecate("app", "1", "use app:2");
    world.write(
        "ctx/Dockerfile",
        &format!("FROM {}/app:1\n", world.registry()),
    );
    for (root, arguments) in [
        ("pulls", &["pull", "REGISTRY/app:1"][..]),
        ("builds", &["build", "-t", "x", "ctx"]),
    ] {
        let done = world.quietly(&[&["--root", root], arguments].concat());
        assert_eq!(done.code, Some(0), "{done:?}");
        let want = "tag 1 is deprecated: use app:2";
        assert_eq!(done.stderr.matches(want).count(), 1, "{}", done.stderr);
        assert!(!done.stdout.contains(want), "{}", done.stdout);
    }
}

#[test]
fn a_build_pushes_what_it_made() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.start_registry();
    world.write("ctx/Dockerfile", "FROM busybox\n");
    let done = world.quietly(&[
        "build",
        "-q",
        "--push",
        "-t",
        "REGISTRY/a:1",
        "-t",
        "REGISTRY/a:2",
        "ctx",
    ]);
    assert_eq!(done.code, Some(0), "{done:?}");
    for tag in ["1", "2"] {
        let name = format!("REGISTRY/a:{tag}");
        assert_eq!(world.quietly(&["--root", tag, "pull", &name]).code, Some(0));
    }
    world.run(&["build", "--push", "ctx"]);
    assert_snapshot!(world.log());
}

#[test]
fn names_that_a_registry_does_not_have() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.start_registry();
    world.run(&["pull", "REGISTRY/none:1"]);
    world.quietly(&["tag", "busybox", "REGISTRY/app:1"]);
    world.quietly(&["push", "REGISTRY/app:1"]);
    world.run(&["pull", "REGISTRY/app:2"]);
    world.run(&["pull", "--platform", "linux/s390x", "REGISTRY/app:1"]);
    world.run(&["push", "REGISTRY/never:1"]);
    world.run(&["push", "-a", "REGISTRY/never"]);
    assert_snapshot!(world.log());
}

#[test]
fn a_login_is_kept_and_forgotten() {
    let mut world = World::new();
    world.start_registry();
    world.run_input(
        &["login", "-u", "me", "--password-stdin", "REGISTRY"],
        "secret\n",
    );
    let config = world.read("home/.docker/config.json");
    assert!(config.contains("bWU6c2VjcmV0"), "{config}");
    world.run(&["logout", "REGISTRY"]);
    let config = world.read("home/.docker/config.json");
    assert!(!config.contains("bWU6c2VjcmV0"), "{config}");
    world.run(&["logout", "REGISTRY"]);
    world.run(&["login", "REGISTRY"]);
    world.run(&["login", "-u", "me", "REGISTRY"]);
    world.run(&["login", "--password-stdin", "REGISTRY"]);
    world.run_input(
        &[
            "--config", "mine", "login", "-u", "me", "-p", "secret", "REGISTRY",
        ],
        "",
    );
    assert!(world.path("mine/config.json").exists());
    assert_snapshot!(world.log());
}
