//! What the registry knows besides the bytes of blobs: repositories, manifests, tags, references, uploads.
//!
//! Every method of [`MetadataStore`] is one transaction: it happens as a whole and is on disk when it returns, or it does not happen.
//! [`MetadataStore::start_upload`] and [`MetadataStore::delete_uploads`] alone promise less.
//! Rules that span several records (a manifest's blobs must be here, what is referred to is not removed)
//! are checked inside the transaction that depends on them, so no push and no collection can come between.

use std::fmt;

use rbuild_image::{Algorithm, Digest, RepositoryName, Tag};
use rbuild_store::{BlobInfo, IngestId};

use crate::clock::Moment;

#[cfg(test)]
mod contract;
mod event;
mod freed;
mod memory;
mod sqlite;
mod tag;

pub use event::{Change, Event};
pub use memory::MemoryMetadata;
pub use sqlite::SqliteMetadata;
pub use tag::{TagFilter, TagList, TagOrder, TagRecord};

/// Why a transaction did not happen.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The disk is full.
    #[error("no space is left for the metadata")]
    Full,
    /// What is stored cannot be understood.
    #[error("the metadata is damaged: {what}")]
    Damaged {
        /// The record, and what is wrong with it.
        what: String,
    },
    /// The file was written by a newer version.
    #[error("the metadata has version {found}, and this program knows versions up to {known}")]
    Newer {
        /// Version of the file.
        found: u32,
        /// Newest version that we know.
        known: u32,
    },
    /// The store has been shut down.
    #[error("the metadata store is closed")]
    Closed,
    /// The database failed.
    #[error("the metadata store failed")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Result of a transaction.
pub type Result<T, E = MetadataError> = std::result::Result<T, E>;

/// A blob as one repository sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRecord {
    /// Digest and length.
    pub blob: BlobInfo,
    /// The content, if it is kept here rather than in the blob store.
    pub content: Option<Vec<u8>>,
    /// Until when it is kept even if nothing refers to it.
    pub protected_until: Moment,
}

/// What a manifest refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Digest of the target.
    pub target: Digest,
    /// What the target is.
    pub kind: EdgeKind,
    /// Length that the descriptor promises, in bytes.
    pub size: u64,
    /// Whether the manifest is refused if the target is not here.
    pub required: bool,
}

/// What a manifest refers to: a blob, another manifest, or, in an index, something that may be either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EdgeKind {
    /// Config or layer.
    Blob,
    /// Entry of an index, of a manifest's media type.
    Manifest,
    /// Entry of an index, of some other media type.
    Either,
}

/// A manifest as it was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRecord {
    /// Digest of `content`.
    pub digest: Digest,
    /// The media type that it was pushed with.
    pub media_type: String,
    /// Type for the list of referrers: `artifactType`, or the config's media type.
    pub artifact_type: Option<String>,
    /// Annotations, as JSON, for the list of referrers.
    pub annotations: Option<String>,
    /// The manifest that it refers to as its subject.
    pub subject: Option<Digest>,
    /// The very bytes that were pushed.
    pub content: Vec<u8>,
}

/// What a client wants to be true before its tags move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    None,
    /// Every tag is on one of these digests now.
    Matches(Vec<Digest>),
    /// Every tag exists.
    Exists,
    /// No tag exists.
    Absent,
}

impl Precondition {
    /// Whether it holds for a tag that is on this digest now, or does not exist.
    pub fn holds(&self, current: Option<Digest>) -> bool {
        match self {
            Self::None => true,
            Self::Matches(digests) => current.is_some_and(|now| digests.contains(&now)),
            Self::Exists => current.is_some(),
            Self::Absent => current.is_none(),
        }
    }
}

/// A manifest on its way in.
#[derive(Debug, Clone)]
pub struct NewManifest {
    /// The manifest.
    pub record: ManifestRecord,
    /// What it refers to.
    pub edges: Vec<Edge>,
    /// Tags to set.
    pub tags: Vec<Tag>,
    /// What must hold for the tags.
    pub precondition: Precondition,
    /// Now.
    pub now: Moment,
    /// Until when it is kept even if no tag names it.
    pub protected_until: Moment,
}

/// What became of a new manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutManifest {
    /// It is stored, and all tags are on it.
    Stored,
    /// Nothing is stored: these targets are not in the repository.
    Missing(Vec<Edge>),
    /// Nothing is stored: a target has another length than its descriptor says.
    WrongSize {
        /// Digest of the target.
        target: Digest,
        /// Length that the descriptor promises, in bytes.
        promised: u64,
        /// Length of what is here, in bytes.
        actual: u64,
    },
    /// Nothing is stored: the precondition does not hold for this tag, which is on this digest.
    PreconditionFailed {
        /// The tag.
        tag: Tag,
        /// Where it is.
        current: Option<Digest>,
    },
}

/// How a manifest is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestName {
    /// By content.
    Digest(Digest),
    /// By tag.
    Tag(Tag),
}

