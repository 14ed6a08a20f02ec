//! What a collection would remove, found out on a copy of the records.

use std::path::Path;

use super::{AdminError, Directory, at};
use crate::clock::Moment;
use crate::config::Collect;
use crate::metadata::{Delays, MetadataStore, SqliteMetadata};
use crate::service::Collected;

/// What would be gone at the moment `when`, if nothing were pushed or deleted until then.
///
/// The registry may be serving; nothing of it changes.
pub fn preview(data: &Path, when: Moment, collect: &Collect) -> Result<Collected, AdminError> {
    let source = Directory::open(data)?;
    let scratch = Scratch::new(data)?;
    source.metadata.copy_to(&scratch.0.join("meta.db"))?;
    let copy = SqliteMetadata::open(scratch.0.join("meta.db"))?;
    let delays = Delays {
        untagged: collect.untagged,
        unreferenced: collect.unreferenced,
    };
    let mut collected = Collected::default();
    // One review leads to others that are due later, so the time until then is lived through.
    while let Some(due) = copy.next_review()?.filter(|due| *due <= when) {
        let reviewed = copy.review(due, delays, 1000)?;
        collected.manifests += reviewed.manifests;
        collected.links += reviewed.links;
        for orphan in &reviewed.orphans {
            if copy.forget_blob(&orphan.digest)? {
                collected.blobs += 1;
                collected.bytes += orphan.size;
            }
        }
    }
    Ok(collected)
}

/// A directory that is gone afterwards.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(data: &Path) -> Result<Self, AdminError> {
        let id = rbuild_store::IngestId::random().map_err(at(data))?;
        let path = data.join(format!("preview-{id}"));
        std::fs::create_dir(&path).map_err(at(&path))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is named for what it is and harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
