//! What a blob's file looks like, so that it is noticed when somebody writes to it while it is sent.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// What changes when somebody writes to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}
