//! The rules of a registry: what may be pushed, when it is visible, what is kept. No HTTP.
//!
//! All methods block; whoever serves them from an event loop calls them on threads for that.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rbuild_image::Digest;
use rbuild_store::{BlobInfo, FsBlobStore};

use crate::clock::{Clock, Moment};
use crate::config::{Collect, Limits};
use crate::metadata::{self, Delays, MetadataStore};
use crate::session::Sessions;

mod blob;
mod collect;
mod error;
mod manifest;
pub(crate) mod parse;
mod referrer;
mod tag;
mod upload;
mod warning;

pub use blob::{Content, OpenBlob};
pub use collect::Collected;
pub use error::{Error, Result};
pub use manifest::{PushManifest, PushedManifest};
pub use parse::Sparse;
pub use referrer::Referrers;
pub use upload::UploadWriter;
pub use warning::{DEPRECATED, Puller, Warning};

/// Blobs up to this many bytes are kept in the database: they share the commit of their record.
pub const SMALL_BLOB: usize = 64 << 10;

/// A registry. Clones share it.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

/// What a registry is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where large blobs are.
    pub blobs: FsBlobStore,
    /// Everything else.
    pub metadata: Arc<dyn MetadataStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub limits: Limits,
    /// Delays of the collection.
    pub collect: Collect,
    /// Which manifests may name what is not here.
    pub sparse: Sparse,
    /// Hosts that names of images here may begin with, besides the one that a client asks by.
    pub names: Vec<String>,
}

struct Shared {
    parts: Parts,
    sessions: Sessions,
    /// Held for reading while a blob's bytes and its record come to be, for writing while they go.
    comings: [RwLock<()>; 64],
    /// The file system whose free space counts.
    disk: PathBuf,
}

impl Registry {
    /// A registry of these parts; an error if its records cannot be read.
    pub fn new(parts: Parts) -> metadata::Result<Self> {
        let empty_uploads = parts.metadata.empty_uploads()?;
        Ok(Self(Arc::new(Shared {
            disk: parts.blobs.root().to_owned(),
            parts,
            sessions: Sessions::new(empty_uploads),
            comings: [const { RwLock::new(()) }; 64],
        })))
    }

    /// The bounds that it was made with.
    pub fn limits(&self) -> &Limits {
        &self.0.parts.limits
    }

    /// When it collects.
    pub fn collect_settings(&self) -> Collect {
        self.0.parts.collect
    }

    /// Whether it could take a push now.
    pub fn check_ready(&self) -> Result<()> {
        self.check_space()?;
        // Any question will do, so one that is cheap: probes come often.
        self.metadata().next_review()?;
        Ok(())
    }

    /// The metadata below.
    pub fn metadata(&self) -> &dyn MetadataStore {
        &*self.0.parts.metadata
    }

    /// The blob store below.
    pub fn blobs(&self) -> &FsBlobStore {
        &self.0.parts.blobs
    }

    fn now(&self) -> Moment {
        self.0.parts.clock.now()
    }

    fn protected_until(&self) -> Moment {
        self.now().plus(self.0.parts.collect.protect)
    }

    fn delays(&self) -> Delays {
        Delays {
            untagged: self.0.parts.collect.untagged,
            unreferenced: self.0.parts.collect.unreferenced,
        }
    }

    /// Keeps the collection away from a blob while its bytes and its record are written.
    fn coming(&self, digest: &Digest) -> RwLockReadGuard<'_, ()> {
        // The lock guards no value that a panic could leave half changed.
        self.lock_of(digest)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps pushes away from a blob while its record and its bytes are removed.
    fn going(&self, digest: &Digest) -> RwLockWriteGuard<'_, ()> {
        self.lock_of(digest)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for several blobs at once.
    fn all_going(&self, blobs: &[BlobInfo]) -> Vec<RwLockWriteGuard<'_, ()>> {
        // Each lock once, and always in the same order: no two that wait for each other.
        let places: BTreeSet<usize> = blobs.iter().map(|b| self.place_of(&b.digest)).collect();
        places
            .into_iter()
            .map(|place| {
                self.0.comings[place]
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
            })
            .collect()
    }

    fn lock_of(&self, digest: &Digest) -> &RwLock<()> {
        &self.0.comings[self.place_of(digest)]
    }

    fn place_of(&self, digest: &Digest) -> usize {
        usize::from(digest.as_bytes()[0]) % self.0.comings.len()
    }

    /// Keeps removals of blobs and copies of the whole registry apart; `None` while a copy is made.
    fn removing(&self) -> Result<Option<std::fs::File>> {
        Ok(crate::admin::removal_lock(self.blobs().root(), false)?)
    }

    /// Refuses what would fill the disk to the point where reads and deletes fail.
    fn check_space(&self) -> Result<()> {
        let (free, reserve) = self.space()?;
        if free < reserve {
            return Err(Error::NoSpace);
        }
        Ok(())
    }

    /// Free bytes on the disk of the blobs, and those that pushes must leave.
    fn space(&self) -> Result<(u64, u64)> {
        let disk = rustix::fs::statvfs(&self.0.disk).map_err(std::io::Error::from)?;
        let total_bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
        let limits = self.limits();
        let share = total_bytes / 100 * limits.reserve_percent;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        Ok((free, limits.reserve_bytes.min(share)))
    }

    /// Free bytes on the disk of the blobs.
    pub fn free_bytes(&self) -> Result<u64> {
        Ok(self.space()?.0)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("parts", &self.0.parts)
            .finish_non_exhaustive()
    }
}
