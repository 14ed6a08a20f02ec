//! Advisory locks of files: given back by the kernel however their holder ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::LocalStore;
use super::file::at;

/// The right to store bytes that nothing names yet: while it lives, no sweep removes anything.
#[derive(Debug)]
pub struct Session {
    _locked: File,
}

impl LocalStore {
    /// Begins to work; waits for a sweep that is under way.
    pub fn session(&self) -> io::Result<Session> {
        let locked = take(&self.path(&["sessions.lock"]), FlockOperation::LockShared)?;
        Ok(Session { _locked: locked })
    }

    /// Keeps every session out; `None` while there is one.
    pub(super) fn quiet(&self) -> io::Result<Option<File>> {
        let path = self.path(&["sessions.lock"]);
        let file = open(&path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(at(&path)(error.into())),
        }
    }

    /// Serialises read-modify-write of small files.
    pub(super) fn exclusive(&self) -> io::Result<File> {
        take(&self.path(&["index.lock"]), FlockOperation::LockExclusive)
    }
}

/// Makes the file of a lock.
pub(super) fn create(path: &Path) -> io::Result<()> {
    open(path).map(drop)
}

/// Locks a file; one open file for each lock, so that threads keep each other out as well.
fn take(path: &Path, operation: FlockOperation) -> io::Result<File> {
    let file = open(path)?;
    loop {
        match rustix::fs::flock(&file, operation) {
            Ok(()) => return Ok(file),
            Err(Errno::INTR) => {}
            Err(error) => return Err(at(path)(error.into())),
        }
    }
}

pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(at(path))
}
