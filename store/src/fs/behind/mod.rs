//! Writing behind a writer's back: full buffers are written by other threads, past the page cache where the file system can.
//!
//! Filling the page cache with a large blob costs the processor more than writing it, and pushes out what is being read.
//! Only whole, aligned buffers go this way; what is left over at the end, or before an odd place, is written as usual.
//! Memory is bounded for all writers of a store together; who gets no buffer writes as usual as well.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use buffer::{Buffer, Filling, SIZE};
use pool::Job;

pub(super) use pool::Pool;

mod buffer;
mod pool;

/// What places, lengths and addresses of direct writes are multiples of: the largest block of the usual disks.
const ALIGN: usize = 4096;
/// Buffers of one writer: one that is being filled, the others being written.
const EACH: usize = 3;

/// What a writer has on the way.
#[derive(Debug, Default)]
struct Flights {
    state: Mutex<Landed>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Landed {
    /// Buffers that the writer has, wherever they are.
    own: usize,
    flying: usize,
    /// Whether a buffer is being filled.
    filling: bool,
    /// A buffer for the next bytes.
    spare: Option<Buffer>,
    failure: Option<io::Error>,
    failed: bool,
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

    /// A buffer has been written, or not.
    fn land(&self, buffer: Buffer, outcome: io::Result<()>) {
        let mut state = self.state();
        state.flying -= 1;
        state.rest(buffer);
        if let Err(error) = outcome {
            state.failed = true;
            state.failure.get_or_insert(error);
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl Landed {
    /// Keeps an empty buffer if the writer has no other to go on with, and leaves it to others if it has.
    fn rest(&mut self, buffer: Buffer) {
        if self.filling || self.spare.is_some() {
            self.own -= 1;
        } else {
            self.spare = Some(buffer);
        }
    }

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
}

impl Behind {
    /// `None`: other writers have all the memory.
    pub(super) fn new(pool: &Pool) -> Option<Self> {
        let buffer = pool.borrow()?;
        let flights = Flights::default();
        let mut state = flights.state();
        state.own = 1;
        state.spare = Some(buffer);
        drop(state);
        Some(Self {
            pool: pool.clone(),
            flights: Arc::new(flights),
            file: None,
            filling: None,
        })
    }

    /// Whether [`Self::write`] of so many bytes would not wait.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        let here = self.filling.as_ref().map_or(0, Filling::room);
        if bytes <= here {
            return true;
        }
        let state = self.flights.state();
        bytes - here <= SIZE / 2
            && (state.failed || state.spare.is_some() || state.own < EACH && self.pool.has_buffer())
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
            None => Filling::new(self.buffer()?, offset),
        };
        let count = filling.fill(bytes);
        self.put(plain, path, filling)?;
        Ok(count)
    }

    /// Waits until everything is written.
    pub(super) fn flush(&mut self, plain: &File) -> io::Result<()> {
        let mut outcome = Ok(());
        if let Some(filling) = self.filling.take() {
            outcome = plain.write_all_at(filling.bytes(), filling.start());
            self.rest(filling);
        }
        let mut state = self.flights.state();
        while state.flying > 0 {
            state = self.flights.wait(state);
        }
        state.check()?;
        outcome
    }

    /// An empty buffer, waiting for one of our own if need be.
    fn buffer(&self) -> io::Result<Buffer> {
        let mut state = self.flights.state();
        loop {
            if let Some(buffer) = self.try_buffer(&mut state)? {
                return Ok(buffer);
            }
            if state.flying == 0 {
                return Err(io::Error::other("a buffer was lost"));
            }
            state = self.flights.wait(state);
        }
    }

    /// An empty buffer, if there is one now.
    fn try_buffer(&self, state: &mut Landed) -> io::Result<Option<Buffer>> {
        state.check()?;
        let buffer = match state.spare.take() {
            Some(buffer) => buffer,
            None if state.own < EACH => match self.pool.borrow() {
                Some(buffer) => {
                    state.own += 1;
                    buffer
                }
                None => return Ok(None),
            },
            None => return Ok(None),
        };
        state.filling = true;
        Ok(Some(buffer))
    }

    /// A buffer that was filled is empty again.
    fn rest(&self, filling: Filling) {
        let mut state = self.flights.state();
        state.filling = false;
        state.rest(filling.into_buffer());
    }

    /// Goes on filling a buffer, or sends it to be written when it is full.
    fn put(&mut self, plain: &File, path: &Path, filling: Filling) -> io::Result<()> {
        if filling.room() > 0 {
            self.filling = Some(filling);
            return Ok(());
        }
        let aligned = |place: u64| place.is_multiple_of(ALIGN as u64);
        if !aligned(filling.start()) || !aligned(filling.bytes().len() as u64) {
            let outcome = plain.write_all_at(filling.bytes(), filling.start());
            self.rest(filling);
            return outcome;
        }
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => match open(path) {
                Ok(file) => Arc::clone(self.file.insert(Arc::new(file))),
                Err(error) => {
                    self.rest(filling);
                    return Err(super::layout::at(path)(error));
                }
            },
        };
        let mut state = self.flights.state();
        state.filling = false;
        state.flying += 1;
        drop(state);
        self.pool.submit(Job {
            filling,
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
        // A thread may hold the flights for a moment longer.
        state.spare = None;
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
        assert_eq!(pool.lent(), 0);
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let pool = Pool::default();
        let mut all: Vec<Behind> = std::iter::from_fn(|| Behind::new(&pool)).collect();
        assert_eq!(all.len(), pool::ALL);
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
        assert_eq!(pool.lent(), 0);
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
        assert_eq!(pool.lent(), 0);
    }
}
