//! The way to run commands: the helper process, and who it runs as.

use std::process::ExitCode;
use std::sync::Arc;

use rbuild_builder::exec::Executor;
pub(crate) use rbuild_builder::sandbox::HELPER_VERB;
use rbuild_store::local::LocalStore;

use crate::exit::{Failure, Outcome};

/// The whole life of a helper process.
pub(crate) fn helper() -> ExitCode {
    ExitCode::FAILURE
}

/// What runs the commands of a build.
pub(crate) fn executor(_store: &LocalStore) -> Outcome<Arc<dyn Executor>> {
    Err(Failure::unable("no executor"))
}
