//! How a command ends: exit codes, and failures as they are shown.

use std::error::Error;
use std::io;
use std::process::ExitCode;

/// The exit status of `rbuild`; documented in docs/cli.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done.
    Done,
    /// 1: what was given is wrong: the Dockerfile, a step's command, an image that is not there, content with a wrong digest.
    Failed,
    /// 2: the command line is wrong, or the surroundings failed: disk, network, registry, kernel.
    Unable,
    /// 125: `rbuild run` could not start the container (docker's code, so that scripts can tell it from the command's own).
    NotStarted,
    /// 130: the user interrupted it.
    Interrupted,
    /// The exit status of the command that `rbuild run` ran; 128 and the number of the signal that ended it.
    Command(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Unable => 2,
            Exit::NotStarted => 125,
            Exit::Interrupted => 130,
            Exit::Command(code) => code,
        })
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How to exit.
    pub(crate) exit: Exit,
    /// What failed; empty when everything was said.
    pub(crate) message: String,
    /// Why, the nearest cause first.
    pub(crate) causes: Vec<String>,
    /// What the user can do.
    pub(crate) hint: Option<String>,
}

/// The result of a command.
pub(crate) type Outcome<T = Exit> = Result<T, Failure>;

impl Failure {
    /// What was given is wrong.
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The command line is wrong, or the surroundings failed.
    pub(crate) fn unable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unable, message)
    }

    /// Everything was said already.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
        }
    }

    /// The same with a hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a hint, if there is one.
    pub(crate) fn hint_if(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into).or(self.hint);
        self
    }

    /// The same with another exit status.
    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// The same with an error and its sources as causes.
    pub(crate) fn caused_by(mut self, error: &dyn Error) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            let text = cause.to_string();
            // Some errors repeat their source in their own text.
            if !self.causes.last().is_some_and(|last| last.ends_with(&text)) {
                self.causes.push(text);
            }
            next = cause.source();
        }
        self
    }

    /// The same with an error and the root of its causes; what lies between is for logs.
    pub(crate) fn rooted_in(mut self, error: &dyn Error) -> Self {
        let mut root = error;
        while let Some(source) = root.source() {
            root = source;
        }
        let (nearest, root) = (error.to_string(), root.to_string());
        if nearest.contains(&root) {
            self.causes.push(nearest);
        } else {
            self.causes.extend([nearest, root]);
        }
        self
    }

    /// An I/O error, with what was being done.
    pub(crate) fn io(message: impl Into<String>, error: &io::Error) -> Self {
        let failure = Self::unable(message).caused_by(error);
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => failure.hint(
                "free some space (`rbuild prune` removes what no image needs), then try again",
            ),
            io::ErrorKind::ReadOnlyFilesystem => {
                failure.hint("choose another directory with `--root DIR`")
            }
            _ => failure,
        }
    }
}

/// Says what was being done when an I/O error came.
pub(crate) trait Doing<T> {
    /// Turns the error into a failure.
    fn doing<M: Into<String>>(self, message: impl FnOnce() -> M) -> Outcome<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing<M: Into<String>>(self, message: impl FnOnce() -> M) -> Outcome<T> {
        self.map_err(|error| Failure::io(message(), &error))
    }
}
