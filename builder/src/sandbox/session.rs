//! The caller's side: starts a helper process and talks to it.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::cancel::CancelToken;
use super::error::SandboxError;
use super::handler::Handler;
use super::identity::Identity;
use super::spec::{Report, Request};

/// First argument of a helper process; the program must call [`helper_main`] when it sees it,
/// before it starts any thread.
pub const HELPER_VERB: &str = "__sandbox";

/// How helper processes are started.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// The program that calls [`helper_main`]; normally `/proc/self/exe`.
    pub helper: PathBuf,
    /// The ids of the steps, from [`detect`](super::detect).
    pub identity: Identity,
}

/// Runs requests, each in a process of its own. Can be shared by threads.
#[derive(Debug)]
pub struct Sandbox {
    config: SandboxConfig,
}

/// The two output streams of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Receives what a step says while it runs.
pub trait StepIo {
    /// A piece of output, as it was read; it may end inside a line or a character.
    fn on_output(&mut self, stream: Stream, bytes: &[u8]);

    /// An event that the handler emitted.
    fn on_event(&mut self, event: Value) {
        drop(event);
    }
}

impl Sandbox {
    /// A sandbox; starts nothing yet.
    pub fn new(config: SandboxConfig) -> Self {
        Self { config }
    }

    /// The identity of all steps.
    pub fn identity(&self) -> &Identity {
        &self.config.identity
    }

    /// Runs a request to its end: on return no process of it is left, whatever happened.
    ///
    /// Blocks the calling thread, which must live until then: the helper dies with it.
    pub fn run(
        &self,
        request: &Request,
        io: &mut dyn StepIo,
        cancel: &CancelToken,
    ) -> Result<Report, SandboxError> {
        let _ = (request, io, cancel);
        Err(SandboxError::Cancelled)
    }
}

/// The whole life of a helper process.
pub fn helper_main(handler: &dyn Handler) -> ExitCode {
    let _ = handler;
    ExitCode::FAILURE
}
