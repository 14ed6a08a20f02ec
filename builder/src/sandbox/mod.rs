//! Runs commands in a root of their own, with Docker's defaults.
//!
//! Each step runs in a short-lived process of the program itself, started with
//! [`HELPER_VERB`] as its first argument; the program hands control to [`helper_main`].
//! All `unsafe` of the workspace's build side lives here. What is isolated and what is not is
//! described in `docs/sandbox.md`.

mod cancel;
mod command;
mod error;
mod handler;
mod helper;
mod identity;
mod init;
mod mounts;
mod overlay;
mod root;
mod seccomp;
mod session;
mod spec;
mod sys;
mod target;
mod wire;

pub use cancel::CancelToken;
pub use error::SandboxError;
pub use handler::{Context, Handler, HandlerError};
pub use helper::helper_main;
pub use identity::{Identity, IdentityKind, UserNamespace, detect};
pub use session::{HELPER_VERB, Sandbox, SandboxConfig, StepIo, Stream};
pub use spec::{
    Access, BindMount, DEFAULT_SHM_SIZE, Network, Outcome, OverlayMode, Report, Request,
    ResolvedUser, ResourceLimit, SandboxMount, Stdio, StepSpec,
};
