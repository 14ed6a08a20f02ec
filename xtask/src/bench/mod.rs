//! rbuild beside BuildKit and buildah, in one run, on inputs made from a seed.

mod inputs;
mod meter;
mod registry;
mod tools;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

pub(crate) use meter::Group;
use meter::Measurement;
use tools::Tool;

use crate::base;
use crate::process::Cmd;
use crate::setup::Purpose;
use crate::workspace::{Binaries, Scratch, root, target};

/// The page that keeps the last figures.
const PAGE: &str = "docs/performance.md";

/// What to measure.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
    /// Write the table into docs/performance.md.
    #[arg(long)]
    write: bool,
    /// Rounds; the table shows medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only cases whose name contains this.
    filter: Option<String>,
}

/// What else than building.
#[derive(clap::Subcommand)]
enum What {
    /// Measure the registry beside docker-registry and nginx: loads R1 to R7.
    Registry(registry::Options),
}

impl Options {
    /// What the machine must be made ready for.
    pub(crate) const fn purpose(&self) -> Purpose {
        match self.what {
            None => Purpose::Bench,
            Some(What::Registry(_)) => Purpose::BenchRegistry,
        }
    }

    /// Whether other engines take part, whose daemons need root.
    pub(crate) const fn needs_root(&self) -> bool {
        self.what.is_none()
    }
}

/// One line of the table for each tool.
struct Case<'a> {
    name: &'static str,
    directory: &'a Path,
    /// Whether every run starts with nothing but the base image.
    cold: bool,
}

/// Measures every case and prints the table.
pub(crate) fn run(binaries: &Binaries, options: &Options) -> Result<()> {
    match &options.what {
        None => builders(binaries, options),
        Some(What::Registry(options)) => registry::run(binaries, options),
    }
}

fn builders(binaries: &Binaries, options: &Options) -> Result<()> {
    let home = target().join("bench");
    fs::create_dir_all(&home)?;
    let inputs = inputs::make(&home)?;
    let scratch = Scratch::new()?;
    let base = base::busybox(scratch.path())?;
    let tools = [
        Tool::rbuild(binaries, &scratch, &base)?,
        Tool::docker(&scratch, &base)?,
        Tool::buildah(&scratch, &base)?,
    ];
    let cases = [
        Case {
            name: "cached rebuild of 12 instructions",
            directory: &inputs.cached,
            cold: false,
        },
        Case {
            name: "cold COPY of 20,000 files, 180 MB",
            directory: &inputs.copy,
            cold: true,
        },
        Case {
            name: "20 x RUN true, cold",
            directory: &inputs.run,
            cold: true,
        },
    ];

    let mut table = String::from(
        "| case | builder | wall, s | CPU, s | peak memory, MB |\n| --- | --- | ---: | ---: | ---: |\n",
    );
    let wanted = |case: &&Case| {
        options
            .filter
            .as_ref()
            .is_none_or(|filter| case.name.contains(filter.as_str()))
    };
    for case in cases.iter().filter(wanted) {
        for (tool, measurements) in tools.iter().zip(measure(case, &tools, options.rounds)?) {
            let line = line(case.name, tool.name, &measurements);
            println!("{}", line.trim_end());
            table.push_str(&line);
        }
    }
    let report = format!(
        "{}{}\n{table}",
        machine(&scratch)?,
        remarks(options.rounds)?
    );
    println!("\n{report}");
    if options.write {
        Page::BUILDERS.write(&report)
    } else {
        Ok(())
    }
}

/// All measurements of a case, by tool; the tools take turns, so that a slow minute hits all of them.
fn measure(case: &Case, tools: &[Tool], rounds: u32) -> Result<Vec<Vec<Measurement>>> {
    let mut measurements: Vec<Vec<Measurement>> = tools.iter().map(|_| Vec::new()).collect();
    if !case.cold {
        for tool in tools {
            tool.forget()?;
            tool.build(case.directory)?;
        }
    }
    for round in 1..=rounds {
        for (tool, measurements) in tools.iter().zip(&mut measurements) {
            if case.cold {
                tool.forget()?;
            }
            // What was written before is not to be paid for now.
            Cmd::new("sync").quiet()?;
            let measurement = tool.build(case.directory)?;
            println!(
                "  {}, {}, round {round}: {:.3} s",
                case.name,
                tool.name,
                measurement.wall.as_secs_f64()
            );
            measurements.push(measurement);
        }
    }
    Ok(measurements)
}

