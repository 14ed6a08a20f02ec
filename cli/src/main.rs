//! The `rbuild` program: arguments in, verbs run, exit status out.
//!
//! This is the only crate that prints. Standard output carries what a script wants, everything else goes to standard error.

mod archive;
mod args;
mod command;
mod dockerfile;
mod exit;
mod human;
mod interrupt;
mod printer;
mod progress;
mod registry;
mod sandbox;
mod send;
mod session;
mod size;

use std::ffi::OsString;
use std::process::ExitCode;

use args::Cli;
use exit::{Exit, Failure, Outcome};
use interrupt::Interrupt;
use printer::Printer;
use session::Session;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // A helper process of a step: nothing else of this program may run before it, and no thread.
    if arguments
        .get(1)
        .is_some_and(|verb| verb == sandbox::HELPER_VERB)
    {
        return sandbox::helper();
    }
    log();
    let printer = Printer::new();
    let cli = match Cli::read(arguments.clone()) {
        Ok(cli) => cli,
        Err(error) => return usage(printer, &error, &arguments).into(),
    };
    match run(cli, printer) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            printer.failure(&failure);
            failure.exit.into()
        }
    }
}

fn run(cli: Cli, printer: Printer) -> Outcome {
    let interrupt =
        Interrupt::listen().map_err(|error| Failure::io("cannot listen for signals", &error))?;
    let session = Session::new(printer, interrupt, cli.global);
    command::run(cli.command, &session)
}

/// Writes the log to standard error where `RBUILD_LOG` asks for it (`debug`, `rbuild_registry_client=trace`, …).
fn log() {
    if let Ok(filter) = std::env::var("RBUILD_LOG")
        && !filter.is_empty()
    {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .init();
    }
}

/// Shows what clap has to say: help on standard output, errors on standard error.
fn usage(printer: Printer, error: &clap::Error, arguments: &[OsString]) -> Exit {
    if let Some(failure) = args::explain(error, arguments) {
        printer.failure(&failure);
        return failure.exit;
    }
    // A closed pipe is no reason to say more.
    let _ = error.print();
    match error.exit_code() {
        0 => Exit::Done,
        _ => Exit::Unable,
    }
}
