//! Running other programs: one command line at a time, or a daemon that ends with its guard.
//!
//! Everything xtask starts is ended by its own pid, also when a check fails half-way.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long a daemon may take to start or to stop.
const DAEMON_LIMIT: Duration = Duration::from_secs(30);

/// A command line that remembers how a reader would type it.
pub(crate) struct Cmd {
    command: Command,
    shown: String,
}

impl Cmd {
    /// A command named `program`, found on `PATH` unless it holds a slash.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        Self {
            command: Command::new(program),
            shown: quote(&program.to_string_lossy()),
        }
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        let argument = argument.as_ref();
        self.shown.push(' ');
        self.shown.push_str(&quote(&argument.to_string_lossy()));
        self.command.arg(argument);
        self
    }

    /// Adds several arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable of the environment; it is not part of what is shown.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs the command in `directory`.
    pub(crate) fn dir(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// A command that runs this one as its last arguments, in the same environment and directory.
    pub(crate) fn wrapped_in(&self, words: &[&str]) -> Self {
        let mut line = words
            .iter()
            .map(OsStr::new)
            .chain([self.command.get_program()])
            .chain(self.command.get_args());
        let program = line.next().unwrap_or_default();
        let mut wrapped = line.fold(Self::new(program), Self::arg);
        for (variable, value) in self.command.get_envs() {
            if let Some(value) = value {
                wrapped.command.env(variable, value);
            }
        }
        if let Some(directory) = self.command.get_current_dir() {
            wrapped.command.current_dir(directory);
        }
        wrapped
    }

    /// The command line, quoted for a shell.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Runs with the terminal of the caller; any exit status but 0 is an error.
    pub(crate) fn run(mut self) -> Result<()> {
        let status = self
            .command
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("cannot run `{}`", self.shown))?;
        if !status.success() {
            bail!("`{}` ended with {status}", self.shown);
        }
        Ok(())
    }

    /// Prints the command line, then runs it.
    pub(crate) fn show_and_run(self) -> Result<()> {
        println!("$ {}", self.shown);
        self.run()
    }

    /// Prints the command line, runs it, prints standard output and returns it.
    pub(crate) fn show_and_capture(self) -> Result<String> {
        println!("$ {}", self.shown);
        let text = self.text()?;
        print!("{text}");
        Ok(text)
    }

    /// Runs and collects both outputs; the exit status is the caller's to judge.
    pub(crate) fn output(mut self) -> Result<Output> {
        self.command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run `{}`", self.shown))
    }

    /// Runs and returns standard output; any exit status but 0 is an error that carries standard error.
    pub(crate) fn text(self) -> Result<String> {
        let shown = self.shown.clone();
        let output = self.output()?;
        if !output.status.success() {
            bail!(
                "`{shown}` ended with {}:\n{}",
                output.status,
                tail(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs with output collected and thrown away unless it fails.
    pub(crate) fn quiet(self) -> Result<()> {
        self.text().map(drop)
    }

    /// Starts the command as a daemon that gets SIGTERM when xtask dies; its output goes to `log`.
    pub(crate) fn daemon(self, name: &'static str, log: &Path) -> Result<Daemon> {
        self.spawn_daemon(name, log, false)
            .map(|(daemon, _)| daemon)
    }

    /// Like [`Self::daemon`], but hands out standard output.
    pub(crate) fn daemon_with_stdout(
        self,
        name: &'static str,
        log: &Path,
    ) -> Result<(Daemon, std::process::ChildStdout)> {
        let (daemon, stdout) = self.spawn_daemon(name, log, true)?;
        Ok((daemon, stdout.context("the daemon has no standard output")?))
    }

    fn spawn_daemon(
        self,
        name: &'static str,
        log: &Path,
        piped: bool,
    ) -> Result<(Daemon, Option<std::process::ChildStdout>)> {
        let file =
            File::create(log).with_context(|| format!("cannot create `{}`", log.display()))?;
        let mut command = self
            .wrapped_in(&["setpriv", "--pdeathsig", "TERM", "--"])
            .command;
        command.stdin(Stdio::null()).stderr(file.try_clone()?);
        command.stdout(if piped {
            Stdio::piped()
        } else {
            Stdio::from(file)
        });
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.shown))?;
        let stdout = child.stdout.take();
        Ok((
            Daemon {
                name,
                child,
                log: log.to_owned(),
            },
            stdout,
        ))
    }
}

/// A running daemon; dropping it ends it.
pub(crate) struct Daemon {
    name: &'static str,
    child: Child,
    log: std::path::PathBuf,
}

impl Daemon {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks `ready` until it says yes; fails when the daemon ends or takes too long.
    pub(crate) fn wait_until(&mut self, mut ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + DAEMON_LIMIT;
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended with {status} while starting:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "{} was not ready after {} s:\n{}",
                    self.name,
                    DAEMON_LIMIT.as_secs(),
                    self.log_tail()
                );
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        Ok(())
    }

    /// The last lines the daemon wrote.
    pub(crate) fn log_tail(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| tail(&bytes))
            .unwrap_or_default()
    }

    fn stop(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        // The shell's own `kill`: a bare machine need not have the program.
        Command::new("sh")
            .args(["-c", "kill -TERM \"$0\"", &self.child.id().to_string()])
            .status()?;
        let deadline = Instant::now() + DAEMON_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!(
                "cannot stop {} (pid {}): {error}",
                self.name,
                self.child.id()
            );
        }
    }
}

/// The last 30 lines of some output.
pub(crate) fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Quotes a word for a shell when it needs it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("'");
    for c in word.chars() {
        if c == '\'' {
            quoted.push_str("'\\''");
        } else {
            // Writing to a String cannot fail.
            let _ = quoted.write_char(c);
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::{Cmd, quote};

    #[test]
    fn words_are_quoted_only_when_a_shell_would_read_them_differently() {
        for (word, shown) in [
            ("a-b/c:1", "a-b/c:1"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(quote(word), shown);
        }
    }

    #[test]
    fn a_failing_command_reports_its_line_and_its_last_words() {
        let error = Cmd::new("sh")
            .args(["-c", "echo no space >&2; exit 3"])
            .text()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("sh -c 'echo no space >&2; exit 3'"),
            "{error}"
        );
        assert!(
            error.contains("no space\n") || error.ends_with("no space"),
            "{error}"
        );
    }
}
