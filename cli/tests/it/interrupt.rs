//! Ctrl-C: everything is cleaned up.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::world::{World, is_empty};

/// Starts a build whose step says `ready` and then waits.
fn start(world: &World) -> (Child, BufReader<std::process::ChildStderr>) {
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN echo ready && sleep 1000\n",
    );
    let mut child = world
        .command(&["build", "--progress", "plain", "-t", "app", "ctx"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawn");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr"));
    let mut line = String::new();
    while !line.trim_end().ends_with(" ready") {
        line.clear();
        assert_ne!(
            lines.read_line(&mut line).expect("read"),
            0,
            "the build ended"
        );
    }
    (child, lines)
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a process");
    kill_process(pid, signal).expect("kill");
}

/// Programs that have a file or their root below this directory.
fn processes_in(world: &World) -> Vec<String> {
    let root = world.path("").display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        if mounts.contains(&root) {
            found.push(format!("{pid}: {mounts}"));
        }
    }
    found
}

#[track_caller]
fn check(sent: Signal) {
    let Some(world) = World::with_sandbox() else {
        return;
    };
    let (mut child, mut lines) = start(&world);
    signal(&child, sent);
    let status = child.wait().expect("wait");
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut lines, &mut rest).expect("read");
    assert_eq!(status.code(), Some(130), "{rest}");
    assert!(rest.contains("interrupted"), "{rest}");
    assert_eq!(
        processes_in(&world),
        Vec::<String>::new(),
        "no process, no mount"
    );
    assert!(
        is_empty(&world.path("root/v1/tmp")),
        "no temporary directory"
    );
    let images = world.quietly(&["images", "-q", "app"]).stdout;
    assert_eq!(images, "", "no image");
    // The store is whole: the same build goes on from here.
    world.write("ctx/Dockerfile", "FROM busybox\nRUN echo ready\n");
    assert_eq!(world.quietly(&["build", "-q", "ctx"]).code, Some(0));
}

#[test]
fn an_interrupt_ends_the_build_in_good_order() {
    check(Signal::INT);
}

#[test]
fn a_termination_ends_the_build_in_good_order() {
    check(Signal::TERM);
}

#[test]
fn a_killed_build_leaves_a_store_that_works() {
    let Some(world) = World::with_sandbox() else {
        return;
    };
    let (mut child, _lines) = start(&world);
    signal(&child, Signal::KILL);
    let status = child.wait().expect("wait");
    assert_eq!(status.signal(), Some(9));
    world.write("ctx/Dockerfile", "FROM busybox\nRUN echo again\n");
    assert_eq!(
        world.quietly(&["build", "-q", "-t", "app", "ctx"]).code,
        Some(0)
    );
    let pruned = world.quietly(&["prune", "-f"]);
    assert_eq!(pruned.code, Some(0), "{pruned:?}");
    assert!(is_empty(&world.path("root/v1/tmp")));
    assert!(is_empty(&world.path("root/v1/content/ingest")));
    assert_eq!(world.quietly(&["run", "app", "true"]).code, Some(0));
}
