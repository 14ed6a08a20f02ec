//! The program as a process among others.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Who started the server may be gone, and with it the other ends of its pipes.
#[test]
fn a_server_whose_log_nobody_reads_stops_as_it_should() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut child = Command::new(env!("CARGO_BIN_EXE_rbuild-registry"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(directory.path())
        .env("RBUILD_REGISTRY_LOG", "debug")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("standard output");
    BufReader::new(stdout)
        .read_line(&mut line)
        .expect("the address");
    assert!(line.starts_with("listening on "), "{line}");
    drop(child.stderr.take());
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).expect("it can be told to stop");
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{status}");
}
