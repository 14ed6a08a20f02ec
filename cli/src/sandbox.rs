//! The way to run commands: the helper process, and who it runs as.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use rbuild_builder::exec::{Executor, SandboxedExecutor};
pub(crate) use rbuild_builder::sandbox::HELPER_VERB;
use rbuild_store::local::LocalStore;

use crate::exit::Outcome;

/// The whole life of a helper process.
pub(crate) fn helper() -> ExitCode {
    rbuild_builder::exec::helper_main()
}

/// What runs commands: it starts this program anew for each.
pub(crate) fn sandbox(store: &LocalStore) -> SandboxedExecutor {
    SandboxedExecutor::new(store.clone(), PathBuf::from("/proc/self/exe"))
}

/// What runs the commands of a build.
pub(crate) fn executor(store: &LocalStore) -> Outcome<Arc<dyn Executor>> {
    Ok(Arc::new(sandbox(store)))
}
