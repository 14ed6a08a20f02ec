//! The table of contents of a layer: its sorted entries, with where the bytes of each file stand in the tar.
//!
//! It answers questions about a layer without the layer: what is at a path, what is below it.
//! It is one run of bytes that is searched in place; nothing is decoded that is not asked for.

mod build;
mod format;

use std::fmt;
use std::ops::Range;

use super::content::ContentId;
use super::entry::{self, Entry, Kind, Time};
use crate::Digest;

pub(crate) use build::TocBuilder;
pub use format::Xattrs;
use format::{HEADER, RECORD, Record};

/// The most entries that one layer may hold.
pub const MAX_ENTRIES: usize = 16 << 20;

/// Why bytes are no table of contents, or entries cannot make one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TocError {
    /// They are of another version, or something else altogether.
    #[error("not a table of contents of this version")]
    Version,
    /// Something in it is not as it must be.
    #[error("table of contents is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// A path is not in the form of [`Entry::path`].
    #[error("`{path}` is no path inside a layer")]
    Path {
        /// The path.
        path: String,
    },
    /// Entries are not in canonical order, or one comes twice.
    #[error("entry `{path}` comes after `{after}`")]
    Order {
        /// The later one.
        path: String,
        /// The one before it.
        after: String,
    },
    /// Something lies inside what is no directory.
    #[error("entry `{path}` is inside `{leaf}`, which is no directory")]
    InsideLeaf {
        /// The inner one.
        path: String,
        /// The outer one.
        leaf: String,
    },
    /// The root is something else than a directory.
    #[error("the root of a layer is a directory and nothing else")]
    Root,
    /// There are more entries, or longer ones, than the format holds.
    #[error("the layer has too many entries")]
    TooLarge,
}

/// The content of a regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileContent {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// How many bytes.
    pub size: u64,
    /// Where they begin in the uncompressed tar.
    pub offset: u64,
}

/// The sorted entries of one layer.
#[derive(Clone, PartialEq, Eq)]
pub struct Toc {
    bytes: Vec<u8>,
    count: usize,
}

