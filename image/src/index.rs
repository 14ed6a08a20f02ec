//! Image indexes, OCI's and Docker's manifest lists (image-spec, image-index.md).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Descriptor, MediaType, Platform};

/// A list of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Its own media type; optional in OCI's first version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// Type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests, in order of preference.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free key-value pairs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields that we do not know; kept.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Index {
    /// An OCI index of `manifests`.
    pub fn oci(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType::INDEX),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
            other: Map::new(),
        }
    }

    /// The first image manifest that runs on `wanted`.
    pub fn choose(&self, wanted: &Platform) -> Option<&Descriptor> {
        let exact = |d: &&Descriptor| {
            d.platform
                .as_ref()
                .is_some_and(|own| own.satisfies(wanted) && own.variant == wanted.variant)
        };
        let near = |d: &&Descriptor| d.platform.as_ref().is_some_and(|own| own.satisfies(wanted));
        self.manifests
            .iter()
            .find(exact)
            .or_else(|| self.manifests.iter().find(near))
    }
}
