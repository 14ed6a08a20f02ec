//! The program itself: what was acknowledged is there after `kill -9`, and it does not start where it would lose something.
//!
//! Apart from tests that start registries in their own process: between fork and exec, a child also has what those have locked.

mod support;

use std::fs;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use rbuild_image::Digest;
use support::bytes;
use support::program::{Program, serve};

fn start(data: &Path) -> Program {
    Program::start(serve(data).stderr(Stdio::null()))
}

#[test]
fn an_upload_that_was_just_started_survives_a_kill() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut server = start(directory.path());
    let send = |server: &Program, method: &str, path: &str, body: &str| {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        exchange(server.address, &[head.as_bytes(), body.as_bytes()]).expect("an answer")
    };
    let end = format!("?digest={}", Digest::sha256(b"content"));
    let lives = [
        vec![("PUT", &*end, "content", 201)],
        vec![
            ("PATCH", "", "con", 202),
            ("PATCH", "", "tent", 202),
            ("PUT", &*end, "", 201),
        ],
        vec![("DELETE", "", "", 204)],
    ];
    for life in lives {
        let started = send(&server, "POST", "/v2/a/blobs/uploads/", "");
        started.expect_status(202);
        let location = started.header("location").expect("a location").to_owned();
        drop(server);
        server = start(directory.path());
        send(&server, "GET", &location, "").expect_status(204);
        for (method, query, body, status) in life {
            let path = format!("{location}{query}");
            send(&server, method, &path, body).expect_status(status);
        }
        drop(server);
        server = start(directory.path());
        send(&server, "GET", &location, "").expect_status(404);
    }
    let blob = format!("/v2/a/blobs/{}", Digest::sha256(b"content"));
    assert_eq!(get(server.address, &blob).as_deref(), Some(&b"content"[..]));
}

#[test]
fn blobs_without_their_records_are_not_taken_for_garbage() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let server = start(directory.path());
    let content = bytes(200_000);
    let digest = Digest::sha256(&content);
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    assert_eq!(push(server.address, &path, &content), Some(201));
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
        let refused = serve(directory.path())
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
    let server = start(directory.path());
    let got = get(server.address, &format!("/v2/a/blobs/{digest}"));
    assert!(got.as_deref() == Some(&content[..]));
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut acknowledged = Vec::new();
    for round in 0..5_usize {
        let server = start(directory.path());
        let address = server.address;
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
    let server = start(directory.path());
    for (pusher, length, digest) in acknowledged {
        let got = get(server.address, &format!("/v2/p{pusher}/blobs/{digest}"));
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
