//! Collecting: removing every blob that nobody names.
//!
//! This is mark and sweep for a store whose users can say at one moment what they keep, such as the local store of a builder.
//! It knows nothing of names; the caller marks.
//! A registry, where pushes go on meanwhile, decides by its own records instead.

use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;

use rbuild_image::Digest;

use crate::{BlobInfo, BlobStore};

/// The blobs to keep.
#[derive(Debug, Clone, Default)]
pub struct Marked(HashSet<Digest>);

/// What a sweep did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Blobs that stay.
    pub kept_blobs: u64,
    /// Their length together, in bytes.
    pub kept_bytes: u64,
    /// Blobs that went.
    pub removed_blobs: u64,
    /// Their length together, in bytes.
    pub removed_bytes: u64,
}

impl Marked {
    /// Nothing marked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Marks a blob. `true`: it was not marked before, so what it refers to is still to be marked.
    pub fn mark(&mut self, digest: Digest) -> bool {
        self.0.insert(digest)
    }

    /// Whether a blob is marked.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.0.contains(digest)
    }
}

/// Removes every blob that is not marked and that `spare` does not want to keep (because it is young, for example).
///
/// With `dry_run` nothing is removed, and the report says what would be.
///
/// ```
/// use std::io::Write;
/// use rbuild_store::{BlobStore, Expected, MemoryBlobStore, gc};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryBlobStore::new();
/// let mut ingest = store.ingest()?;
/// ingest.write_all(b"nobody wants me")?;
/// ingest.commit(Expected::Any)?;
/// let report = gc::sweep(&store, &gc::Marked::new(), &mut |_| false, false)?;
/// assert_eq!((report.removed_blobs, report.removed_bytes), (1, 15));
/// # Ok(())
/// # }
/// ```
pub fn sweep(
    store: &dyn BlobStore,
    marked: &Marked,
    spare: &mut dyn FnMut(BlobInfo) -> bool,
    dry_run: bool,
) -> io::Result<Report> {
    let mut report = Report::default();
    let mut doomed = Vec::new();
    store.walk(&mut |blob| {
        if marked.contains(&blob.digest) || spare(blob) {
            report.kept_blobs += 1;
            report.kept_bytes += blob.size;
        } else {
            report.removed_blobs += 1;
            report.removed_bytes += blob.size;
            doomed.push(blob.digest);
        }
        ControlFlow::Continue(())
    })?;
    if !dry_run {
        for digest in &doomed {
            store.delete(digest)?;
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::{Expected, MemoryBlobStore};

    #[test]
    fn only_what_is_neither_marked_nor_spared_goes() {
        let store = MemoryBlobStore::new();
        let put = |content: &[u8]| {
            let mut ingest = store.ingest().expect("ingest");
            ingest.write_all(content).expect("write");
            ingest.commit(Expected::Any).expect("commit").digest
        };
        let (kept, young, doomed) = (put(b"kept"), put(b"young"), put(b"doomed"));
        let mut marked = Marked::new();
        assert!(marked.mark(kept));
        assert!(!marked.mark(kept));
        let mut spare = |blob: BlobInfo| blob.digest == young;

        let preview = sweep(&store, &marked, &mut spare, true).expect("dry run");
        assert!(store.stat(&doomed).expect("stat").is_some());
        let report = sweep(&store, &marked, &mut spare, false).expect("sweep");

        assert_eq!(preview, report);
        assert_eq!((report.removed_blobs, report.removed_bytes), (1, 6));
        assert!(store.stat(&doomed).expect("stat").is_none());
        assert!(store.stat(&kept).expect("stat").is_some());
        assert!(store.stat(&young).expect("stat").is_some());
    }
}
