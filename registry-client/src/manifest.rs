//! Manifests: looked up, fetched, hashed, put.

use rbuild_image::{Descriptor, Reference};

use crate::{Client, Result};

/// The largest manifest that is read or sent, in bytes (distribution-spec asks registries for at least this).
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// The largest image config that is read, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// A manifest or index, its bytes hashed by us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// The bytes as the registry sent them.
    pub bytes: Vec<u8>,
}

impl Client {
    /// What a name stands for now. Asks with HEAD, which costs nothing of a pull limit, and with GET where that does not help.
    ///
    /// The digest is the registry's claim where HEAD answered; [`Self::manifest`] checks it.
    pub async fn resolve(&self, reference: &Reference) -> Result<Descriptor> {
        unimplemented!("{reference}")
    }

    /// Fetches a manifest or index by tag or digest and hashes it.
    pub async fn manifest(&self, reference: &Reference) -> Result<Document> {
        unimplemented!("{reference}")
    }
}
