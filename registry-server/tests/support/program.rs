//! The program itself, as a process among others.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Its file.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_rbuild-registry");

/// The command that serves a directory on a free port of loopback.
pub(crate) fn serve(data: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(SERVE).arg(data);
    command
}

/// The arguments of [`serve`], before the directory.
pub(crate) const SERVE: [&str; 4] = ["serve", "--listen", "127.0.0.1:0", "--data"];

/// Tells a process of ours to end.
pub(crate) fn terminate(child: &Child) {
    kill_process(Pid::from_child(child), Signal::TERM).expect("it can be told to stop");
}

/// A registry that serves; killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Starts a command that serves, and waits until it tells where.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
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
        Self { child, address }
    }

    /// What it writes to standard error, if that was piped; once.
    pub(crate) fn log(&mut self) -> ChildStderr {
        self.child.stderr.take().expect("a pipe")
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) fn stop(mut self) -> ExitStatus {
        terminate(&self.child);
        self.child.wait().expect("it ends")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
