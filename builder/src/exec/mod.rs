//! Running the commands of a Dockerfile.

mod mount;
mod sandboxed;
mod work;

use std::fmt;
use std::io;

use rbuild_cache::LayerRecord;
use serde::{Deserialize, Serialize};

pub use crate::graph::{MountSpec, RunSpec, Script, StepId};
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
    /// What it sees besides its root file system.
    pub mounts: Vec<CommandMount>,
}

/// A mount of a command, with nothing left to look up. Targets are absolute.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum CommandMount {
    /// Files of another root file system.
    Layers {
        /// Its layers, lowest first.
        layers: Vec<LayerRecord>,
        /// Path in it.
        source: String,
        /// Where it appears.
        target: String,
        /// Whether writing fails; otherwise what is written is thrown away.
        read_only: bool,
    },
    /// A directory that is kept from one build to the next.
    Cache {
        /// Its name: hexadecimal digits.
        name: String,
        /// Where it appears.
        target: String,
        /// Who may use it at a time.
        sharing: CacheSharing,
        /// Whether writing fails.
        read_only: bool,
        /// Mode of a directory made anew.
        mode: u32,
        /// Owner of a directory made anew.
        uid: u32,
        /// Group of a directory made anew.
        gid: u32,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Where it appears.
        target: String,
        /// Upper bound in bytes.
        size: Option<u64>,
    },
    /// A file in memory.
    File {
        /// Where it appears.
        target: String,
        /// Its bytes.
        content: Vec<u8>,
        /// Its mode.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// Who may use a cache mount at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheSharing {
    /// Any number of commands.
    Shared,
    /// A directory of its own for each command that runs at the same time.
    Private,
    /// One command.
    Locked,
}

impl From<rbuild_parser::Sharing> for CacheSharing {
    fn from(sharing: rbuild_parser::Sharing) -> Self {
        match sharing {
            rbuild_parser::Sharing::Shared => Self::Shared,
            rbuild_parser::Sharing::Private => Self::Private,
            rbuild_parser::Sharing::Locked => Self::Locked,
        }
    }
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
