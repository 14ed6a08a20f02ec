//! Writing a blob: a locked file that is hashed while it grows, and renamed when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_image::{Algorithm, Digest, Hasher};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::behind::{Behind, Pool};
use super::layout::{Layout, at, sync_directory};
use super::{Durability, hash_file, seal};
use crate::{BlobInfo, Checkpoint, CommitError, Expected, Ingest, IngestId};

#[derive(Debug)]
pub(super) struct FileIngest {
    layout: Arc<Layout>,
    durability: Durability,
    id: IngestId,
    path: PathBuf,
    /// Dropped before the file, whose lock keeps others away until everything on its way has arrived.
    behind: Option<Behind>,
    /// Locked for as long as it is open.
    file: File,
    algorithm: Algorithm,
    hasher: Hasher,
    /// Bytes that were taken; some may still be on their way into the file.
    offset: u64,
    pool: Pool,
}

impl FileIngest {
    pub(super) fn create(
        layout: Arc<Layout>,
        durability: Durability,
        pool: Pool,
        algorithm: Algorithm,
    ) -> io::Result<Self> {
        let id = IngestId::random()?;
        let path = layout.ingest(&id);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(at(&path))?;
        let failure = match lock(&file) {
            Ok(true) => None,
            Ok(false) => Some(io::ErrorKind::WouldBlock.into()),
            Err(error) => Some(error),
        };
        if let Some(error) = failure {
            // The first error is the one to tell; a file that stays is swept later.
            let _ = fs::remove_file(&path);
            return Err(at(&path)(error));
        }
        Ok(Self {
            layout,
            durability,
            id,
            path,
            file,
            algorithm,
            hasher: algorithm.hasher(),
            offset: 0,
            pool,
            behind: None,
        })
    }

    pub(super) fn resume(
        layout: Arc<Layout>,
        durability: Durability,
        pool: Pool,
        id: &IngestId,
        checkpoint: Option<&Checkpoint>,
    ) -> io::Result<Option<Self>> {
        let path = layout.ingest(id);
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        };
        if !lock(&file).map_err(at(&path))? {
            return Err(at(&path)(io::ErrorKind::WouldBlock.into()));
        }
        if !is_at(&file, &path)? {
            return Ok(None);
        }
        let length = file.metadata().map_err(at(&path))?.len();
        let algorithm = checkpoint.map_or(Algorithm::Sha256, |checkpoint| checkpoint.algorithm);
        let mut offset = length;
        let mut restored = None;
        if let Some(checkpoint) = checkpoint {
            offset = checkpoint.offset.min(length);
            if offset < length {
                file.set_len(offset).map_err(at(&path))?;
            }
            if offset == checkpoint.offset {
                restored = Hasher::restore(algorithm, &checkpoint.hash_state);
            }
        }
        let hasher = match restored {
            Some(hasher) => hasher,
            None => hash_prefix(&mut file, algorithm, offset).map_err(at(&path))?,
        };
        Ok(Some(Self {
            layout,
            durability,
            id: id.clone(),
            path,
            file,
            algorithm,
            hasher,
            offset,
            pool,
            behind: None,
        }))
    }

    /// Waits until all bytes are in the file.
    fn flush_behind(&mut self) -> io::Result<()> {
        match &mut self.behind {
            Some(behind) => behind.flush(&self.file).map_err(at(&self.path)),
            None => Ok(()),
        }
    }

    /// Gives the file its name, over an older one of the same content, which may be damaged: ours has just been verified.
    fn name(&self, digest: &Digest) -> io::Result<PathBuf> {
        let target = self.layout.prepare(digest, self.durability)?;
        let outcome = match fs::rename(&self.path, &target) {
            // Somebody has removed the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.layout.forget(digest);
                self.layout.prepare(digest, self.durability)?;
                fs::rename(&self.path, &target)
            }
            // Somebody has put one there instead of the file.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                fs::remove_dir(&target).and_then(|()| fs::rename(&self.path, &target))
            }
            outcome => outcome,
        };
        outcome.map_err(at(&target)).map(|()| target)
    }

    fn try_commit(&mut self, expected: Expected) -> Result<BlobInfo, CommitError> {
        self.flush_behind()?;
        let wanted = expected.digest().map_or(self.algorithm, |d| d.algorithm());
        let digest = if wanted == self.algorithm {
            self.hasher.clone().finish()
        } else {
            hash_file(&self.file, wanted).map_err(at(&self.path))?.0
        };
        let blob = BlobInfo {
            digest,
            size: self.offset,
        };
        expected.check(blob)?;
        if self.durability == Durability::Durable {
            self.file.sync_all().map_err(at(&self.path))?;
        }
        let target = self.name(&digest)?;
        let stamp = seal::Stamp::of(&self.file)?;
        // Without a seal it is read once more, that is all.
        let _ = seal::set(&self.file, stamp, true);
        if self.durability == Durability::Durable
            && let Some(directory) = target.parent()
        {
            sync_directory(directory)?;
        }
        Ok(blob)
    }
}

impl Drop for FileIngest {
    /// Whoever takes it up finds everything that was written.
    fn drop(&mut self) {
        // Without the last bytes it goes on from an earlier place.
        let _ = self.flush_behind();
    }
}

impl Write for FileIngest {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        // What is not made durable had better stay in the page cache, where its reader finds it.
        if self.behind.is_none() && self.durability == Durability::Durable {
            self.behind = Behind::new(&self.pool);
        }
        let count = match &mut self.behind {
            Some(behind) => behind.write(&self.file, &self.path, self.offset, buffer)?,
            None => self.file.write_at(buffer, self.offset)?,
        };
        self.hasher.update(&buffer[..count]);
        self.offset += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush_behind()
    }
}

impl Ingest for FileIngest {
    fn id(&self) -> &IngestId {
        &self.id
    }

    fn offset(&self) -> u64 {
        self.offset
    }

    fn takes(&self, bytes: usize) -> bool {
        self.behind
            .as_ref()
            .is_some_and(|behind| behind.takes(bytes))
    }

    fn checkpoint(&mut self) -> io::Result<Checkpoint> {
        self.flush_behind()?;
        if self.durability == Durability::Durable {
            self.file.sync_data().map_err(at(&self.path))?;
        }
        Ok(Checkpoint {
            offset: self.offset,
            algorithm: self.algorithm,
            hash_state: self.hasher.state(),
        })
    }

    fn commit(mut self: Box<Self>, expected: Expected) -> Result<BlobInfo, CommitError> {
        let outcome = self.try_commit(expected);
        if outcome.is_err() {
            // The first error is the one to tell; a file that stays is swept later.
            let _ = fs::remove_file(&self.path);
        }
        outcome
    }

    fn abort(mut self: Box<Self>) -> io::Result<()> {
        self.behind = None;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&self.path)(error)),
            _ => Ok(()),
        }
    }
}

/// Takes the writer's lock. `Ok(false)`: somebody else has it.
pub(super) fn lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether the open file still is the one at `path`: it may have been committed or swept before we had the lock.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata().map_err(at(path))?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok(named.dev() == open.dev() && named.ino() == open.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(path)(error)),
    }
}

fn hash_prefix(file: &mut File, algorithm: Algorithm, length: u64) -> io::Result<Hasher> {
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = algorithm.hasher();
    let mut rest = file.take(length);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match rest.read(&mut buffer) {
            Ok(0) => return Ok(hasher),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
