//! Temporary directories that another process can tell from leftovers.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::{Area, LocalStore, file, lock};
use crate::IngestId;

/// A temporary directory; dropping it removes it, and a sweep does if its owner was killed.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    lock_path: PathBuf,
    _locked: File,
}

impl Scratch {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now (files of other owners) is left to the sweep.
        if fs::remove_dir_all(&self.path).is_ok() {
            let _ = fs::remove_file(&self.lock_path);
        }
    }
}

impl LocalStore {
    /// Makes an empty temporary directory.
    pub fn scratch(&self) -> io::Result<Scratch> {
        let path = self.dir(Area::Tmp).join(IngestId::random()?.as_str());
        let lock_path = path.with_extension("lock");
        let locked = lock::open(&lock_path)?;
        rustix::fs::flock(&locked, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| file::at(&lock_path)(error.into()))?;
        fs::create_dir(&path).map_err(file::at(&path))?;
        Ok(Scratch {
            path,
            lock_path,
            _locked: locked,
        })
    }

    /// Removes temporary directories whose owner is gone, and says how many.
    ///
    /// To be called without sessions: an owner locks its directory before it makes it.
    pub(super) fn sweep_scratch(&self) -> io::Result<u64> {
        let directory = self.dir(Area::Tmp);
        let mut removed = 0;
        for name in file::list(&directory)? {
            let path = directory.join(&name);
            if path
                .extension()
                .is_some_and(|extension| extension == "lock")
            {
                continue;
            }
            let lock_path = path.with_extension("lock");
            let locked = lock::open(&lock_path)?;
            if rustix::fs::flock(&locked, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            let outcome = match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&path),
                Ok(_) => fs::remove_file(&path),
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(file::at(&path)(error));
                }
                _ => removed += 1,
            }
            file::remove(&lock_path)?;
        }
        Ok(removed)
    }
}
