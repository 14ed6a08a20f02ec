//! Taking over images from elsewhere, without a server beside it.
//!
//! What is here already is not copied again, so an import that was broken off goes on where it was.

use rbuild_image::Tag;

mod layout;
mod remote;
mod target;

pub use layout::import;
pub use remote::{Event, Origin, ParseOriginError, import_remote};

/// How deep indexes, and referrers of referrers, may stand in each other.
const DEPTH: usize = 8;

/// What was imported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Manifests and indexes.
    pub manifests: u64,
    /// Blobs that were copied.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Tags that were set.
    pub tags: Vec<Tag>,
    /// Names that could not be imported; each was told.
    pub failed: u64,
}
