//! Content-addressed blobs: ingest, commit, collect.
//!
//! A blob is an immutable run of bytes whose name is its digest.
//! Bytes arrive through an [`Ingest`], are hashed while they are written, and become a blob in one step, [`Ingest::commit`].
//! Before that step nobody can see them; after it everybody sees all of them.
//!
//! Two stores keep the same promises, which the suite `contract` (feature `contract`) holds in tests:
//! [`fs::FsBlobStore`] in a directory that many processes may use at once, and [`memory::MemoryBlobStore`] for tests.
//!
//! What this crate does not do: it knows no names but digests, no images, and no network.

mod blob;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
pub mod fs;
pub mod gc;
pub mod local;
pub mod memory;

pub use blob::{
    BlobInfo, BlobReader, BlobStore, Checkpoint, CommitError, Expected, Ingest, IngestId,
    ParseIngestIdError,
};
pub use fs::{Durability, FsBlobStore};
pub use memory::MemoryBlobStore;
