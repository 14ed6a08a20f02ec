//! The local store: names, lists, archives, prune.

use insta::assert_snapshot;

use crate::world::World;

#[test]
fn an_image_is_listed_named_and_removed() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.run(&["images"]);
    world.run(&["tag", "busybox", "team/tool:1"]);
    world.run(&["tag", "busybox:latest", "localhost:5000/tool"]);
    world.run(&["images"]);
    world.run(&["images", "team/tool"]);
    world.run(&["ls", "-q"]);
    world.run(&["images", "--digests", "--no-trunc", "busybox"]);
    world.run(&["images", "--format", "json", "busybox:latest"]);
    world.run(&["images", "nothing/like:this"]);
    world.run(&["history", "busybox"]);
    world.run(&["history", "--no-trunc", "-q", "busybox"]);
    world.run(&["inspect", "busybox"]);
    world.run(&["rmi", "busybox"]);
    world.run(&["rmi", "team/tool:1", "localhost:5000/tool"]);
    world.run(&["images"]);
    world.run(&["rmi", "busybox"]);
    assert_snapshot!(world.log());
}

#[test]
fn an_image_is_found_by_the_beginning_of_its_id() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    let id = world.quietly(&["images", "-q", "--no-trunc"]).stdout;
    let id = id.trim();
    for text in [id, &id["sha256:".len()..], &id["sha256:".len()..][..5]] {
        let done = world.quietly(&["inspect", text]);
        assert_eq!(done.code, Some(0), "{text}: {done:?}");
        assert!(done.stdout.contains(id), "{text}");
    }
    world.quietly(&["tag", "busybox", "other/name"]);
    let short = id["sha256:".len()..][..12].to_owned();
    world.run(&["rmi", &short]);
    let removed = world.run(&["rmi", "-f", &short]);
    assert_eq!(removed.code, Some(0));
    assert_snapshot!(world.log().replace(&short, "[ID]"));
}

#[test]
fn an_archive_gives_the_same_image_again() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    let before = world.quietly(&["images", "--no-trunc"]).stdout;
    for format in ["docker", "oci"] {
        let file = format!("{format}.tar");
        world.run(&["save", "--format", format, "-o", &file, "busybox"]);
        world.run(&["rmi", "busybox"]);
        world.run(&["load", "-i", &file]);
        assert_eq!(world.quietly(&["images", "--no-trunc"]).stdout, before);
        let again = format!("{format}-again.tar");
        world.quietly(&["save", "--format", format, "-o", &again, "busybox"]);
        let [first, second] =
            [file, again].map(|name| std::fs::read(world.path(&name)).expect("read"));
        assert!(
            first == second,
            "{format}: equal images give equal archives"
        );
    }
    assert_snapshot!(world.log());
}

#[test]
fn archives_are_read_from_standard_input_and_compressed() {
    let Some(world) = World::with_busybox() else {
        return;
    };
    let plain = std::fs::read(world.path("busybox.tar")).expect("read");
    let options = rbuild_image::layer::compress::Options {
        level: 1,
        threads: std::num::NonZeroUsize::MIN,
    };
    let packed = rbuild_image::layer::compress::gzip(&*plain, Vec::new(), options).expect("gzip");
    std::fs::write(world.path("busybox.tar.gz"), packed).expect("write");
    let file = std::fs::File::open(world.path("busybox.tar.gz")).expect("open");
    let output = world.command(&["load"]).stdin(file).output().expect("run");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "Loaded image: busybox:latest\n"
    );
}

#[test]
fn archives_that_are_none_are_refused() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.write("text", "this is no archive at all\n");
    world.write("xz", "\u{fd}7zXZ\0");
    std::fs::write(world.path("xz"), b"\xfd7zXZ\0rest").expect("write");
    let whole = std::fs::read(world.path("busybox.tar")).expect("read");
    std::fs::write(world.path("cut"), &whole[..whole.len() / 2]).expect("write");
    let mut changed = whole;
    let at = changed
        .windows(4)
        .position(|bytes| bytes == b"\x7fELF")
        .expect("a program")
        + 5000;
    changed[at] ^= 1;
    std::fs::write(world.path("changed"), changed).expect("write");
    for file in ["text", "xz", "cut", "changed", "nothing"] {
        let done = world.run(&["load", "-i", file]);
        assert_ne!(done.code, Some(0), "{file}");
    }
    world.run(&["images"]);
    assert_snapshot!(world.log());
}

#[test]
fn a_prune_removes_what_has_no_name() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.write("ctx/Dockerfile", "FROM busybox\nCOPY file /\n");
    world.write("ctx/file", "content");
    world.quietly(&["build", "-q", "-t", "app", "ctx"]);
    world.write("ctx/file", "other content");
    world.quietly(&["build", "-q", "-t", "app", "ctx"]);
    world.run(&["images"]);
    world.run(&["prune"]);
    world.run(&["prune", "--force"]);
    world.run(&["images"]);
    let again = world.quietly(&["build", "--progress", "plain", "ctx"]);
    assert!(
        again.stderr.contains("CACHED"),
        "the cache stays: {}",
        again.stderr
    );
    world.run(&["prune", "--all", "-f"]);
    let again = world.quietly(&["build", "--progress", "plain", "ctx"]);
    assert!(
        again.stderr.contains("#2 DONE"),
        "the cache went: {}",
        again.stderr
    );
    world.quietly(&["rmi", "app", "busybox"]);
    world.quietly(&["prune", "--all", "-f"]);
    assert_eq!(world.files("root/v1/content/blobs"), Vec::<String>::new());
    assert_snapshot!(world.log());
}

#[test]
fn the_disk_usage_is_shown() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.run(&["df"]);
    let lines = world.quietly(&["df", "--format", "json"]).stdout;
    let bytes: u64 = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|line| line["SizeBytes"].as_u64().expect("a number"))
        .sum();
    let du = std::process::Command::new("du")
        .args(["-s", "--block-size=1"])
        .arg(world.path("root"))
        .output()
        .expect("du");
    let du = String::from_utf8_lossy(&du.stdout).into_owned();
    assert_eq!(
        du.split_whitespace().next(),
        Some(bytes.to_string().as_str())
    );
    assert_snapshot!(world.log());
}
