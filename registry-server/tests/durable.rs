//! What was acknowledged is there after a stop, after damage is noticed, and after a kill.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rbuild_image::Digest;
use rbuild_store::BlobStore as _;
use support::{Fixture, bytes};

#[test]
fn everything_is_there_after_a_restart() {
    let mut registry = Fixture::new();
    let large = bytes(200_000);
    let digest = registry.push_image("a", "v1", &large);
    let small = registry.start("a");
    registry
        .send("PATCH", &small, &[], b"small")
        .expect_status(202);
    let empty = registry.start("a");
    let cancelled = registry.start("a");
    registry.delete(&cancelled).expect_status(204);
    let file = registry.start("a");
    registry
        .send("PATCH", &file, &[], &large[..100_000])
        .expect_status(202);
    registry.restart();
    let got = registry.get("/v2/a/manifests/v1");
    assert_eq!(
        got.header("docker-content-digest"),
        Some(digest.to_string().as_str())
    );
    assert!(
        registry
            .get(&format!("/v2/a/blobs/{}", Digest::sha256(&large)))
            .body
            == large
    );
    assert_eq!(registry.get(&small).header("range"), Some("0-4"));
    assert_eq!(registry.get(&file).header("range"), Some("0-99999"));
    registry.get(&cancelled).expect_status(404);
    registry.get(&empty).expect_status(204);
    registry
        .send("PATCH", &empty, &[], b"begun before")
        .expect_status(202);
    let end = format!("{empty}?digest={}", Digest::sha256(b"begun before"));
    registry.send("PUT", &end, &[], b"").expect_status(201);
    let range = [("Content-Range", "100000-199999")];
    registry
        .send("PATCH", &file, &range, &large[100_000..])
        .expect_status(202);
    let end = format!("{file}?digest={}", Digest::sha256(&large));
    registry.send("PUT", &end, &[], b"").expect_status(201);
}

#[test]
fn blobs_without_their_records_are_not_taken_for_garbage() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let server = Server::start(directory.path());
    let content = bytes(200_000);
    let digest = Digest::sha256(&content);
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    assert_eq!(push(server.1, &path, &content), Some(201));
    drop(server);
    let database = directory.path().join("meta.db");
    let elsewhere = directory.path().join("elsewhere.db");
    for suffix in ["", "-wal"] {
        let log = format!("{}{suffix}", database.display());
        fs::rename(log, format!("{}{suffix}", elsewhere.display())).expect("moved");
    }
    for empty in [false, true] {
        if empty {
            fs::write(&database, b"").expect("an empty file");
        }
        let refused = Command::new(env!("CARGO_BIN_EXE_rbuild-registry"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(directory.path())
            .stdin(Stdio::null())
            .output()
            .expect("the program starts");
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("put that file back"), "{said}");
    }
    for suffix in ["", "-wal"] {
        let log = format!("{}{suffix}", database.display());
        fs::rename(format!("{}{suffix}", elsewhere.display()), log).expect("moved back");
    }
    let server = Server::start(directory.path());
    let got = get(server.1, &format!("/v2/a/blobs/{digest}"));
    assert!(got.as_deref() == Some(&content[..]));
}

#[test]
fn a_damaged_blob_is_refused_and_heals_when_pushed_again() {
    let registry = Fixture::new();
    let content = bytes(200_000);
    let digest = registry.push_blob("a", &content);
    let path = format!("/v2/a/blobs/{digest}");
    let running = registry.running.as_ref().expect("runs");
    let file = running.registry().blobs().path_of(&digest);
    let damages: [(&str, Vec<u8>); 3] = [
        ("shorter", content[..1000].to_vec()),
        ("longer", [&content[..], b"x"].concat()),
        (
            "other bytes",
            bytes(199_999).into_iter().chain([0]).collect(),
        ),
    ];
    for (name, damage) in damages {
        fs::write(&file, &damage).expect("damage");
        if running
            .registry()
            .blobs()
            .stat(&digest)
            .expect("stat")
            .is_some()
        {
            eprintln!("skipped: the file system keeps no extended attributes");
            return;
        }
        registry.get(&path).expect_error(404, "BLOB_UNKNOWN");
        registry.head(&path).expect_status(404);
        let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
        registry.send("POST", &mount, &[], b"").expect_status(202);
        registry.push_blob("a", &content);
        assert!(registry.get(&path).body == content, "{name}");
    }
}

#[test]
fn a_second_server_does_not_start_on_the_same_directory() {
    let registry = Fixture::new();
    let error = rbuild_registry_server::serve::start(&registry.config).expect_err("locked");
    assert!(error.to_string().contains("another process"), "{error}");
}

/// The program itself, killed when dropped.
struct Server(Child, SocketAddr);

impl Server {
    fn start(data: &std::path::Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rbuild-registry"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("a line");
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .and_then(|text| text.parse().ok())
            .expect("the program tells its address");
        Self(child, address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut acknowledged = Vec::new();
    for round in 0..5_usize {
        let server = Server::start(directory.path());
        let address = server.1;
        let (sender, answered) = std::sync::mpsc::channel();
        let pushers: Vec<_> = (0..4_usize)
            .map(|pusher| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    let mut done = Vec::new();
                    for number in 0..1000_usize {
                        let length = 1 + (number * 37_813 + pusher * 7919 + round) % 150_000;
                        let content = bytes(length);
                        let digest = Digest::sha256(&content);
                        let path = format!("/v2/p{pusher}/blobs/uploads/?digest={digest}");
                        match push(address, &path, &content) {
                            Some(201) => {
                                done.push((pusher, length, digest));
                                // Nobody listens any more once the server is killed.
                                let _ = sender.send(());
                            }
                            Some(status) => panic!("status {status}"),
                            None => return done,
                        }
                    }
                    done
                })
            })
            .collect();
        drop(sender);
        // Killed in the middle: as soon as they have surely been at work.
        let seen = answered.iter().take(20).count();
        assert_eq!(seen, 20);
        drop(server);
        for pusher in pushers {
            acknowledged.extend(pusher.join().expect("pusher"));
        }
    }
    assert!(!acknowledged.is_empty());
    let server = Server::start(directory.path());
    for (pusher, length, digest) in acknowledged {
        let got = get(server.1, &format!("/v2/p{pusher}/blobs/{digest}"));
        assert!(
            got.as_deref() == Some(&bytes(length)[..]),
            "{digest} of {length} bytes is lost"
        );
    }
}

fn exchange(address: SocketAddr, request: &[&[u8]]) -> Option<support::Answer> {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    for part in request {
        stream.write_all(part).ok()?;
    }
    support::read_answer(&mut BufReader::new(stream), false)
}

fn push(address: SocketAddr, path: &str, content: &[u8]) -> Option<u16> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    exchange(address, &[head.as_bytes(), content]).map(|answer| answer.status)
}

fn get(address: SocketAddr, path: &str) -> Option<Vec<u8>> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    exchange(address, &[head.as_bytes()])
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.body)
}
