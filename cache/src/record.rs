//! Records: what came out of a step.

use rbuild_image::{DiffId, Digest};
use serde::{Deserialize, Serialize};

/// The result of one finished step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The layer it made; none when it changed nothing.
    pub layer: Option<LayerRecord>,
    /// When it ended, seconds since the Unix epoch.
    pub created: u64,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// What its key was made of, for explaining a later miss.
    pub ingredients: Vec<Ingredient>,
}

/// A layer as records name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Digest of what the layer holds, without times.
    pub content_id: Digest,
    /// Length of the uncompressed tar in bytes.
    pub size: u64,
}

/// One part of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingredient {
    /// What it is: `command`, `base`, `env PATH`.
    pub label: String,
    /// Digest of its value.
    pub value: Digest,
    /// The value itself where it is short and may be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
}
