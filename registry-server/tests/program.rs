//! The program as a process among others.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rbuild_image::Digest;
use support::program::{PROGRAM, Program, SERVE, serve};

/// Who started the server may be gone, and with it the other ends of its pipes.
#[test]
fn a_server_whose_log_nobody_reads_stops_as_it_should() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut command = serve(directory.path());
    command.env("RBUILD_REGISTRY_LOG", "debug");
    let mut server = Program::start(command.stderr(Stdio::piped()));
    drop(server.log());
    let status = server.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn idle_connections_leave_files_for_the_requests_of_others() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\"", PROGRAM])
        .args(SERVE)
        .arg(directory.path());
    let server = Program::start(command.stderr(Stdio::null()));
    let address = server.address;
    let mut connections = (0..100).map(|_| TcpStream::connect(address).expect("a connection"));
    let (mut first, mut second) = (connections.next(), connections.next());
    // They say nothing.
    let _others: Vec<_> = connections.collect();
    let ask = |stream: &mut Option<TcpStream>, head: String, body: &[u8]| {
        let mut stream = stream.take().expect("used once");
        let end = format!(
            "Host: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all((head + &end).as_bytes())
            .expect("the head");
        stream.write_all(body).expect("the body");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        answer
    };
    let content = vec![7; 200_000];
    let digest = Digest::sha256(&content);
    let path = format!("POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\n");
    let pushed = ask(&mut first, path, &content);
    assert!(pushed.starts_with(b"HTTP/1.1 201 "));
    let path = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\n");
    let pulled = ask(&mut second, path, b"");
    assert!(pulled.starts_with(b"HTTP/1.1 200 ") && pulled.ends_with(&content));
    let status = server.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn nobody_is_told_that_nobody_reads() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let run = |command: &mut Command| {
        let (reader, writer) = UnixStream::pair().expect("a pair");
        // Not only dropped: a process that another test is starting may have a copy for a moment.
        reader.shutdown(Shutdown::Both).expect("shut");
        let output = command.stdout(OwnedFd::from(writer)).output();
        let output = output.expect("the program runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (status, said) = run(Command::new(PROGRAM).args(["config", "check"]));
    assert_eq!((status, &*said), (Some(2), ""));
    // A server that nobody could find is another matter.
    let (status, said) = run(&mut serve(directory.path()));
    assert_eq!(status, Some(2));
    assert!(said.contains("could not tell where it listens"), "{said}");
}
