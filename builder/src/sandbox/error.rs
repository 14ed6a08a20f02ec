//! Errors of the sandbox.

use std::io;
use std::path::PathBuf;

/// Why a step could not be run. A command that fails is not an error but an `Outcome`.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Nothing this process may do gives it a root of its own.
    #[error("no sandbox is possible here: {}", reasons.join("; "))]
    Unavailable {
        /// What was tried and why it failed, in order.
        reasons: Vec<String>,
        /// What the user can do.
        hint: String,
    },
    /// The helper process could not be started.
    #[error("cannot start the sandbox process `{}`", helper.display())]
    Spawn {
        /// The program that was started.
        helper: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The identity map of the user namespace could not be written.
    #[error("cannot map user and group ids: {reason}")]
    IdMap {
        /// What failed.
        reason: String,
        /// What the user can do.
        hint: String,
    },
    /// The root of the step could not be set up.
    #[error("cannot set up the sandbox: {action}: {reason}")]
    Setup {
        /// What was being done.
        action: String,
        /// What the kernel said.
        reason: String,
    },
    /// The request asks for something that has no meaning.
    #[error("invalid sandbox request: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// The handler's part (making layers, reading changes) failed.
    #[error("{message}")]
    Handler {
        /// The error with its causes.
        message: String,
    },
    /// Talking to the helper process failed.
    #[error("lost the sandbox process: {reason}")]
    Lost {
        /// What happened to it.
        reason: String,
    },
    /// The caller cancelled the step.
    #[error("cancelled")]
    Cancelled,
}

impl SandboxError {
    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Unavailable { hint, .. } | Self::IdMap { hint, .. } => Some(hint),
            _ => None,
        }
    }
}
