//! Ctrl-C: everything is cleaned up.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::sync::mpsc;

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
    lines.read_to_string(&mut rest).expect("read");
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

/// A registry with one image, whose layer never ends; it tells when the layer was asked for.
fn stalling_registry() -> (String, mpsc::Receiver<TcpStream>) {
    let layer = format!("sha256:{}", "1".repeat(64));
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","rootfs":{{"type":"layers","diff_ids":["{layer}"]}}}}"#,
        rbuild_image::Platform::host().architecture
    );
    let config_digest = rbuild_image::Digest::sha256(&config);
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config_digest}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{layer}","size":1000000}}]}}"#,
        config.len()
    );
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    let (asked, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = vec![0; 4096];
            let count = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..count]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let (kind, body, length) = if path.contains(&layer) {
                ("application/octet-stream", "begin", 1_000_000)
            } else if path.contains("/blobs/") {
                ("application/octet-stream", config.as_str(), config.len())
            } else {
                (
                    "application/vnd.oci.image.manifest.v1+json",
                    manifest.as_str(),
                    manifest.len(),
                )
            };
            let body = if head.starts_with("HEAD") { "" } else { body };
            // Who was interrupted does not listen any more.
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            if path.contains(&layer) && asked.send(stream).is_err() {
                return;
            }
        }
    });
    (address, heard)
}

#[test]
fn an_interrupted_pull_leaves_nothing() {
    let world = World::new();
    let (address, asked) = stalling_registry();
    let mut child = world
        .command(&["pull", &format!("{address}/app:1")])
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawn");
    let _open = asked.recv().expect("the layer is asked for");
    signal(&child, Signal::INT);
    let status = child.wait().expect("wait");
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("stderr");
    stderr.read_to_string(&mut said).expect("read");
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.ends_with("error: interrupted\n"), "{said}");
    assert!(is_empty(&world.path("root/v1/names")));
    assert!(
        is_empty(&world.path("root/v1/content/ingest")),
        "{:?}",
        world.files("root")
    );
}

#[test]
fn an_interrupted_load_leaves_nothing() {
    let Some(world) = World::with_busybox() else {
        return;
    };
    let archive = std::fs::read(world.path("busybox.tar")).expect("read");
    let mut child = world
        .command(&["--root", "other", "load"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawn");
    let mut stdin = child.stdin.take().expect("stdin");
    stdin
        .write_all(&archive[..archive.len() - 100_000])
        .expect("write");
    // More than a pipe holds was taken, so the layer is on its way; its end never comes.
    signal(&child, Signal::INT);
    let output = child.wait_with_output().expect("wait");
    drop(stdin);
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: interrupted\n"
    );
    assert!(is_empty(&world.path("other/v1/content/ingest")));
    assert!(is_empty(&world.path("other/v1/images")));
}
