//! The way to run commands: the helper process is this program itself.

use std::path::PathBuf;
use std::process::ExitCode;

use rbuild_builder::exec::{SandboxedExecutor, helper_main};
pub(crate) use rbuild_builder::sandbox::HELPER_VERB;
use rbuild_store::local::LocalStore;

/// The whole life of a helper process.
pub(crate) fn helper() -> ExitCode {
    helper_main()
}

/// What runs commands; it starts nothing yet.
pub(crate) fn executor(store: &LocalStore) -> SandboxedExecutor {
    // A link to the program as it is running, even if its file was replaced meanwhile.
    SandboxedExecutor::new(store.clone(), PathBuf::from("/proc/self/exe"))
}
