//! Making a table of contents, entry by entry.

use std::cmp::Ordering;

use super::super::content::{Attributes, ContentHasher};
use super::super::entry::{self, Entry, Kind};
use super::{EntryRef, FileContent, Toc, TocError, format};

/// What the order of entries has to be, checked as they come.
#[derive(Debug, Default)]
pub(super) struct Order {
    last: Option<(Vec<u8>, bool)>,
    /// The last path that can hold nothing.
    leaf: Option<Vec<u8>>,
}

impl Order {
    pub(super) fn check<B: AsRef<[u8]>>(
        &self,
        path: &[u8],
        kind: &Kind<B>,
    ) -> Result<(), TocError> {
        if let Some((last, last_is_opaque)) = &self.last {
            let opaque = matches!(kind, Kind::Opaque);
            let order = entry::compare_paths(last, path).then(last_is_opaque.cmp(&opaque));
            if order != Ordering::Less {
                return Err(TocError::Order {
                    path: lossy(path),
                    after: lossy(last),
                });
            }
        }
        let leaf = self.leaf.as_deref();
        if let Some(leaf) = leaf.filter(|leaf| entry::is_within(path, leaf)) {
            return Err(TocError::InsideLeaf {
                path: lossy(path),
                leaf: lossy(leaf),
            });
        }
        if path.is_empty() && !matches!(kind, Kind::Directory | Kind::Opaque) {
            return Err(TocError::Root);
        }
        Ok(())
    }

    fn take<B>(&mut self, path: &[u8], kind: &Kind<B>) {
        let (last, opaque) = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(path);
        *opaque = matches!(kind, Kind::Opaque);
        if !matches!(kind, Kind::Directory | Kind::Opaque) {
            let leaf = self.leaf.get_or_insert_default();
            leaf.clear();
            leaf.extend_from_slice(path);
        }
    }

    pub(super) fn next<B: AsRef<[u8]>>(
        &mut self,
        path: &[u8],
        kind: &Kind<B>,
    ) -> Result<(), TocError> {
        self.check(path, kind)?;
        self.take(path, kind);
        Ok(())
    }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Takes entries in canonical order and makes their table, with the content id.
#[derive(Debug)]
pub(crate) struct TocBuilder {
    records: Vec<u8>,
    heap: Vec<u8>,
    order: Order,
    content: ContentHasher,
}

impl TocBuilder {
    pub(crate) fn new() -> Self {
        Self {
            records: Vec::new(),
            heap: Vec::new(),
            order: Order::default(),
            content: ContentHasher::new(),
        }
    }

    /// Whether the entry may come next.
    pub(crate) fn check(&self, entry: &Entry) -> Result<(), TocError> {
        if !entry::is_normal(&entry.path) {
            return Err(TocError::Path {
                path: lossy(&entry.path),
            });
        }
        self.order.check(&entry.path, &entry.kind)
    }

    /// The entry at `path` among those taken so far.
    pub(crate) fn find(&self, path: &[u8]) -> Option<EntryRef<'_>> {
        let records = self.records.as_chunks().0;
        super::find(records, &self.heap, path)
    }

    /// Takes an entry that [`Self::check`] has let through; `content` stands with every file.
    pub(crate) fn push(
        &mut self,
        entry: &Entry,
        content: Option<&FileContent>,
    ) -> Result<(), TocError> {
        if self.records.len() / format::RECORD >= super::MAX_ENTRIES {
            return Err(TocError::TooLarge);
        }
        format::push(&mut self.records, &mut self.heap, entry, content)?;
        self.order.take(&entry.path, &entry.kind);
        self.content.entry(
            &entry.path,
            entry.kind.borrowed(),
            Attributes {
                mode: entry.mode & 0o7777,
                uid: entry.uid,
                gid: entry.gid,
            },
            entry
                .xattrs
                .iter()
                .map(|(name, value)| (name.as_slice(), value.as_slice())),
            content.map(|content| &content.digest),
        );
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Toc, TocError> {
        let too_large = |_| TocError::TooLarge;
        let count = self.records.len() / format::RECORD;
        let stored_count = u32::try_from(count).map_err(too_large)?;
        let heap = u32::try_from(self.heap.len()).map_err(too_large)?;
        let content_id = self.content.finish();
        let mut bytes = Vec::with_capacity(format::HEADER + self.records.len() + self.heap.len());
        bytes.extend_from_slice(format::MAGIC);
        bytes.extend_from_slice(&stored_count.to_le_bytes());
        bytes.extend_from_slice(&heap.to_le_bytes());
        bytes.extend_from_slice(content_id.digest().as_bytes());
        bytes.extend_from_slice(&self.records);
        bytes.extend_from_slice(&self.heap);
        Ok(Toc { bytes, count })
    }
}