impl Toc {
    /// Reads the form that [`Self::as_bytes`] has; everything in it is checked.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, TocError> {
        let count = format::wide(format::validate(&bytes)?);
        Ok(Self { bytes, count })
    }

    /// The bytes to keep.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// The content id of the layer.
    pub fn content_id(&self) -> ContentId {
        let bytes = self.bytes[16..HEADER].first_chunk().copied();
        ContentId::from_digest(Digest::Sha256(bytes.unwrap_or_default()))
    }

    /// How many entries it has.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether it has no entry.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn records(&self) -> &[[u8; RECORD]] {
        self.bytes[HEADER..HEADER + self.count * RECORD]
            .as_chunks()
            .0
    }

    fn heap(&self) -> &[u8] {
        &self.bytes[HEADER + self.count * RECORD..]
    }

    /// The entry at position `index` of the order; none past the end.
    pub fn get(&self, index: usize) -> Option<EntryRef<'_>> {
        EntryRef::new(self.records(), self.heap(), index)
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = EntryRef<'_>> + ExactSizeIterator {
        self.range(0..self.count)
    }

    /// The entries at these positions; positions past the end are left out.
    pub fn range(
        &self,
        range: Range<usize>,
    ) -> impl DoubleEndedIterator<Item = EntryRef<'_>> + ExactSizeIterator {
        let end = range.end.min(self.count);
        let start = range.start.min(end);
        let (records, heap) = (self.records(), self.heap());
        records[start..end]
            .iter()
            .enumerate()
            .map(move |(index, bytes)| EntryRef {
                record: Record { bytes, heap },
                index: start + index,
            })
    }

    /// The entry at `path`; an [`Kind::Opaque`] mark is found by [`Self::is_opaque`] only.
    pub fn find(&self, path: &[u8]) -> Option<EntryRef<'_>> {
        find(self.records(), self.heap(), path)
    }

    /// Whether the layer marks the directory at `path` as opaque.
    pub fn is_opaque(&self, path: &[u8]) -> bool {
        let start = lower_bound(self.records(), self.heap(), path);
        self.range(start..start + 2)
            .any(|entry| entry.record.is_opaque() && entry.path() == path)
    }

    /// The positions of the entry at `path` and of all below it. It is empty where the layer has neither.
    pub fn subtree(&self, path: &[u8]) -> Range<usize> {
        let (records, heap) = (self.records(), self.heap());
        let start = lower_bound(records, heap, path);
        start..self.end_of_subtree(path, start..self.count)
    }

    /// Where the subtree of `path` ends, of which `within` begins inside.
    pub(crate) fn end_of_subtree(&self, path: &[u8], within: Range<usize>) -> usize {
        let (records, heap) = (self.records(), self.heap());
        let inside = |index: usize| {
            let bytes = &records[index];
            entry::is_within(Record { bytes, heap }.path(), path)
        };
        // Most subtrees are small: look near the start, in growing steps, before halving.
        let (mut low, mut step) = (within.start, 1);
        while low + step <= within.end && inside(low + step - 1) {
            low += step;
            step *= 2;
        }
        let mut high = (low + step).min(within.end);
        while low < high {
            let middle = low.midpoint(high);
            if inside(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl Default for Toc {
    /// The table of an empty layer.
    fn default() -> Self {
        let mut bytes = format::MAGIC.to_vec();
        bytes.extend_from_slice(&[0; 8]);
        let content_id = super::content::ContentHasher::new().finish();
        bytes.extend_from_slice(content_id.digest().as_bytes());
        Self { bytes, count: 0 }
    }
}

impl fmt::Debug for Toc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Toc")
            .field("entries", &self.count)
            .field("content_id", &self.content_id())
            .finish_non_exhaustive()
    }
}

/// The first position whose path does not come before `path`.
fn lower_bound(records: &[[u8; RECORD]], heap: &[u8], path: &[u8]) -> usize {
    records
        .partition_point(|bytes| entry::compare_paths(Record { bytes, heap }.path(), path).is_lt())
}

fn find<'a>(records: &'a [[u8; RECORD]], heap: &'a [u8], path: &[u8]) -> Option<EntryRef<'a>> {
    let found = EntryRef::new(records, heap, lower_bound(records, heap, path))?;
    (found.path() == path && !found.record.is_opaque()).then_some(found)
}

/// One entry of a table of contents, read in place.
#[derive(Clone, Copy)]
pub struct EntryRef<'a> {
    record: Record<'a>,
    index: usize,
}

impl<'a> EntryRef<'a> {
    fn new(records: &'a [[u8; RECORD]], heap: &'a [u8], index: usize) -> Option<Self> {
        let record = Record {
            bytes: records.get(index)?,
            heap,
        };
        Some(Self { record, index })
    }

    /// Its position in the order.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// See [`Entry::path`].
    pub fn path(&self) -> &'a [u8] {
        self.record.path()
    }

    /// What it is.
    pub fn kind(&self) -> Kind<&'a [u8]> {
        self.record.kind()
    }

    /// See [`Entry::mode`].
    pub fn mode(&self) -> u32 {
        self.record.mode()
    }

    /// Owner.
    pub fn uid(&self) -> u32 {
        self.record.uid()
    }

    /// Group.
    pub fn gid(&self) -> u32 {
        self.record.gid()
    }

    /// When it was last modified.
    pub fn mtime(&self) -> Time {
        self.record.mtime()
    }

    /// Its extended attributes, by name.
    pub fn xattrs(&self) -> Xattrs<'a> {
        self.record.xattrs()
    }

    /// Where its bytes are; of files only.
    pub fn content(&self) -> Option<FileContent> {
        self.record.content()
    }

    /// All of it as an entry of its own.
    pub fn to_entry(&self) -> Entry {
        Entry {
            path: self.path().to_vec(),
            kind: self.kind().to_owned(),
            mode: self.mode(),
            uid: self.uid(),
            gid: self.gid(),
            mtime: self.mtime(),
            xattrs: self
                .xattrs()
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect(),
        }
    }
}

impl fmt::Debug for EntryRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_entry(), f)
    }
}
