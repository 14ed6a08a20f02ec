//! Blobs as files of one directory.
//!
//! ```text
//! ROOT/
//! ├── blobs/<algorithm>/<first 2 hex digits>/<all hex digits>   immutable content
//! └── ingest/<id>                                               content on its way
//! ```
//!
//! Rules that keep the tree whole, whoever is killed when:
//!
//! - A blob's file appears by renaming a complete, verified ingest over its name, never by writing to it.
//!   Whoever has it open or mapped keeps the old file, which has the same bytes.
//! - A writer holds an exclusive `flock` on its ingest file, so another process can tell a live one from a leftover.
//! - Each blob carries a *seal*, the extended attribute `user.rbuild.seal`: its length and its times of modification and change when it was verified.
//!   A file that no longer agrees with its seal (truncated by a crash, edited, restored from a copy) is hashed again before it is used,
//!   and sealed anew or marked as damaged; a damaged file counts as absent until the same content is committed again.
//!   File systems without extended attributes skip this.
//!
//! Any number of processes may use one directory at once; nothing but the tree itself is shared.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rbuild_image::{Algorithm, Digest};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::{BlobInfo, BlobReader, BlobStore, Checkpoint, Ingest, IngestId};
use behind::Pool;
use layout::{Layout, at};
use seal::Trust;

mod behind;
mod ingest;
mod layout;
mod seal;
mod walk;

/// How hard a store works to keep what it acknowledged through a power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A committed blob is on disk: file and directory are synced before the commit returns.
    Durable,
    /// Nothing is synced. A crash of the machine may lose blobs; what it leaves of them is noticed and counts as absent.
    Fast,
}

/// A blob store in a directory; see the [module](self) for what is in it.
///
/// Clones share one store.
#[derive(Debug, Clone)]
pub struct FsBlobStore {
    layout: Arc<Layout>,
    durability: Durability,
    pool: Pool,
}

/// What [`FsBlobStore::verify`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The content has its digest.
    Intact(BlobInfo),
    /// There is a file, but not with this content; it counts as absent from now on.
    Damaged,
    /// There is no such blob.
    Missing,
}

/// What [`FsBlobStore::sweep`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Number of leftover ingests.
    pub ingests: u64,
    /// Their length together, in bytes.
    pub bytes: u64,
}

impl FsBlobStore {
    /// Opens the store in `root`, and makes its directories where they are missing.
    ///
    /// ```
    /// use std::io::Write;
    /// use rbuild_store::{BlobStore, Durability, Expected, FsBlobStore};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// let store = FsBlobStore::open(directory.path(), Durability::Fast)?;
    /// let mut ingest = store.ingest()?;
    /// ingest.write_all(b"hello")?;
    /// let blob = ingest.commit(Expected::Size(5))?;
    /// assert_eq!(store.stat(&blob.digest)?, Some(blob));
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(root: impl Into<PathBuf>, durability: Durability) -> io::Result<Self> {
        let layout = Layout::new(root.into());
        layout.create(durability)?;
        Ok(Self {
            layout: Arc::new(layout),
            durability,
            pool: Pool::default(),
        })
    }

    /// The same store with another durability, for content that somebody else makes durable.
    #[must_use]
    pub fn with_durability(&self, durability: Durability) -> Self {
        Self {
            layout: Arc::clone(&self.layout),
            durability,
            pool: self.pool.clone(),
        }
    }

    /// The directory of the store.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// Where the blob's file is, or would be. Nothing says that it is there, or whole: see [`Self::open_file`].
    pub fn path_of(&self, digest: &Digest) -> PathBuf {
        self.layout.blob(digest)
    }

    /// Opens the blob's file for reading, with its length; `None` if the blob is not here or damaged.
    pub fn open_file(&self, digest: &Digest) -> io::Result<Option<(File, u64)>> {
        let path = self.layout.blob(digest);
        let Some(file) = open_existing(&path)? else {
            return Ok(None);
        };
        match seal::trust(&file).map_err(at(&path))? {
            Trust::Sealed(size) => Ok(Some((file, size))),
            Trust::Damaged => Ok(None),
            Trust::Unknown => {
                let verdict = examine(&file, digest).map_err(at(&path))?;
                (&file).seek(SeekFrom::Start(0)).map_err(at(&path))?;
                Ok(match verdict {
                    Verdict::Intact(blob) => Some((file, blob.size)),
                    Verdict::Damaged | Verdict::Missing => None,
                })
            }
        }
    }

    /// Reads the whole blob and compares it with its digest, whatever its seal says.
    pub fn verify(&self, digest: &Digest) -> io::Result<Verdict> {
        let path = self.layout.blob(digest);
        match open_existing(&path)? {
            Some(file) => examine(&file, digest).map_err(at(&path)),
            None => Ok(Verdict::Missing),
        }
    }

    /// Removes ingests that nobody is writing and that were last written before `cutoff`.
    pub fn sweep(&self, cutoff: SystemTime) -> io::Result<Swept> {
        walk::sweep(&self.layout, cutoff)
    }

