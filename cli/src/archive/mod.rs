//! Archives of images: docker's (`docker save`) and OCI layouts in a tar.
//!
//! What we write is both at once: an OCI layout, and in docker's format also the `manifest.json` of `docker save`.
//! Layers are written as they are stored, so an image keeps its manifest and digest.

mod read;
mod stream;
mod write;

pub(crate) use read::read;
pub(crate) use write::{Saved, write};

use serde::{Deserialize, Serialize};

/// An entry of docker's `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    /// Path of the config.
    config: String,
    /// Names.
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    /// Paths of the layers, lowest first.
    #[serde(default)]
    layers: Option<Vec<String>>,
}
