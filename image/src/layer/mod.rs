//! Layers: tars of changes to a root file system (image-spec, layer.md).
//!
//! [`LayerWriter`] makes the canonical form, [`scan`] reads anybody's, both in one pass that yields the
//! identities of the layer and its [`Toc`]. [`Rootfs`] shows a stack of tables as the file system that it is.
//! Nothing here opens a file: readers and writers are passed in.

pub mod compress;
pub mod content;
pub mod entry;
mod hash;
pub mod reader;
#[cfg(test)]
mod tests;
pub mod toc;
pub mod tree;
pub mod writer;

pub use content::ContentId;
pub use entry::{
    Entry, Kind, Time, compare_paths, file_name, is_normal, is_within, join, normalise_path, parent,
};
pub use reader::{LayerError, scan};
pub use toc::{EntryRef, FileContent, Toc, TocError};
pub use tree::{Node, ResolveError, Resolved, Rootfs};
pub use writer::LayerWriter;

use crate::DiffId;

/// What one pass over a layer finds out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSummary {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// What the layer holds, whatever its times.
    pub content_id: ContentId,
    /// Length of the uncompressed tar in bytes.
    pub size: u64,
    /// Its sorted entries.
    pub toc: Toc,
    /// Bytes of the contents of all files.
    pub file_bytes: u64,
    /// Number of entries.
    pub entries: u64,
}
