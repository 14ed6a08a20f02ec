//! Tags and repositories: lists, and untagging.

use rbuild_image::{RepositoryName, Tag};

use super::{Error, Registry, Result};
use crate::metadata::{Page, TagList, TagRecord};

impl Registry {
    /// Tags as wanted.
    pub fn tags(&self, repository: &RepositoryName, list: &TagList) -> Result<Page<TagRecord>> {
        self.metadata()
            .tags(repository, list)?
            .ok_or_else(|| Error::RepositoryUnknown(repository.clone()))
    }

    /// Repositories behind `after`, sorted by bytes.
    pub fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Page<RepositoryName>> {
        Ok(self.metadata().repositories(after, limit)?)
    }

    /// Removes a tag, and leaves the manifest.
    pub fn delete_tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<()> {
        let (now, delays) = (self.now(), self.delays());
        if self.metadata().delete_tag(repository, tag, now, delays)? {
            Ok(())
        } else {
            Err(Error::ManifestUnknown(tag.to_string()))
        }
    }
}
