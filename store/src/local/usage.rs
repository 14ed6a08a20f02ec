//! What the store takes on disk, and what of it could go.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::collect::Tenant;
use super::{Area, LocalStore, file};
use crate::BlobStore;

/// Things of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many.
    pub count: u64,
    /// What they take on disk, in bytes.
    pub bytes: u64,
}

/// What the store takes on disk. The parts are disjoint and add up to [`DiskUsage::total`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Blobs that images reach.
    pub images: Usage,
    /// Blobs that only the build cache reaches.
    pub cache_blobs: Usage,
    /// Blobs that nothing reaches, and what unfinished or killed writers left; a prune takes them.
    pub unused: Usage,
    /// Unpacked layers.
    pub snapshots: Usage,
    /// The cache index and cache mounts.
    pub cache: Usage,
    /// Digests of context files.
    pub stat_cache: Usage,
    /// Names, image records, tables of contents, directories.
    pub index: Usage,
    /// Directories that could not be read, and are not counted: rootless builds have files of subordinate ids.
    pub unreadable: u64,
}

impl DiskUsage {
    /// All of it, in bytes.
    pub const fn total(&self) -> u64 {
        self.images.bytes
            + self.cache_blobs.bytes
            + self.unused.bytes
            + self.snapshots.bytes
            + self.cache.bytes
            + self.stat_cache.bytes
            + self.index.bytes
    }
}

impl LocalStore {
    /// Measures the store.
    pub fn disk_usage(&self, tenants: &[&dyn Tenant]) -> io::Result<DiskUsage> {
        let by_images = self.mark(true, &[])?;
        let by_all = self.mark(true, tenants)?;
        let mut usage = DiskUsage::default();
        let mut blobs = Usage::default();
        self.blobs().walk(&mut |blob| {
            let part = if by_images.blob(&blob.digest) {
                &mut usage.images
            } else if by_all.blob(&blob.digest) {
                &mut usage.cache_blobs
            } else {
                &mut usage.unused
            };
            if let Ok(metadata) = fs::symlink_metadata(self.blobs().path_of(&blob.digest)) {
                for part in [part, &mut blobs] {
                    part.count += 1;
                    part.bytes += metadata.blocks() * 512;
                }
            }
            ControlFlow::Continue(())
        })?;
        let mut walk = Walk::default();
        for (area, part) in [
            (Area::Snapshots, &mut usage.snapshots),
            (Area::Cache, &mut usage.cache),
            (Area::StatCache, &mut usage.stat_cache),
        ] {
            *part = walk.measure(&self.dir(area))?;
        }
        let leftovers = [self.dir(Area::Tmp), self.blobs().root().join("ingest")];
        for directory in leftovers {
            let left = walk.measure(&directory)?;
            usage.unused.count += left.count;
            usage.unused.bytes += left.bytes;
        }
        // Directories that were measured are not entered again.
        let rest = walk.measure(self.root())?;
        usage.index = Usage {
            count: rest.count.saturating_sub(blobs.count),
            bytes: rest.bytes.saturating_sub(blobs.bytes),
        };
        usage.unreadable = walk.unreadable;
        Ok(usage)
    }
}

impl LocalStore {
    /// What an area takes on disk.
    pub fn area_usage(&self, area: Area) -> io::Result<Usage> {
        Walk::default().measure(&self.dir(area))
    }
}

/// Counts every file and directory once, hard links included.
#[derive(Debug, Default)]
struct Walk {
    seen: HashSet<(u64, u64)>,
    unreadable: u64,
}

impl Walk {
    /// What is below `root` and was not counted before. The count is of files, the bytes are of directories too.
    fn measure(&mut self, root: &Path) -> io::Result<Usage> {
        let mut usage = Usage::default();
        let Ok(metadata) = fs::symlink_metadata(root) else {
            return Ok(usage);
        };
        self.count(&metadata, &mut usage);
        let mut waiting = vec![root.to_owned()];
        while let Some(directory) = waiting.pop() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    self.unreadable += 1;
                    continue;
                }
                Err(error) => return Err(file::at(&directory)(error)),
            };
            for entry in entries.flatten() {
                // What goes meanwhile takes nothing.
                let Ok(metadata) = entry.metadata() else {
                    continue;
                };
                if self.count(&metadata, &mut usage) && metadata.is_dir() {
                    waiting.push(entry.path());
                }
            }
        }
        Ok(usage)
    }

    /// `false`: it was counted before.
    fn count(&mut self, metadata: &Metadata, usage: &mut Usage) -> bool {
        let shared = metadata.is_dir() || metadata.nlink() > 1;
        if shared && !self.seen.insert((metadata.dev(), metadata.ino())) {
            return false;
        }
        usage.bytes += metadata.blocks() * 512;
        usage.count += u64::from(!metadata.is_dir());
        true
    }
}
