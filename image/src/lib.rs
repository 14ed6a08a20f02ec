//! OCI image types: what builder, store, client and registry mean by *digest*, *descriptor*, *manifest*.
//!
//! No I/O of its own: readers and writers are passed in.
//! Parsed documents keep unknown fields, and [`Raw`] keeps the very bytes of a foreign document,
//! because a manifest that is written again in other bytes is another manifest.

pub mod annotations;
pub mod chain;
pub mod config;
pub mod descriptor;
pub mod digest;
pub mod index;
pub mod layer;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod raw;
pub mod reference;
pub mod validate;

pub use chain::{ChainId, DiffId};
pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, Hasher, ParseDigestError, VerifyReader};
pub use index::Index;
pub use manifest::Manifest;
pub use media_type::{Compression, MediaType};
pub use platform::Platform;
pub use raw::Raw;
pub use reference::{ParseReferenceError, Reference, RepositoryName, Tag};
