//! What can go wrong, in the registry's own words.

use std::io;

use rbuild_image::{Digest, RepositoryName, Tag};

use crate::metadata::MetadataError;

/// Result of a registry call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was ever pushed there.
    #[error("repository `{0}` is not known here")]
    RepositoryUnknown(RepositoryName),
    /// The repository does not hold the blob.
    #[error("the repository holds no blob `{0}`")]
    BlobUnknown(Digest),
    /// The repository has no such manifest.
    #[error("the repository has no manifest `{0}`")]
    ManifestUnknown(String),
    /// There is no such upload.
    #[error("there is no such upload")]
    UploadUnknown,
    /// Another request is writing to the upload.
    #[error("another request is writing to this upload")]
    UploadBusy,
    /// The chunk does not follow what is here.
    #[error("the upload has {offset} bytes, so the next chunk must start there")]
    UploadOffset {
        /// Bytes that are here.
        offset: u64,
    },
    /// There are too many uploads that have not received anything.
    #[error("too many uploads have been started and not continued")]
    TooManyUploads,
    /// The content is longer than the registry takes.
    #[error("the content is longer than the {limit} bytes that are allowed")]
    TooLarge {
        /// The bound in bytes.
        limit: u64,
    },
    /// The content is not what its digest says.
    #[error("the content has digest `{actual}`, not `{expected}`")]
    DigestMismatch {
        /// The promised digest.
        expected: Box<Digest>,
        /// The digest of what came.
        actual: Box<Digest>,
    },
    /// The manifest is not one.
    #[error("{0}")]
    ManifestInvalid(String),
    /// The manifest is of a type that is not taken.
    #[error("{0}")]
    ManifestUnsupported(String),
    /// The manifest refers to what the repository does not have.
    #[error("the manifest refers to content that the repository does not have")]
    ReferencesUnknown(Vec<Digest>),
    /// A descriptor of the manifest promises another length than the content has.
    #[error("`{target}` has {actual} bytes, not {promised} as the manifest says")]
    ReferenceSize {
        /// The target.
        target: Digest,
        /// The promised length in bytes.
        promised: u64,
        /// The length in bytes.
        actual: u64,
    },
    /// The tag is not where the client thought.
    #[error("tag `{tag}` is not where `If-Match` or `If-None-Match` wants it")]
    PreconditionFailed {
        /// The tag.
        tag: Tag,
        /// Where it is.
        current: Option<Digest>,
    },
    /// Something refers to what should be deleted.
    #[error("manifest `{by}` refers to it")]
    InUse {
        /// The manifest.
        by: Digest,
    },
    /// The disk is nearly full.
    #[error("the disk is nearly full")]
    NoSpace,
    /// Files could not be read or written.
    #[error("the blob store failed")]
    Store(#[source] io::Error),
    /// Records could not be read or written.
    #[error("the metadata store failed")]
    Metadata(#[source] MetadataError),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Store(error),
        }
    }
}

impl From<MetadataError> for Error {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::Full => Self::NoSpace,
            other => Self::Metadata(other),
        }
    }
}
