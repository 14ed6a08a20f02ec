//! Tasks of the checkout: set-up, demonstration, tests against other engines, checks, benchmarks.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "talking to the terminal is what this program is for"
)]

mod archive;
mod base;
mod bench;
mod compare;
mod conformance;
mod demo;
mod engine;
mod faults;
mod golang;
mod ours;
mod peers;
mod process;
mod report;
mod runs;
mod setup;
mod suite;
mod tidy;
mod tree;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use compare::Peer;
use workspace::{Binaries, Profile, is_root, run_as_root};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the rbuild checkout")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check the rules of the house that no compiler checks.
    Tidy,
    /// Install what a task needs: Debian's packages; for `clients`, Go modules.
    Setup {
        /// What the machine is to be made ready for.
        #[arg(long = "for", value_enum, default_value = "test")]
        purpose: setup::Purpose,
    },
    /// Measure rbuild beside BuildKit and buildah; `registry`: the registry beside other servers.
    Bench(bench::Options),
    /// Show the whole way: base images, build, push, pull by digest, run.
    Demo,
    /// Run every test: the workspace's, those against other engines, and the comparison.
    Test,
    /// Let docker, podman, containerd, skopeo, umoci, crane and oras use what rbuild built and the registry.
    Peers(Against),
    /// Run the conformance program of the distribution specification against the registry.
    Conformance(conformance::Options),
    /// Kill, starve and damage the registry on purpose; nothing that it acknowledged may be lost.
    Faults(faults::Options),
    /// Build small cases with rbuild and with another builder and compare the images.
    Compare {
        /// The other builder; without it, all of them one after another.
        #[arg(long, value_enum)]
        peer: Option<Peer>,
        #[command(flatten)]
        against: Against,
    },
}

#[derive(clap::Args)]
struct Against {
    /// Only checks whose name contains this.
    filter: Option<String>,
    /// Use the programs as users run them; without it, as `cargo test` compiles them.
    #[arg(long)]
    release: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Tidy => tidy::run(),
        Task::Setup { purpose } => setup::run(purpose),
        Task::Bench(options) => {
            setup::run(options.purpose())?;
            if !options.needs_root() {
                return bench::run(&Binaries::build(Profile::Release)?, &options);
            }
            let against = Against {
                filter: None,
                release: true,
            };
            as_root(&against, |binaries| bench::run(binaries, &options))
        }
        Task::Demo => demo::run(),
        Task::Test => suite::run(),
        Task::Peers(against) => as_root(&against, |binaries| {
            peers::run(binaries, against.filter.clone())
        }),
        Task::Conformance(options) => conformance::run(&Binaries::build(Profile::Debug)?, &options),
        Task::Faults(options) => faults::run(&options),
        Task::Compare { peer, against } => {
            let peers = peer.map_or_else(|| vec![Peer::Docker, Peer::Buildah], |peer| vec![peer]);
            as_root(&against, |binaries| {
                compare::run(binaries, &peers, against.filter.clone())
            })
        }
    }
}

/// Compiles as the caller, then works as root: the daemons of the peers need it.
fn as_root(against: &Against, work: impl FnOnce(&Binaries) -> Result<()>) -> Result<()> {
    let binaries = Binaries::build(if against.release {
        Profile::Release
    } else {
        Profile::Debug
    })?;
    if is_root() {
        work(&binaries)
    } else {
        run_as_root(&binaries, &std::env::args_os().skip(1).collect::<Vec<_>>())
    }
}
