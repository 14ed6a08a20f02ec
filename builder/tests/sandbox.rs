//! Runs real commands in real sandboxes.
//!
//! The program is its own helper: started with the sandbox's verb it becomes one, so it needs a
//! `main` of its own instead of the standard harness. As root it runs every test as root and then
//! again as an ordinary user, [`USER`], if the machine has it.

#![expect(
    clippy::panic,
    reason = "a test without the standard harness is no test to clippy"
)]

mod sandbox_support;

use std::process::ExitCode;

use rbuild_builder::sandbox::{HELPER_VERB, helper_main};

use sandbox_support::handler::TestHandler;
use sandbox_support::{cases, harness, parent, probe};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(HELPER_VERB) => helper_main(&TestHandler),
        Some(parent::VERB) => parent::main(&arguments.next().unwrap_or_default()),
        Some(probe::VERB) => probe::main(arguments),
        _ => harness::run(&cases::all()),
    }
}
