//! A parsed JSON document together with the bytes that it was parsed from.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Descriptor, Digest, MediaType};

/// A document and its bytes. The bytes are what is stored, sent and hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw<T> {
    bytes: Vec<u8>,
    value: T,
}

impl<T: DeserializeOwned> Raw<T> {
    /// Reads a document and keeps its bytes.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, serde_json::Error> {
        let value = serde_json::from_slice(&bytes)?;
        Ok(Self { bytes, value })
    }
}

impl<T: Serialize> Raw<T> {
    /// Writes a document of our own: compact JSON, fields in the order of the type, maps sorted.
    pub fn write(value: T) -> Result<Self, serde_json::Error> {
        let bytes = serde_json::to_vec(&value)?;
        Ok(Self { bytes, value })
    }
}

impl<T> Raw<T> {
    /// The parsed form.
    pub const fn value(&self) -> &T {
        &self.value
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The SHA-256 digest of the bytes.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.bytes)
    }

    /// The descriptor of the bytes.
    pub fn descriptor(&self, media_type: MediaType) -> Descriptor {
        Descriptor::of(media_type, &self.bytes)
    }

    /// Both parts.
    pub fn into_parts(self) -> (Vec<u8>, T) {
        (self.bytes, self.value)
    }
}
