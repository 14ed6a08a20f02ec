//! Running the commands of a Dockerfile.

mod sandboxed;
mod work;

use std::fmt;
use std::io;

use rbuild_cache::LayerRecord;

pub use crate::graph::{RunSpec, Script};
use crate::sandbox::{CancelToken, Outcome, ResolvedUser, SandboxError, Stream};

pub use sandboxed::{Container, SandboxedExecutor, helper_main};

/// One command and the root file system that it sees.
#[derive(Debug)]
pub struct Command<'a> {
    /// What to run.
    pub spec: &'a RunSpec,
    /// The layers below it, lowest first.
    pub layers: &'a [LayerRecord],
    /// Who runs it.
    pub user: ResolvedUser,
    /// The environment, complete.
    pub env: Vec<(String, String)>,
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// How it ended.
    pub outcome: Outcome,
    /// The layer of its changes, stored; none when it changed nothing or failed.
    pub layer: Option<LayerRecord>,
}

/// Runs commands. A command that exits with 1 is a result; an error means that it could not be run.
pub trait Executor: Send + Sync + fmt::Debug {
    /// Runs one command to its end and stores the layer of its changes.
    fn run(
        &self,
        command: &Command<'_>,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &CancelToken,
    ) -> Result<Executed, ExecError>;
}

/// Why a command could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The sandbox failed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The store failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}
