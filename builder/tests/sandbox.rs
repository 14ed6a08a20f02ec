//! Runs real commands in real sandboxes.
//!
//! The program is its own helper: started with the sandbox's verb it becomes one, so it needs a
//! `main` of its own instead of the standard harness. As root it runs every test as root and then
//! again as an ordinary user, [`USER`], if the machine has it.

mod sandbox_support;

use std::process::ExitCode;

use rbuild_builder::sandbox::{HELPER_VERB, helper_main};

use sandbox_support::handler::TestHandler;
use sandbox_support::{cases, harness};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(HELPER_VERB) {
        return helper_main(&TestHandler);
    }
    harness::run(cases::ALL)
}
