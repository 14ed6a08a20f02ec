//! The registry beside Debian's docker-registry and nginx, in one run, over loopback.

use std::path::PathBuf;

use anyhow::Result;

use super::{Page, machine, package};
use crate::process::Cmd;
use crate::workspace::{Binaries, Scratch};
use table::{HEAD, Row};

mod collect;
mod content;
mod engine;
mod meter;
mod pushes;
mod reads;
mod server;
mod start;
mod table;
mod wire;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write the table into docs/performance.md.
    #[arg(long)]
    write: bool,
    /// Rounds; the table shows medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Less of everything and one round: shows that the bench works, and no more.
    #[arg(long)]
    quick: bool,
    /// Only these loads: `R1` to `R7`; without any, all.
    loads: Vec<String>,
}

/// What every load needs.
struct Bench {
    registry: PathBuf,
    scratch: Scratch,
    rounds: u32,
    quick: bool,
}

/// What was written before is not to be paid for by what comes next.
fn settle() -> Result<()> {
    Cmd::new("sync").quiet()
}

/// Measures every load and prints the table.
pub(crate) fn run(binaries: &Binaries, options: &Options) -> Result<()> {
    let bench = Bench {
        registry: binaries.registry.clone(),
        scratch: Scratch::new()?,
        rounds: if options.quick { 1 } else { options.rounds },
        quick: options.quick,
    };
    let wanted = |name: &str| {
        let mut loads = options.loads.iter();
        options.loads.is_empty() || loads.any(|load| load.eq_ignore_ascii_case(name))
    };
    let mut rows = Vec::new();
    if ["R1", "R2", "R5"].into_iter().any(wanted) {
        let readable = reads::Readable::new(&bench)?;
        for (name, load) in [
            ("R1", reads::Readable::manifests as fn(&_, &_) -> _),
            ("R2", reads::Readable::blobs),
            ("R5", reads::Readable::pulls),
        ] {
            if wanted(name) {
                show(&mut rows, load(&readable, &bench)?);
            }
        }
    }
    for (name, load) in [
        ("R3", pushes::large as fn(&Bench) -> Result<Vec<Row>>),
        ("R4", pushes::small),
        ("R6", start::start),
        ("R7", collect::collect),
    ] {
        if wanted(name) {
            show(&mut rows, load(&bench)?);
        }
    }
    rows.sort_by(|one, other| one.load[..2].cmp(&other.load[..2]));
    let missed: usize = rows.iter().map(Row::missed).sum();
    let table: String = rows.iter().map(Row::show).collect();
    let report = format!(
        "{}Medians of {} rounds, the servers taking turns; ratios are medians of the rounds' ratios.\n\
         Peers: docker-registry {}, nginx {}.\n\n{HEAD}{table}",
        machine(&bench.scratch)?,
        bench.rounds,
        package("docker-registry")?,
        package("nginx")?
    );
    println!("\n{report}\n{missed} goals missed");
    if options.write {
        Page::REGISTRY.write(&report)
    } else {
        Ok(())
    }
}

/// Prints the lines as soon as they are known.
fn show(all: &mut Vec<Row>, rows: Vec<Row>) {
    for row in &rows {
        print!("{}", row.show());
    }
    all.extend(rows);
}