    /// Removes the leftovers of one ingest, unless somebody is writing it. `Ok(false)`: it is being written.
    pub fn discard(&self, id: &IngestId) -> io::Result<bool> {
        walk::discard(&self.layout.ingest(id), None).map(|outcome| outcome != walk::Discard::Busy)
    }

    /// How many bytes of an ingest are here; `None` if there is no such ingest.
    pub fn ingest_length(&self, id: &IngestId) -> io::Result<Option<u64>> {
        let path = self.layout.ingest(id);
        match fs::symlink_metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Visits every ingest that is not committed, with its length in bytes and the time it was last written.
    pub fn walk_ingests(&self, visit: &mut dyn FnMut(IngestId, u64, SystemTime)) -> io::Result<()> {
        walk::ingests(&self.layout, visit)
    }

    /// Writes everything that was committed without syncing to disk, for all blobs at once.
    ///
    /// This syncs the whole file system that the store is on.
    pub fn sync_all(&self) -> io::Result<()> {
        let root = File::open(self.layout.root()).map_err(at(self.layout.root()))?;
        Ok(rustix::fs::syncfs(&root)?)
    }
}

/// Opens a blob's file; `None` if there is none. What is no file is no blob, and is not waited for.
fn open_existing(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file.into(),
        // The last one: a socket.
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(at(path)(error.into())),
    };
    let is_file = file.metadata().map_err(at(path))?.is_file();
    Ok(is_file.then_some(file))
}

/// Hashes an open blob file and seals it with the outcome.
///
/// The seal goes to the open file, not to the name: if the blob was committed anew meanwhile, the new file is left alone.
fn examine(file: &File, digest: &Digest) -> io::Result<Verdict> {
    let before = seal::Stamp::of(file)?;
    let (actual, size) = hash_file(file, digest.algorithm())?;
    let verdict = if actual == *digest {
        Verdict::Intact(BlobInfo {
            digest: *digest,
            size,
        })
    } else {
        Verdict::Damaged
    };
    let sealed = match verdict {
        Verdict::Intact(blob) => Trust::Sealed(blob.size),
        Verdict::Damaged | Verdict::Missing => Trust::Damaged,
    };
    if seal::trust(file).ok() != Some(sealed) {
        // A seal that cannot be written (read-only file system) costs the next reader the same work, nothing else.
        let _ = seal::set(file, before, verdict != Verdict::Damaged);
    }
    Ok(verdict)
}

/// Digest and length of a whole file, from its beginning.
fn hash_file(mut file: &File, algorithm: Algorithm) -> io::Result<(Digest, u64)> {
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = algorithm.hasher();
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), size)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl BlobStore for FsBlobStore {
    fn stat(&self, digest: &Digest) -> io::Result<Option<BlobInfo>> {
        let path = self.layout.blob(digest);
        match seal::trust_path(&path).map_err(at(&path))? {
            None | Some(Trust::Damaged) => Ok(None),
            Some(Trust::Sealed(size)) => Ok(Some(BlobInfo {
                digest: *digest,
                size,
            })),
            Some(Trust::Unknown) => Ok(self.open_file(digest)?.map(|(_, size)| BlobInfo {
                digest: *digest,
                size,
            })),
        }
    }

    fn open(&self, digest: &Digest) -> io::Result<Option<Box<dyn BlobReader>>> {
        Ok(self
            .open_file(digest)?
            .map(|(file, size)| Box::new(FileReader { file, size }) as Box<dyn BlobReader>))
    }

    fn ingest_with(&self, algorithm: Algorithm) -> io::Result<Box<dyn Ingest>> {
        Ok(Box::new(ingest::FileIngest::create(
            Arc::clone(&self.layout),
            self.durability,
            self.pool.clone(),
            algorithm,
        )?))
    }

    fn resume(
        &self,
        id: &IngestId,
        checkpoint: Option<&Checkpoint>,
    ) -> io::Result<Option<Box<dyn Ingest>>> {
        let resumed = ingest::FileIngest::resume(
            Arc::clone(&self.layout),
            self.durability,
            self.pool.clone(),
            id,
            checkpoint,
        )?;
        Ok(resumed.map(|ingest| Box::new(ingest) as Box<dyn Ingest>))
    }

    fn delete(&self, digest: &Digest) -> io::Result<()> {
        let path = self.layout.blob(digest);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => fs::remove_dir(&path),
            removed => removed,
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&path)(error)),
            _ => Ok(()),
        }
    }

    fn walk(&self, visit: &mut dyn FnMut(BlobInfo) -> ControlFlow<()>) -> io::Result<()> {
        walk::blobs(&self.layout, visit)
    }
}

#[derive(Debug)]
struct FileReader {
    file: File,
    size: u64,
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for FileReader {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

impl BlobReader for FileReader {
    fn size(&self) -> u64 {
        self.size
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

#[cfg(test)]
mod tests;
