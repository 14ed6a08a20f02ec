//! What a server takes: processor time and memory of its processes, from `/proc`.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(10);
/// The unit of processor time in `/proc`, which Linux has fixed for all programs.
const TICK: Duration = Duration::from_millis(10);

/// Processor time.
#[derive(Clone, Copy, Default)]
pub(super) struct Cpu {
    pub(super) user: Duration,
    pub(super) system: Duration,
}

impl Cpu {
    /// All of it.
    pub(super) fn total(self) -> Duration {
        self.user + self.system
    }

    fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

/// Memory, in bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Memory {
    /// The server's own: anonymous and shared.
    pub(super) own: u64,
    /// Pages of files: the program, its libraries, and what it has mapped.
    pub(super) file: u64,
}

/// A process and its children.
#[derive(Clone)]
pub(super) struct Processes(Vec<u32>);

impl Processes {
    /// Those that live now.
    pub(super) fn of(pid: u32) -> Self {
        let mut pids = vec![pid];
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let others = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.extend(others.filter(|other| parent(*other) == Some(pid)));
        Self(pids)
    }

    /// Runs `work` and tells what the processes took meanwhile: processor time, and the most memory seen at once.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Cpu, Memory)> {
        let done = AtomicBool::new(false);
        let before = self.cpu()?;
        std::thread::scope(|scope| {
            let sampler = scope.spawn(|| {
                let mut peak = Memory::default();
                while !done.load(Ordering::Relaxed) {
                    let now = self.memory();
                    peak.own = peak.own.max(now.own);
                    peak.file = peak.file.max(now.file);
                    std::thread::sleep(SAMPLE);
                }
                peak
            });
            let outcome = work();
            let after = self.cpu();
            done.store(true, Ordering::Relaxed);
            let peak = sampler
                .join()
                .map_err(|_| anyhow::anyhow!("the memory sampler died"))?;
            Ok((outcome?, after?.since(before), peak))
        })
    }

    fn cpu(&self) -> Result<Cpu> {
        let mut sum = Cpu::default();
        for pid in &self.0 {
            let fields = stat(*pid).context("the server is gone")?;
            let ticks = |at: usize| -> u32 {
                let field = fields.get(at).map(String::as_str);
                field.and_then(|field| field.parse().ok()).unwrap_or(0)
            };
            sum.user += TICK * ticks(11);
            sum.system += TICK * ticks(12);
        }
        Ok(sum)
    }

    /// Memory now.
    pub(super) fn memory(&self) -> Memory {
        let mut sum = Memory::default();
        for pid in &self.0 {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let bytes = |name: &str| -> u64 {
                let value = status.lines().find_map(|line| line.strip_prefix(name));
                value
                    .and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok())
                    .unwrap_or(0)
                    * 1024
            };
            sum.own += bytes("RssAnon:") + bytes("RssShmem:");
            sum.file += bytes("RssFile:");
        }
        sum
    }
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// The fields of `/proc/PID/stat` from the state on; a program's name may hold blanks, so they are counted from its end.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}
