//! Measuring one command: wall time, processor time and memory of everything it sets in motion.
//!
//! Client, daemon and containers of a tool share a control group, so that a builder with a daemon
//! is measured as a whole. Both versions of control groups will do.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process::{Cmd, tail};

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(5);

/// What one command took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement {
    /// From start to end of the client.
    pub(super) wall: Duration,
    /// User and system time of all processes of the group.
    pub(super) cpu: Duration,
    /// The most memory seen at once, in bytes: anonymous and shared, without the page cache.
    pub(super) memory: u64,
}

/// The control group of a tool.
pub(crate) struct Group {
    path: PathBuf,
    /// Its name below the mount point, as daemons want it for their containers.
    name: String,
    version: Version,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Group {
    /// A fresh group.
    pub(super) fn new(tool: &str) -> Result<Self> {
        let name = format!("rbuild-bench-{}-{tool}", std::process::id());
        let mount = Path::new("/sys/fs/cgroup");
        let (parent, version) = if mount.join("cpuacct").is_dir() {
            (mount.join("cpuacct"), Version::One)
        } else {
            (mount.to_owned(), Version::Two)
        };
        let path = parent.join(&name);
        fs::create_dir(&path)
            .with_context(|| format!("cannot create the control group `{}`", path.display()))?;
        Ok(Self {
            path,
            name,
            version,
        })
    }

    /// The parent that a daemon is told for its containers' groups.
    pub(crate) fn parent_for_containers(&self) -> String {
        format!("/{}", self.name)
    }

    /// The same command inside the group.
    ///
    /// A shell moves itself there and becomes the command: about a millisecond, the same for every tool.
    pub(crate) fn enter(&self, cmd: &Cmd) -> Cmd {
        let leaf = self.leaf();
        let script = format!("echo 0 > '{}/cgroup.procs' && exec \"$@\"", leaf.display());
        cmd.wrapped_in(&["sh", "-c", &script, "sh"])
    }

    /// Where processes go: version 2 wants them in leaves when containers get groups of their own.
    fn leaf(&self) -> PathBuf {
        if self.version == Version::One {
            return self.path.clone();
        }
        let leaf = self.path.join("processes");
        if let Err(error) = fs::create_dir(&leaf)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            eprintln!("cannot create `{}`: {error}", leaf.display());
        }
        leaf
    }

    /// Runs a command in the group and measures the group meanwhile.
    pub(super) fn measure(&self, cmd: &Cmd) -> Result<Measurement> {
        let shown = cmd.shown().to_owned();
        let done = AtomicBool::new(false);
        let before = self.cpu()?;
        std::thread::scope(|scope| {
            let sampler = scope.spawn(|| self.peak(&done));
            let start = Instant::now();
            let output = self.enter(cmd).output();
            let wall = start.elapsed();
            done.store(true, Ordering::Relaxed);
            let memory = sampler
                .join()
                .map_err(|_| anyhow::anyhow!("the memory sampler died"))?;
            let output = output?;
            if !output.status.success() {
                bail!(
                    "`{shown}` ended with {}:\n{}{}",
                    output.status,
                    tail(&output.stdout),
                    tail(&output.stderr)
                );
            }
            Ok(Measurement {
                wall,
                cpu: self.cpu()?.saturating_sub(before),
                memory,
            })
        })
    }

    /// Processor time of the group since it was made.
    fn cpu(&self) -> Result<Duration> {
        let read = |file: &str| {
            fs::read_to_string(self.path.join(file))
                .with_context(|| format!("cannot read `{file}` of the control group"))
        };
        match self.version {
            Version::One => Ok(Duration::from_nanos(read("cpuacct.usage")?.trim().parse()?)),
            Version::Two => {
                let stat = read("cpu.stat")?;
                let usage = stat
                    .lines()
                    .find_map(|line| line.strip_prefix("usage_usec "))
                    .context("no usage in cpu.stat")?;
                Ok(Duration::from_micros(usage.trim().parse()?))
            }
        }
    }

    fn peak(&self, done: &AtomicBool) -> u64 {
        let mut peak = 0;
        while !done.load(Ordering::Relaxed) {
            peak = peak.max(processes(&self.path).into_iter().map(memory).sum());
            std::thread::sleep(SAMPLE);
        }
        peak
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes a group with those below it; the kernel refuses while processes are inside.
fn remove(path: &Path) {
    for child in children(path) {
        remove(&child);
    }
    if let Err(error) = fs::remove_dir(path) {
        eprintln!(
            "cannot remove the control group `{}`: {error}",
            path.display()
        );
    }
}

fn children(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

/// Process ids of a group and those below it.
fn processes(path: &Path) -> Vec<u32> {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    pids.extend(children(path).iter().flat_map(|child| processes(child)));
    pids
}

/// Anonymous and shared memory of a process in bytes; 0 when it has just ended.
fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kilobytes = |name: &str| -> u64 {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        value
            .and_then(|value| value.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(0)
    };
    (kilobytes("RssAnon:") + kilobytes("RssShmem:")) * 1024
}
