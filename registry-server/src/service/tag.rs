//! Tags and repositories: lists, and untagging.

use rbuild_image::{RepositoryName, Tag};

use super::{Error, Registry, Result};
use crate::metadata::{Freed, Page, TagList, TagRecord};

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

    /// Removes a tag, and leaves the manifest to the collection.
    pub fn delete_tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Freed> {
        let (now, delays) = (self.now(), self.delays());
        self.metadata()
            .delete_tag(repository, tag, now, delays)?
            .ok_or_else(|| Error::ManifestUnknown(tag.to_string()))
    }
}