fn line(case: &str, tool: &str, measurements: &[Measurement]) -> String {
    let walls = sorted(measurements.iter().map(|measurement| measurement.wall));
    let range = match (walls.first(), walls.last()) {
        (Some(least), Some(most)) => {
            format!(" ({:.3} to {:.3})", least.as_secs_f64(), most.as_secs_f64())
        }
        _ => String::new(),
    };
    let wall = median(&walls).as_secs_f64();
    let cpu = median(&sorted(
        measurements.iter().map(|measurement| measurement.cpu),
    ))
    .as_secs_f64();
    let memory = measurements
        .iter()
        .map(|measurement| measurement.memory)
        .max()
        .unwrap_or(0)
        .div_ceil(1_000_000);
    format!("| {case} | {tool} | **{wall:.3}**{range} | {cpu:.3} | {memory} |\n")
}

fn sorted(values: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut values: Vec<Duration> = values.collect();
    values.sort_unstable();
    values
}

fn median(sorted: &[Duration]) -> Duration {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// What the figures were measured on.
fn machine(scratch: &Scratch) -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |line| line.trim_start_matches(['\t', ' ', ':']));
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let memory = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kilobytes| kilobytes.parse::<u64>().ok())
        .unwrap_or(0)
        / 1_000_000;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let file_system = Cmd::new("stat")
        .args(["-f", "-c", "%T"])
        .arg(scratch.path())
        .text()?;
    let mut text = String::new();
    writeln!(
        text,
        "Machine: {model}, {cores} cores, {memory} GB, Linux {}, {} below the stores.",
        kernel.trim(),
        file_system.trim()
    )?;
    writeln!(
        text,
        "Load at the end: {}.",
        load.split(' ').next().unwrap_or_default()
    )?;
    Ok(text)
}

/// How the builders were measured, and which.
fn remarks(rounds: u32) -> Result<String> {
    let mut text = String::new();
    writeln!(
        text,
        "Medians of {rounds} rounds, the builders taking turns; in brackets the fastest and the slowest; memory is the highest of all rounds."
    )?;
    writeln!(
        text,
        "Builders: rbuild {}, docker.io {} with `DOCKER_BUILDKIT=1`, buildah {}.",
        env!("CARGO_PKG_VERSION"),
        package("docker.io")?,
        package("buildah")?
    )?;
    Ok(text)
}

/// The version of a Debian package.
fn package(name: &str) -> Result<String> {
    Cmd::new("dpkg-query")
        .args(["-W", "-f", "${Version}", name])
        .text()
}

/// Where on the page a report stands.
struct Page {
    begin: &'static str,
}

impl Page {
    const BUILDERS: Self = Self {
        begin: "<!-- figures of `cargo xtask bench --write`: begin -->",
    };
    const REGISTRY: Self = Self {
        begin: "<!-- figures of `cargo xtask bench registry --write`: begin -->",
    };
    const END: &'static str = "<!-- end -->";

    /// Puts a report into the page, in place of the last one.
    fn write(&self, report: &str) -> Result<()> {
        let path = root().join(PAGE);
        let page = fs::read_to_string(&path).with_context(|| format!("cannot read `{PAGE}`"))?;
        let parts = page.split_once(self.begin).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(Self::END)?;
            Some((before, after))
        });
        let Some((before, after)) = parts else {
            bail!("`{PAGE}` lacks the marks for the figures")
        };
        let page = format!("{before}{}\n\n{report}\n{}{after}", self.begin, Self::END);
        fs::write(&path, page)?;
        println!("written to {PAGE}");
        Ok(())
    }
}