/// What a removal sets free, with all that only the removed thing kept, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freed {
    /// Bytes of blobs that nothing else refers to, in any repository.
    pub bytes: u64,
    /// Bytes of blobs that something else still refers to.
    pub shared_bytes: u64,
    /// When all of it is given back at the earliest.
    pub at: Moment,
}

/// What became of a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// It is gone.
    Removed(Freed),
    /// It was not here.
    Missing,
    /// It stays, because this manifest of the repository refers to it.
    InUse(Digest),
}

/// A referrer of a subject, as its descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its artifact type.
    pub artifact_type: Option<String>,
    /// Its annotations, as JSON.
    pub annotations: Option<String>,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries, sorted by bytes if nothing else is said.
    pub entries: Vec<T>,
    /// Whether there are more behind the last entry.
    pub more: bool,
}

/// The name of an upload; it has the form of an ingest's.
pub type UploadId = IngestId;

/// An upload that has been started and not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRecord {
    /// Its name.
    pub id: UploadId,
    /// The repository that it was started in.
    pub repository: RepositoryName,
    /// Algorithm that it is expected to end with.
    pub algorithm: Algorithm,
    /// Its bytes so far.
    pub received: Received,
    /// When it was started or last written to.
    pub touched_at: Moment,
}

impl UploadRecord {
    /// Whether it has received nothing.
    pub const fn is_empty(&self) -> bool {
        self.received.offset() == 0
    }
}

/// The bytes that an upload has received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// Few: kept in the record itself.
    Here(Vec<u8>),
    /// Many: on disk in an ingest of the blob store.
    Ingest {
        /// The ingest.
        id: IngestId,
        /// Bytes that are on disk and hashed.
        offset: u64,
        /// State of the hash after `offset` bytes.
        hash_state: Vec<u8>,
    },
}

impl Received {
    /// How many bytes there are.
    pub const fn offset(&self) -> u64 {
        match self {
            Self::Here(bytes) => bytes.len() as u64,
            Self::Ingest { offset, .. } => *offset,
        }
    }
}

/// What a review looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReviewKind {
    /// Is the manifest still tagged, part of an index, or a referrer of something?
    Manifest,
    /// Does a manifest of the repository still refer to the blob?
    Link,
    /// Does any repository still hold the blob?
    Blob,
}

/// Delays of the collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// How long a manifest that nothing names is kept.
    pub untagged: std::time::Duration,
    /// How long a blob that nothing refers to is kept.
    pub unreferenced: std::time::Duration,
}

/// What one round of reviews did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reviewed {
    /// Number of reviews that were due and are done.
    pub reviews: u64,
    /// Manifests that were removed.
    pub manifests: u64,
    /// Links of blobs to repositories that were removed.
    pub links: u64,
    /// Blobs that no repository holds any more.
    ///
    /// Their records are still here: the caller removes record and bytes with [`MetadataStore::forget_blob`],
    /// under a lock that keeps a push of the same blob out.
    pub orphans: Vec<BlobInfo>,
}

/// Numbers for metrics and previews.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Repositories.
    pub repositories: u64,
    /// Manifests, counted once per repository.
    pub manifests: u64,
    /// Tags.
    pub tags: u64,
    /// Distinct blobs.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Uploads that have been started and not ended.
    pub uploads: u64,
    /// Reviews that wait.
    pub reviews: u64,
}

/// Why something is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The repository.
    pub repository: RepositoryName,
    /// From the digest up: each manifest refers to the one before.
    pub path: Vec<Digest>,
    /// Tags on the last manifest of the path.
    pub tags: Vec<Tag>,
    /// Set while it is protected only because it was pushed or asked for lately.
    pub protected_until: Option<Moment>,
}

/// The metadata of a registry.
pub trait MetadataStore: Send + Sync + fmt::Debug {
    /// Whether something was ever pushed to the repository.
    fn has_repository(&self, repository: &RepositoryName) -> Result<bool>;

    /// Repositories behind `after` that hold a blob or a manifest, by bytes.
    fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Page<RepositoryName>>;

