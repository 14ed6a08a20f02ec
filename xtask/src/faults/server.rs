//! The real program, started on a directory, and ended in the way a case wants.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process::tail;

/// How a server is started.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    program: PathBuf,
    data: PathBuf,
    settings: Vec<(String, String)>,
    wrapper: Vec<String>,
}

impl Setup {
    /// On this directory, with no reserve of disk space and no background reader.
    pub(super) fn new(program: &Path, data: &Path) -> Self {
        let setup = Self {
            program: program.to_owned(),
            data: data.to_owned(),
            settings: Vec::new(),
            wrapper: Vec::new(),
        };
        setup
            .set("LIMITS_RESERVE_BYTES", "0")
            .set("VERIFY_BYTES", "0")
            .set("ACCESS_LOG", "false")
    }

    /// With a setting, by the name of its variable behind the prefix.
    pub(super) fn set(mut self, name: &str, value: &str) -> Self {
        let name = format!("RBUILD_REGISTRY_{name}");
        self.settings.retain(|(own, _)| *own != name);
        self.settings.push((name, value.to_owned()));
        self
    }

    /// Run by another program that stays out of the way of signals: the child is still the server.
    pub(super) fn under(mut self, wrapper: Vec<String>) -> Self {
        self.wrapper = wrapper;
        self
    }

    /// Its directory.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Starts it; returns when it listens. An error carries what it said.
    pub(super) fn start(&self) -> Result<Server> {
        let log = self.data.with_extension("log");
        let mut command = self.command();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
        command
            .arg(&self.data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?);
        let mut child = command.spawn().context("the registry cannot be started")?;
        let stdout = child.stdout.take().context("no pipe")?;
        let mut server = Server {
            child,
            address: String::new(),
            log,
            stdout: BufReader::new(stdout),
        };
        let mut line = String::new();
        server.stdout.read_line(&mut line)?;
        match line.trim().strip_prefix("listening on http://") {
            Some(address) => address.clone_into(&mut server.address),
            None => bail!("the registry does not start:\n{}", server.said()),
        }
        Ok(server)
    }

    /// Runs `rbuild-registry verify` on the directory; an error if anything is damaged.
    pub(super) fn verify(&self) -> Result<()> {
        let mut command = self.command();
        let output = command
            .args(["verify", "--data"])
            .arg(&self.data)
            .output()?;
        if !output.status.success() {
            bail!(
                "`verify` ended with {}:\n{}\n{}",
                output.status,
                tail(&output.stdout),
                tail(&output.stderr)
            );
        }
        Ok(())
    }

    /// Names of the files of unfinished uploads.
    pub(super) fn ingests(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(self.data.join("ingest"))? {
            files.push(entry?.path());
        }
        Ok(files)
    }

    /// The file of a blob.
    pub(super) fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let directory = self.data.join("blobs/sha256");
        directory.join(hex.get(..2).unwrap_or(hex)).join(hex)
    }

    fn command(&self) -> Command {
        let mut words = self.wrapper.iter().map(PathBuf::from).collect::<Vec<_>>();
        words.push(self.program.clone());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        for (name, value) in &self.settings {
            command.env(name, value);
        }
        command
    }
}

/// A server that runs; killed when dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    address: String,
    log: PathBuf,
    // Kept open, so that the server never writes to a closed pipe.
    stdout: BufReader<ChildStdout>,
}

impl Server {
    /// `127.0.0.1:PORT`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Whether it has not ended.
    pub(super) fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Kills it, as `kill -9` does, and waits until it is gone.
    pub(super) fn kill(mut self) -> Result<()> {
        self.end()
    }

    /// Asks it to stop, and waits until it has finished what is under way.
    pub(super) fn stop(mut self) -> Result<()> {
        self.signal("TERM")?;
        eventually("the registry stops", || {
            Ok(self.child.try_wait()?.is_some())
        })
    }

    /// Halts it: it does nothing any more, and what the system does for it is over when this returns.
    pub(super) fn freeze(&self) -> Result<()> {
        self.signal("STOP")?;
        let tasks = format!("/proc/{}/task", self.child.id());
        eventually("every thread of the registry stands still", || {
            for task in std::fs::read_dir(&tasks)? {
                let state = std::fs::read_to_string(task?.path().join("stat"))?;
                // Behind the name, which is in parentheses and may have any character in it.
                let state = state.rsplit(") ").next().unwrap_or_default();
                if !state.starts_with('T') {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    fn signal(&self, name: &str) -> Result<()> {
        // The shell's own `kill`: a bare machine need not have the program.
        let (signal, pid) = (format!("-{name}"), self.child.id().to_string());
        let mut kill = Command::new("sh");
        let status = kill
            .args(["-c", "kill \"$0\" \"$1\"", &signal, &pid])
            .status()?;
        if !status.success() {
            bail!("the registry cannot be sent {name}");
        }
        Ok(())
    }

    /// Files and connections that it has open.
    pub(super) fn open_files(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// The last lines of its log.
    pub(super) fn said(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| tail(&bytes))
            .unwrap_or_default()
    }

    fn end(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.end();
    }
}

/// Asks again and again until the answer is yes; an error names what did not happen.
pub(super) fn eventually(what: &str, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !ask()? {
        if Instant::now() > deadline {
            bail!("not within 30 s: {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
