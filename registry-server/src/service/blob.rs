//! Blobs: look, read, take, mount, delete.

use std::fs::File;
use std::time::Duration;

use rbuild_image::{Digest, RepositoryName};
use rbuild_store::{BlobInfo, BlobReader, BlobStore, CommitError};

use super::{Error, Registry, Result};
use crate::metadata::{BlobRecord, Freed, MetadataError, Removal, UploadId};

/// A blob, ready to be sent.
#[derive(Debug)]
pub struct OpenBlob {
    /// Digest and length.
    pub blob: BlobInfo,
    /// The content.
    pub content: Content,
}

/// Where the bytes of an open blob are.
#[derive(Debug)]
pub enum Content {
    /// In memory; verified.
    Bytes(Vec<u8>),
    /// In the blob store.
    Reader(Box<dyn BlobReader>),
}

impl Registry {
    /// Digest and length of a blob, and a promise: it will stay for a while, so the client need not push it.
    pub fn stat_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<BlobInfo> {
        let record = self.intact_record(repository, digest)?;
        if record.content.is_none() && self.blobs().stat(digest)?.is_none() {
            return Err(damaged(digest));
        }
        // Renewed only when half of it is over, so that a busy base layer costs few writes.
        let half: Duration = self.0.parts.collect.protect / 2;
        if record.protected_until < self.now().plus(half) {
            let until = self.protected_until();
            match self.metadata().protect_blob(repository, digest, until) {
                // A full disk takes no promise, but the blob is here; whoever pushes a manifest is told if it is not any more.
                Ok(true) | Err(MetadataError::Full) => {}
                Ok(false) => return Err(Error::BlobUnknown(*digest)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(record.blob)
    }

    /// Opens a blob for reading.
    pub fn open_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<OpenBlob> {
        let found = self.find_blob(repository, digest)?;
        let content = match found.content {
            Some(bytes) => Content::Bytes(bytes),
            None => Content::Reader(self.open_stored(digest)?),
        };
        Ok(OpenBlob {
            blob: found.blob,
            content,
        })
    }

    /// Digest, length and, if it is small, verified content of a blob; the content of others is in the blob store.
    pub fn find_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<BlobRecord> {
        self.intact_record(repository, digest)
    }

    /// Opens a blob of the blob store, whatever repository holds it.
    pub fn open_stored(&self, digest: &Digest) -> Result<Box<dyn BlobReader>> {
        self.blobs().open(digest)?.ok_or_else(|| damaged(digest))
    }

    /// The same as a file, with its length in bytes.
    pub fn open_stored_file(&self, digest: &Digest) -> Result<(File, u64)> {
        self.blobs()
            .open_file(digest)?
            .ok_or_else(|| damaged(digest))
    }

    /// The record of a blob; bytes that are in it are verified.
    fn intact_record(&self, repository: &RepositoryName, digest: &Digest) -> Result<BlobRecord> {
        let Some(record) = self.metadata().blob(repository, digest, true)? else {
            return Err(Error::BlobUnknown(*digest));
        };
        if let Some(bytes) = &record.content
            && Digest::of(digest.algorithm(), bytes) != *digest
        {
            tracing::error!(%digest, "a blob is damaged in the database; pushing it again heals it");
            return Err(Error::BlobUnknown(*digest));
        }
        Ok(record)
    }

    /// Stores a small blob that is in memory.
    pub(super) fn put_small(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        bytes: &[u8],
        upload: Option<&UploadId>,
    ) -> Result<BlobInfo> {
        let actual = Digest::of(digest.algorithm(), bytes);
        if actual != digest {
            return Err(Error::DigestMismatch {
                expected: Box::new(digest),
                actual: Box::new(actual),
            });
        }
        let blob = BlobInfo {
            digest,
            size: bytes.len() as u64,
        };
        let _coming = self.coming(&digest);
        let (now, until) = (self.now(), self.protected_until());
        self.metadata()
            .put_blob(repository, blob, Some(bytes), upload, now, until)?;
        Ok(blob)
    }

    /// Lets the repository hold a blob that another one holds, without sending it. `None`: it must be sent.
    ///
    /// Without `from`, any repository will do.
    pub fn mount_blob(
        &self,
        repository: &RepositoryName,
        from: Option<&RepositoryName>,
        digest: &Digest,
    ) -> Result<Option<BlobInfo>> {
        let _coming = self.coming(digest);
        let (now, until) = (self.now(), self.protected_until());
        let mounted = self
            .metadata()
            .mount_blob(repository, from, digest, now, until)?;
        let Some(blob) = mounted else { return Ok(None) };
        // What was mounted is looked at as a HEAD would: a damaged blob must be pushed.
        match self.stat_blob(repository, digest) {
            Ok(_) => Ok(Some(blob)),
            Err(Error::BlobUnknown(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes a blob from a repository, unless a manifest there refers to it.
    pub fn delete_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Freed> {
        let (now, delays) = (self.now(), self.delays());
        match self
            .metadata()
            .unlink_blob(repository, digest, now, delays)?
        {
            Removal::Removed(freed) => Ok(freed),
            Removal::Missing => Err(Error::BlobUnknown(*digest)),
            Removal::InUse(by) => Err(Error::InUse { by }),
        }
    }
}

fn damaged(digest: &Digest) -> Error {
    tracing::error!(%digest, "a blob is damaged or missing on disk; pushing it again heals it");
    Error::BlobUnknown(*digest)
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Digest { expected, actual } => Self::DigestMismatch {
                expected: Box::new(expected),
                actual: Box::new(actual),
            },
            CommitError::Size { expected, .. } => Self::UploadOffset { offset: expected },
            CommitError::Io(error) => error.into(),
        }
    }
}
