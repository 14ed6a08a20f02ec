//! The images of one user: names, image records, layers and what is derived from them, beside their blobs.
//!
//! ```text
//! ROOT/v1/
//! ├── content/                blobs, a [`FsBlobStore`](crate::fs): manifests, configs, layers
//! ├── names/<key>             one file for each name: reference and descriptor of its manifest;
//! │                           the key is the SHA-256 of the complete reference
//! ├── images/<hex>            one file for each image manifest: descriptor, image id, creation;
//! │                           its modification time is when it was last used
//! ├── layers/<hex>.packed     the compressed blobs of a layer, by diff id, newest first
//! ├── layers/<hex>.toc        the table of contents of a layer, its content id and size, by diff id
//! ├── cache/                  the cache index and cache mounts; kept by crate `cache`
//! ├── snapshots/              unpacked layers; kept by the builder
//! ├── stat-cache/             digests of context files; kept by the builder
//! ├── tmp/<id>, tmp/<id>.lock temporary directories, each with the lock of its owner
//! ├── sessions.lock           shared by everyone who works, exclusive for a sweep
//! └── index.lock              held for the moment of a read-modify-write
//! ```
//!
//! Rules that keep the tree whole, whoever is killed when:
//!
//! - Every small file appears by renaming a complete one over its name. A file that does not parse
//!   (a machine that crashed) counts as absent.
//! - Bytes before names when writing, names before bytes when removing: what a crash leaves is garbage, never a dangling name.
//! - Whoever stores bytes before it names them holds a [`Session`]; a sweep waits for all sessions to end.
//! - The uncompressed tar of a layer is the blob whose digest is the diff id, so it needs no record of its own.
//!
//! Any number of processes may use one root at once.

mod collect;
mod file;
mod image;
mod layer;
mod lock;
mod name;
mod scratch;
mod toc;
mod transient;
mod usage;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Durability, FsBlobStore};

pub use collect::{Live, PruneScope, Pruned, Root, Tenant};
pub use image::{Found, ImageRecord, Lookup};
pub use lock::Session;
pub use scratch::Scratch;
pub use usage::{DiskUsage, Usage};

/// A directory of the store that another crate fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Area {
    /// Unpacked layers.
    Snapshots,
    /// The cache index and cache mounts.
    Cache,
    /// Digests of context files.
    StatCache,
    /// Temporary directories; see [`LocalStore::scratch`].
    Tmp,
}

impl Area {
    const ALL: [Self; 4] = [Self::Snapshots, Self::Cache, Self::StatCache, Self::Tmp];

    const fn directory(self) -> &'static str {
        match self {
            Self::Snapshots => "snapshots",
            Self::Cache => "cache",
            Self::StatCache => "stat-cache",
            Self::Tmp => "tmp",
        }
    }
}

/// The images of one user; see the [module](self) for what is where.
///
/// Clones share one store.
#[derive(Debug, Clone)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    version: PathBuf,
    blobs: FsBlobStore,
    tables: toc::Tables,
}

impl LocalStore {
    /// Opens the store in `root`, and makes it where it is missing, readable by its owner alone.
    ///
    /// ```
    /// use rbuild_store::local::LocalStore;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// let store = LocalStore::open(directory.path())?;
    /// assert!(store.names()?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(root: &Path) -> io::Result<Self> {
        let root = std::path::absolute(root)?;
        let version = root.join("v1");
        if !version.join("index.lock").is_file() {
            create(&root, &version)?;
        }
        Ok(Self {
            inner: Arc::new(Inner {
                blobs: FsBlobStore::open(version.join("content"), Durability::Fast)?,
                tables: toc::Tables::default(),
                root,
                version,
            }),
        })
    }

    /// The directory that was opened, absolute.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// The blobs.
    pub fn blobs(&self) -> &FsBlobStore {
        &self.inner.blobs
    }

    /// Where an area is; the directory exists.
    pub fn dir(&self, area: Area) -> PathBuf {
        self.inner.version.join(area.directory())
    }

    fn path(&self, parts: &[&str]) -> PathBuf {
        let mut path = self.inner.version.clone();
        path.extend(parts);
        path
    }
}

fn create(root: &Path, version: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    if let Some(parent) = root.parent() {
        builder.create(parent).map_err(file::at(parent))?;
    }
    builder.mode(0o700);
    let areas = Area::ALL.map(Area::directory);
    for directory in ["names", "images", "layers"].iter().chain(&areas) {
        let path = version.join(directory);
        builder.create(&path).map_err(file::at(&path))?;
    }
    lock::create(&version.join("sessions.lock"))?;
    // Last: its presence says that everything above is there.
    lock::create(&version.join("index.lock"))
}

#[cfg(test)]
mod tests;
