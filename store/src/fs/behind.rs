//! Writing behind a writer's back: full buffers are written by other threads, past the page cache where the file system can.
//!
//! Filling the page cache with a large blob costs the processor more than writing it, and pushes out what is being read.
//! Only whole, aligned buffers go this way; what is left over at the end, or before an odd place, is written as usual.
//! Memory is bounded for all writers of a store together; who gets no buffer writes as usual as well.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Bytes of a buffer. One that is full begins and ends at a multiple of this in its file.
const SIZE: usize = 1 << 20;
/// What places, lengths and addresses of direct writes are multiples of: the largest block of the usual disks.
const ALIGN: usize = 4096;
/// Buffers of one writer: one that is being filled, the others being written.
const EACH: usize = 3;
/// Buffers of all writers together.
const ALL: usize = 48;
/// Buffers that are kept for the next writers.
const SPARE: usize = 6;
/// Threads that write. More are of no use: a buffer is large enough to keep a disk busy.
const THREADS: usize = 4;
/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(3);

/// Threads and memory that all writers of a store share.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool(Arc<Shared>);

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
    spare: Vec<Buffer>,
}

/// Memory that begins at a multiple of [`ALIGN`].
#[derive(Debug)]
struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    fn new() -> Self {
        let memory = vec![0; SIZE + ALIGN];
        // Where no start is found, direct writes are refused and done as usual.
        let start = memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        Self { memory, start }
    }

    fn bytes(&self, length: usize) -> &[u8] {
        &self.memory[self.start..self.start + length]
    }

    fn fill(&mut self, at: usize, bytes: &[u8]) {
        let at = self.start + at;
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// A buffer on its way to the disk.
#[derive(Debug)]
struct Job {
    buffer: Buffer,
    length: usize,
    offset: u64,
    file: Arc<File>,
    flights: Arc<Flights>,
}

/// What a writer has on the way.
#[derive(Debug, Default)]
struct Flights {
    state: Mutex<Landed>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Landed {
    flying: usize,
    spare: Vec<Buffer>,
    failure: Option<io::Error>,
    failed: bool,
}

impl Pool {
    fn work(&self) -> MutexGuard<'_, Work> {
        // Nothing that can panic runs while it is held.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_buffer(&self) -> bool {
        self.work().lent < ALL
    }

    fn borrow(&self) -> Option<Buffer> {
        let mut work = self.work();
        if work.lent >= ALL {
            return None;
        }
        work.lent += 1;
        let spare = work.spare.pop();
        drop(work);
        Some(spare.unwrap_or_else(Buffer::new))
    }

    fn give_back(&self, buffer: Buffer) {
        let mut work = self.work();
        work.lent = work.lent.saturating_sub(1);
        if work.spare.len() < SPARE && work.threads > 0 {
            work.spare.push(buffer);
        }
    }

    /// Lets a thread do it; without threads, does it at once.
    fn submit(&self, job: Job) {
        let mut work = self.work();
        work.jobs.push_back(job);
        if work.idle >= work.jobs.len() {
            drop(work);
            self.0.wake.notify_one();
            return;
        }
        if work.threads < THREADS {
            work.threads += 1;
            drop(work);
            let pool = self.clone();
            let thread = std::thread::Builder::new().name("store-write".to_owned());
            if thread.spawn(move || pool.serve()).is_ok() {
                return;
            }
            work = self.work();
            work.threads -= 1;
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
}

impl Job {
    fn run(self) {
        let outcome = write(&self.file, self.buffer.bytes(self.length), self.offset);
        let mut state = self.flights.state();
        state.flying -= 1;
        // Also after a failure: it is given back like any other.
        state.spare.push(self.buffer);
        if let Err(error) = outcome {
            state.failed = true;
            state.failure.get_or_insert(error);
        }
        drop(state);
        self.flights.changed.notify_all();
    }
}

impl Flights {
    fn state(&self) -> MutexGuard<'_, Landed> {
        // Nothing that can panic runs while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, Landed>) -> MutexGuard<'a, Landed> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Landed {
    /// The failure of a write, the first time as it was.
    fn check(&mut self) -> io::Result<()> {
        match self.failure.take() {
            Some(error) => Err(error),
            None if self.failed => Err(io::Error::other("an earlier write failed")),
            None => Ok(()),
        }
    }
}

/// A file that is written behind its writer's back.
#[derive(Debug)]
pub(super) struct Behind {
    pool: Pool,
    flights: Arc<Flights>,
    /// The same file, opened for large writes; only once there is one.
    file: Option<Arc<File>>,
    filling: Option<Filling>,
    /// Buffers that it has, wherever they are.
    own: usize,
}

#[derive(Debug)]
struct Filling {
    buffer: Buffer,
    length: usize,
    /// Place of its first byte in the file.
    start: u64,
}

impl Filling {
    /// Bytes that it may hold, so that it ends at a multiple of its size.
    fn capacity(&self) -> usize {
        let past = usize::try_from(self.start % SIZE as u64).unwrap_or(0);
        SIZE - past
    }

    fn room(&self) -> usize {
        self.capacity() - self.length
    }
}

impl Behind {
    /// `None`: other writers have all the memory.
    pub(super) fn new(pool: &Pool) -> Option<Self> {
        let buffer = pool.borrow()?;
        let flights = Flights::default();
        flights.state().spare.push(buffer);
        Some(Self {
            pool: pool.clone(),
            flights: Arc::new(flights),
            file: None,
            filling: None,
            own: 1,
        })
    }

    /// Whether [`Self::write`] of so many bytes would not wait.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        let here = self.filling.as_ref().map_or(0, Filling::room);
        if bytes <= here {
            return true;
        }
        let state = self.flights.state();
        bytes - here <= ALIGN.max(SIZE / 2)
            && (state.failed
                || !state.spare.is_empty()
                || self.own < EACH && self.pool.has_buffer())
    }

    /// Takes bytes that belong at `offset`, behind all earlier ones, and tells how many.
    ///
    /// `plain` is the file at `path`, opened for writing.
    pub(super) fn write(
        &mut self,
        plain: &File,
        path: &Path,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<usize> {
        let mut filling = match self.filling.take() {
            Some(filling) => filling,
            None => Filling {
                buffer: self.buffer()?,
                length: 0,
                start: offset,
            },
        };
        let count = bytes.len().min(filling.room());
        filling.buffer.fill(filling.length, &bytes[..count]);
        filling.length += count;
        if filling.room() == 0 {
            self.send(plain, path, filling)?;
        } else {
            self.filling = Some(filling);
        }
        Ok(count)
    }

    /// Waits until everything is written.
    pub(super) fn flush(&mut self, plain: &File) -> io::Result<()> {
        let mut outcome = Ok(());
        if let Some(filling) = self.filling.take() {
            outcome = plain.write_all_at(filling.buffer.bytes(filling.length), filling.start);
            self.flights.state().spare.push(filling.buffer);
        }
        let mut state = self.flights.state();
        while state.flying > 0 {
            state = self.flights.wait(state);
        }
        state.check()?;
        outcome
    }

    /// An empty buffer, waiting for one of our own if need be.
    fn buffer(&mut self) -> io::Result<Buffer> {
        let mut state = self.flights.state();
        loop {
            state.check()?;
            if let Some(buffer) = state.spare.pop() {
                return Ok(buffer);
            }
            if self.own < EACH
                && let Some(buffer) = self.pool.borrow()
            {
                self.own += 1;
                return Ok(buffer);
            }
            if state.flying == 0 {
                return Err(io::Error::other("a buffer was lost"));
            }
            state = self.flights.wait(state);
        }
    }

    /// Sends a buffer to be written.
    fn send(&mut self, plain: &File, path: &Path, filling: Filling) -> io::Result<()> {
        let aligned = |place: u64| place.is_multiple_of(ALIGN as u64);
        if !aligned(filling.start) || !aligned(filling.length as u64) {
            let outcome = plain.write_all_at(filling.buffer.bytes(filling.length), filling.start);
            self.flights.state().spare.push(filling.buffer);
            return outcome;
        }
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => match open(path) {
                Ok(file) => Arc::clone(self.file.insert(Arc::new(file))),
                Err(error) => {
                    self.flights.state().spare.push(filling.buffer);
                    return Err(super::layout::at(path)(error));
                }
            },
        };
        self.flights.state().flying += 1;
        self.pool.submit(Job {
            buffer: filling.buffer,
            length: filling.length,
            offset: filling.start,
            file,
            flights: Arc::clone(&self.flights),
        });
        Ok(())
    }
}

impl Drop for Behind {
    /// Nothing is written once the writer is gone: whoever comes next may cut the file.
    fn drop(&mut self) {
        let mut state = self.flights.state();
        while state.flying > 0 {
            state = self.flights.wait(state);
        }
        let filling = self.filling.take().map(|filling| filling.buffer);
        for buffer in state.spare.drain(..).chain(filling) {
            self.pool.give_back(buffer);
        }
    }
}

/// Opens a file for large writes, past the page cache if the file system knows how.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags | OFlags::DIRECT, Mode::empty()) {
        Err(Errno::INVAL | Errno::NOTSUP) => {
            Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
        }
        opened => Ok(opened?.into()),
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

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    struct Place {
        _directory: tempfile::TempDir,
        path: std::path::PathBuf,
        file: File,
    }

    fn place() -> Place {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .expect("a file");
        Place {
            _directory: directory,
            path,
            file,
        }
    }

    fn content(length: usize) -> Vec<u8> {
        (0_u32..)
            .flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes())
            .take(length)
            .collect()
    }

    fn write_all(behind: &mut Behind, place: &Place, start: usize, mut bytes: &[u8]) {
        let mut at = start as u64;
        while !bytes.is_empty() {
            let count = behind
                .write(&place.file, &place.path, at, bytes)
                .expect("written");
            at += count as u64;
            bytes = &bytes[count..];
        }
    }

    #[test]
    fn every_length_and_every_place_gives_the_same_bytes() {
        let pool = Pool::default();
        for (start, length) in [
            (0, 1),
            (0, SIZE),
            (0, SIZE + 1),
            (0, 7 * SIZE + ALIGN),
            (1, 3 * SIZE),
            (ALIGN, 2 * SIZE),
            (SIZE - 1, 2),
            (5000, 5 * SIZE + 77),
        ] {
            let place = place();
            let bytes = content(start + length);
            place.file.write_all_at(&bytes[..start], 0).expect("begun");
            let mut behind = Behind::new(&pool).expect("a buffer");
            for piece in bytes[start..].chunks(70_001).enumerate() {
                let (number, piece) = piece;
                write_all(&mut behind, &place, start + number * 70_001, piece);
            }
            behind.flush(&place.file).expect("flushed");
            assert_eq!(
                std::fs::read(&place.path).expect("read"),
                bytes,
                "{length} bytes at {start}"
            );
        }
        assert_eq!(pool.work().lent, 0);
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let pool = Pool::default();
        let mut all: Vec<Behind> = std::iter::from_fn(|| Behind::new(&pool)).collect();
        assert_eq!(all.len(), ALL);
        assert!(Behind::new(&pool).is_none());
        // One that has a single buffer gets its bytes to the disk all the same.
        let place = place();
        let bytes = content(4 * SIZE);
        let behind = all.last_mut().expect("one of them");
        write_all(behind, &place, 0, &bytes);
        behind.flush(&place.file).expect("flushed");
        assert_eq!(std::fs::read(&place.path).expect("read"), bytes);
        all.pop();
        assert!(Behind::new(&pool).is_some());
        drop(all);
        assert_eq!(pool.work().lent, 0);
    }

    #[test]
    fn a_failure_is_told_once_as_it_was_and_then_for_ever() {
        let pool = Pool::default();
        let place = place();
        let mut behind = Behind::new(&pool).expect("a buffer");
        let reading = Arc::new(File::open(&place.path).expect("opened for reading"));
        behind.file = Some(reading);
        write_all(&mut behind, &place, 0, &content(SIZE));
        let first = behind.flush(&place.file).expect_err("a failure");
        assert_eq!(first.raw_os_error(), Some(Errno::BADF.raw_os_error()));
        assert!(behind.takes(1), "nobody waits for what has failed");
        assert!(behind.flush(&place.file).is_err());
        assert!(
            behind
                .write(&place.file, &place.path, SIZE as u64, b"more")
                .is_err()
        );
        drop(behind);
        assert_eq!(pool.work().lent, 0);
    }
}