    /// The blob, if the repository holds it. The content comes along only if asked for.
    fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        with_content: bool,
    ) -> Result<Option<BlobRecord>>;

    /// Records that the repository holds the blob, and makes the repository if it is new.
    ///
    /// `content` is kept here; without it the bytes are in the blob store already.
    /// The upload that brought it is forgotten.
    fn put_blob(
        &self,
        repository: &RepositoryName,
        blob: BlobInfo,
        content: Option<&[u8]>,
        upload: Option<&UploadId>,
        now: Moment,
        protected_until: Moment,
    ) -> Result<()>;

    /// Lets the repository hold a blob that `from`, or any repository, holds. `None`: it does not.
    fn mount_blob(
        &self,
        repository: &RepositoryName,
        from: Option<&RepositoryName>,
        digest: &Digest,
        now: Moment,
        protected_until: Moment,
    ) -> Result<Option<BlobInfo>>;

    /// Keeps the blob until then at least. `false`: the repository does not hold it.
    fn protect_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        until: Moment,
    ) -> Result<bool>;

    /// If the manifest's review is due before `soon`, puts it off until then.
    fn protect_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        soon: Moment,
        until: Moment,
    ) -> Result<()>;

    /// Takes the blob from the repository, unless a manifest there refers to it.
    fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        now: Moment,
        delays: Delays,
    ) -> Result<Removal>;

    /// Stores a manifest with its edges and tags, if everything it requires is in the repository.
    fn put_manifest(
        &self,
        repository: &RepositoryName,
        manifest: &NewManifest,
        delays: Delays,
    ) -> Result<PutManifest>;

    /// The manifest with this name.
    fn manifest(
        &self,
        repository: &RepositoryName,
        name: &ManifestName,
    ) -> Result<Option<ManifestRecord>>;

    /// Where the tag is, if it does not lead to the manifest `before` any more: it is neither on it nor on an index that
    /// lists it, at whatever depth.
    ///
    /// `None` also if there is no such tag, and if so many indexes list the manifest that it would take long to tell.
    fn moved_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        before: &Digest,
    ) -> Result<Option<Digest>>;

    /// Removes the manifest and every tag on it, unless an index of the repository holds it.
    fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        now: Moment,
        delays: Delays,
    ) -> Result<Removal>;

    /// Removes the tag; the manifest is reviewed later. `None`: there is no such tag.
    fn delete_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        now: Moment,
        delays: Delays,
    ) -> Result<Option<Freed>>;

    /// Tags as wanted; `None` if there is no such repository.
    fn tags(&self, repository: &RepositoryName, list: &TagList) -> Result<Option<Page<TagRecord>>>;

    /// Manifests whose subject this is, behind `after`, sorted by digest, of one artifact type if given.
    fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Page<Referrer>>;

    /// The upload, if it has been started and not ended.
    fn upload(&self, id: &UploadId) -> Result<Option<UploadRecord>>;

    /// Stores an upload that has received nothing, in the place of one with the same name.
    ///
    /// It outlives this process when this returns, but a loss of power may take it until the next transaction of another kind is on disk:
    /// there is nothing yet that a client could lose.
    fn start_upload(&self, upload: &UploadRecord) -> Result<()> {
        self.put_upload(upload)
    }

    /// Stores how far an upload has come.
    fn put_upload(&self, upload: &UploadRecord) -> Result<()>;

    /// Forgets an upload. `false`: there was none.
    fn delete_upload(&self, id: &UploadId) -> Result<bool>;

    /// Forgets uploads; those that are not here are passed over. Some may be gone when it fails: they are independent of each other.
    fn delete_uploads(&self, ids: &[UploadId]) -> Result<()> {
        for id in ids {
            self.delete_upload(id)?;
        }
        Ok(())
    }

    /// How many uploads have received nothing. It takes longer the more uploads there are.
    fn empty_uploads(&self) -> Result<u64>;

    /// Whether an upload has its bytes in this ingest.
    fn names_ingest(&self, id: &IngestId) -> Result<bool>;

    /// Uploads that were started or last written to before `cutoff`, the longest ago first.
    fn stale_uploads(&self, cutoff: Moment, limit: usize) -> Result<Vec<UploadId>>;

    /// Does up to `limit` reviews that are due: removes what nothing keeps, and queues what that leaves behind.
    ///
    /// Earlier ones come first; of equally late ones manifests before links before blobs, then by digest.
    fn review(&self, now: Moment, delays: Delays, limit: usize) -> Result<Reviewed>;

    /// When the next review is due.
    fn next_review(&self) -> Result<Option<Moment>>;

    /// Removes the record of a blob that no repository holds. `false`: it is held again.
    fn forget_blob(&self, digest: &Digest) -> Result<bool>;

    /// The same for several, each for itself; those that went, in the same order.
    fn forget_blobs(&self, blobs: &[BlobInfo]) -> Result<Vec<BlobInfo>> {
        let mut gone = Vec::new();
        for blob in blobs {
            if self.forget_blob(&blob.digest)? {
                gone.push(*blob);
            }
        }
        Ok(gone)
    }

    /// Every blob whose bytes are in the blob store, behind `after`, sorted by digest.
    fn stored_blobs(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobInfo>>;

    /// Content that is kept here, small blobs and manifests, behind `after`, sorted by digest.
    fn contents(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<(Digest, Vec<u8>)>>;

    /// Whether the blob is recorded, in whatever repository.
    fn knows_blob(&self, digest: &Digest) -> Result<bool>;

    /// Why the content with this digest is kept; empty if nothing keeps it.
    fn holders(&self, digest: &Digest, now: Moment) -> Result<Vec<Holder>>;

    /// What happened after the event with the number `after`, in order.
    fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>>;

    /// Removes events from before `cutoff`, and tells how many. The newest stays.
    fn forget_events(&self, cutoff: Moment) -> Result<u64>;

    /// Counts everything.
    fn totals(&self) -> Result<Totals>;
}
