//! Media types of manifests, configs and layers (image-spec, media-types.md; Docker's image manifest v2).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A media type; any text, with names for those that we know.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(std::borrow::Cow<'static, str>);

/// How a layer's tar is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Plain tar.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl MediaType {
    /// OCI image manifest.
    pub const MANIFEST: Self = Self::known("application/vnd.oci.image.manifest.v1+json");
    /// OCI image index.
    pub const INDEX: Self = Self::known("application/vnd.oci.image.index.v1+json");
    /// OCI image config.
    pub const CONFIG: Self = Self::known("application/vnd.oci.image.config.v1+json");
    /// OCI layer, plain tar.
    pub const LAYER: Self = Self::known("application/vnd.oci.image.layer.v1.tar");
    /// OCI layer, gzip.
    pub const LAYER_GZIP: Self = Self::known("application/vnd.oci.image.layer.v1.tar+gzip");
    /// OCI layer, Zstandard.
    pub const LAYER_ZSTD: Self = Self::known("application/vnd.oci.image.layer.v1.tar+zstd");
    /// The empty JSON object of artifacts.
    pub const EMPTY: Self = Self::known("application/vnd.oci.empty.v1+json");
    /// Docker image manifest, schema 2.
    pub const DOCKER_MANIFEST: Self =
        Self::known("application/vnd.docker.distribution.manifest.v2+json");
    /// Docker manifest list.
    pub const DOCKER_MANIFEST_LIST: Self =
        Self::known("application/vnd.docker.distribution.manifest.list.v2+json");
    /// Docker image config.
    pub const DOCKER_CONFIG: Self = Self::known("application/vnd.docker.container.image.v1+json");
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: Self =
        Self::known("application/vnd.docker.image.rootfs.diff.tar.gzip");
    /// Docker layer, plain tar.
    pub const DOCKER_LAYER: Self = Self::known("application/vnd.docker.image.rootfs.diff.tar");

    const fn known(text: &'static str) -> Self {
        Self(std::borrow::Cow::Borrowed(text))
    }

    /// Any media type.
    pub fn new(text: impl Into<String>) -> Self {
        Self(std::borrow::Cow::Owned(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an image manifest, OCI's or Docker's.
    pub fn is_manifest(&self) -> bool {
        *self == Self::MANIFEST || *self == Self::DOCKER_MANIFEST
    }

    /// Whether it is a list of manifests, OCI's or Docker's.
    pub fn is_index(&self) -> bool {
        *self == Self::INDEX || *self == Self::DOCKER_MANIFEST_LIST
    }

    /// Whether it is an image config, OCI's or Docker's.
    pub fn is_config(&self) -> bool {
        *self == Self::CONFIG || *self == Self::DOCKER_CONFIG
    }

    /// How a layer of this media type is compressed; none when it is no layer that we know.
    pub fn layer_compression(&self) -> Option<Compression> {
        let text = self.as_str();
        let is_layer = text.starts_with("application/vnd.oci.image.layer.")
            || text.starts_with("application/vnd.docker.image.rootfs.");
        if !is_layer {
            return None;
        }
        // Behind `+` in OCI's types, behind the last dot in Docker's.
        match text.rsplit(['+', '.']).next() {
            Some("gzip") => Some(Compression::Gzip),
            Some("zstd") => Some(Compression::Zstd),
            Some("tar") => Some(Compression::None),
            _ => None,
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_tell_their_compression() {
        let cases = [
            (MediaType::LAYER, Some(Compression::None)),
            (MediaType::LAYER_GZIP, Some(Compression::Gzip)),
            (MediaType::LAYER_ZSTD, Some(Compression::Zstd)),
            (MediaType::DOCKER_LAYER_GZIP, Some(Compression::Gzip)),
            (
                MediaType::new("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
                Some(Compression::Gzip),
            ),
            (MediaType::CONFIG, None),
            (
                MediaType::new("application/vnd.oci.image.layer.v1.tar+encrypted"),
                None,
            ),
        ];
        for (media_type, want) in cases {
            assert_eq!(media_type.layer_compression(), want, "{media_type}");
        }
    }
}
