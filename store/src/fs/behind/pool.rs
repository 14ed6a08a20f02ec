//! Threads and memory that all writers of a store share.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Flights;
use super::buffer::{Buffer, Filling, Memory};

/// Buffers of all writers together.
pub(super) const ALL: usize = 24;
/// Threads that write. More are of no use: a buffer is large enough to keep a disk busy.
const THREADS: usize = 4;
/// How long a thread waits for work before it ends, the last one with the spare buffers.
const IDLE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Default)]
pub(in crate::fs) struct Pool(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<Work>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// Buffers that writers and jobs have.
    lent: usize,
    /// Buffers for the next writers. Memory that is new has to be cleared first, which costs as much as a copy.
    spare: Vec<Memory>,
}

/// A buffer on its way to the disk.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) filling: Filling,
    pub(super) file: Arc<File>,
    pub(super) flights: Arc<Flights>,
}

impl Pool {
    fn work(&self) -> MutexGuard<'_, Work> {
        // Nothing that can panic runs while it is held.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_buffer(&self) -> bool {
        self.work().lent < ALL
    }

    /// `None`: other writers have all the memory, or there is none.
    pub(super) fn borrow(&self) -> Option<Buffer> {
        let mut work = self.work();
        if work.lent >= ALL {
            return None;
        }
        work.lent += 1;
        let spare = work.spare.pop();
        drop(work);
        let memory = spare.map_or_else(Memory::new, Ok);
        let Ok(memory) = memory else {
            self.work().lent -= 1;
            return None;
        };
        Some(Buffer::new(memory, self.clone()))
    }

    pub(super) fn give_back(&self, memory: Memory) {
        let mut work = self.work();
        work.lent = work.lent.saturating_sub(1);
        // A thread throws the spare ones away in the end.
        if work.threads > 0 || self.start(&mut work) {
            work.spare.push(memory);
        }
    }

    /// Starts a thread. `false`: there is none to be had.
    fn start(&self, work: &mut Work) -> bool {
        let pool = self.clone();
        let thread = std::thread::Builder::new().name("store-write".to_owned());
        let started = thread.spawn(move || pool.serve()).is_ok();
        if started {
            work.threads += 1;
        }
        started
    }

    /// Lets a thread do it; without threads, does it at once.
    pub(super) fn submit(&self, job: Job) {
        let mut work = self.work();
        work.jobs.push_back(job);
        if work.idle >= work.jobs.len() {
            drop(work);
            self.0.wake.notify_one();
            return;
        }
        if work.threads < THREADS {
            self.start(&mut work);
        }
        if work.threads == 0
            && let Some(job) = work.jobs.pop_back()
        {
            drop(work);
            job.run();
        }
    }

    fn serve(&self) {
        let mut work = self.work();
        loop {
            if let Some(job) = work.jobs.pop_front() {
                drop(work);
                job.run();
                work = self.work();
                continue;
            }
            work.idle += 1;
            let waited = self.0.wake.wait_timeout(work, IDLE);
            let timeout;
            (work, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            work.idle -= 1;
            if timeout.timed_out() && work.jobs.is_empty() {
                work.threads -= 1;
                if work.threads == 0 {
                    work.spare.clear();
                }
                return;
            }
        }
    }

    /// Buffers that are somewhere else.
    #[cfg(test)]
    pub(super) fn lent(&self) -> usize {
        self.work().lent
    }
}

impl Job {
    fn run(self) {
        let outcome = write(&self.file, self.filling.bytes(), self.filling.start());
        // Also after a failure: it is given back like any other.
        self.flights.land(self.filling.into_buffer(), outcome);
    }
}

/// Writes all bytes; where that is refused past the page cache, in the usual way.
fn write(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    match file.write_all_at(bytes, offset) {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            let flags = rustix::fs::fcntl_getfl(file)?;
            rustix::fs::fcntl_setfl(file, flags - OFlags::DIRECT)?;
            file.write_all_at(bytes, offset)
        }
        outcome => outcome,
    }
}
