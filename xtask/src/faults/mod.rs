//! Faults on purpose: the real registry is killed, starved, lied to and damaged, and must lose nothing that it acknowledged.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;

use crate::report::Report;
use crate::workspace::{Binaries, Profile, Scratch, is_root, run_as_root, which};

mod chunks;
mod client;
mod content;
mod damage;
mod disk;
mod inject;
mod kill;
mod ledger;
mod leftovers;
mod power;
mod server;
mod streams;
pub(crate) mod wire;

/// How much is done.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often the server is killed; other cases repeat themselves as often, up to a bound of their own.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Where the random choices begin; printed, so that a run can be repeated.
    #[arg(long)]
    seed: Option<u64>,
    /// Only cases whose name contains this.
    filter: Option<String>,
    /// Use the programs as users run them; without it, as `cargo test` compiles them.
    #[arg(long)]
    release: bool,
}

impl Options {
    /// How the programs are to be compiled.
    pub(crate) const fn profile(&self) -> Profile {
        if self.release {
            Profile::Release
        } else {
            Profile::Debug
        }
    }
}

/// What every case needs.
struct Faults {
    program: PathBuf,
    scratch: Scratch,
    rounds: usize,
    seed: u64,
}

impl Faults {
    /// A new directory.
    fn directory(&self, name: &str) -> Result<PathBuf> {
        self.scratch.subdir(name)
    }
}

type Case = fn(&Faults) -> Result<()>;

/// Cases that run everywhere.
const CASES: [(&str, Case); 16] = [
    ("kill/parallel-pushes", kill::rounds),
    ("kill/between-chunks", kill::between_chunks),
    ("kill/just-started", kill::just_started),
    ("kill/long-streams", streams::cut),
    ("chunks/torn", chunks::torn),
    ("chunks/reordered", chunks::reordered),
    ("chunks/two-writers", chunks::two_writers),
    ("chunks/same-blob", chunks::same_blob),
    ("damage/with-a-trace", damage::with_a_trace),
    ("damage/while-served", damage::while_served),
    ("damage/without-a-trace", damage::without_a_trace),
    ("damage/in-the-database", damage::in_the_database),
    ("leftovers/single-requests", leftovers::of_single_requests),
    ("leftovers/sessions", leftovers::of_sessions),
    ("leftovers/thousands", leftovers::thousands),
    ("leftovers/vanished-clients", leftovers::vanished),
];

/// Cases that mount a file system.
const DISK_CASES: [(&str, Case); 3] = [
    ("disk/reserve", disk::reserve),
    ("disk/longer-than-the-disk", disk::longer_than_the_disk),
    ("disk/full", disk::full),
];

/// Runs all cases; through sudo, if root must be there and is not.
pub(crate) fn run(options: &Options) -> Result<()> {
    let binaries = Binaries::build(options.profile())?;
    if !is_root() && is_required("root") {
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        return run_as_root(&binaries, &arguments);
    }
    run_cases(&binaries, options)
}

fn run_cases(binaries: &Binaries, options: &Options) -> Result<()> {
    let seed = options.seed.unwrap_or_else(seed_of_now);
    println!("faults: --rounds {} --seed {seed}", options.rounds);
    let faults = Faults {
        program: binaries.registry.clone(),
        scratch: Scratch::new()?,
        rounds: options.rounds,
        seed,
    };
    let mut report = Report::new(options.filter.clone());
    let mut all: Vec<(&str, Case)> = CASES.to_vec();
    if able("root", is_root(), "mounts a small file system") {
        all.extend(DISK_CASES);
        let possible = power::is_possible(&faults.directory("power-probe")?);
        if able("loop", possible, "loses the power of a disk") {
            all.push(("power/lost", power::lost as Case));
        }
    }
    if able(
        "strace",
        which("strace").is_some(),
        "lets system calls fail",
    ) {
        all.push(("inject/every-call", inject::every_call as Case));
    }
    for (name, case) in all {
        report.check(name, || case(&faults));
    }
    report.finish("faults")
}

/// Whether `RBUILD_REQUIRE` names the capability.
fn is_required(capability: &str) -> bool {
    let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
    required.split(',').any(|name| name == capability)
}

/// Whether the machine has a capability; panics if it lacks one that must be there.
fn able(capability: &str, has: bool, what: &str) -> bool {
    assert!(
        has || !is_required(capability),
        "RBUILD_REQUIRE wants `{capability}`, which this machine lacks"
    );
    if !has {
        eprintln!("skipped, for want of `{capability}`: what {what}");
    }
    has
}

fn seed_of_now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |time| time.as_secs())
}
