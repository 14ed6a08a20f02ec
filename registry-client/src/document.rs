//! What kind of document some bytes are, whatever a registry calls them.

use rbuild_image::MediaType;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::InvalidImage;

/// The fields that tell manifests, indexes and Docker's first format apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

/// The media type of a manifest or index: what it says itself, else the header, else by its fields.
///
/// A document that could be read as both is refused: two readers would see two images behind one digest.
pub(crate) fn media_type(
    bytes: &[u8],
    content_type: Option<&str>,
) -> Result<MediaType, InvalidImage> {
    let malformed = |reason: String| InvalidImage::Malformed {
        what: "manifest",
        reason,
    };
    let outline: Outline =
        serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    if outline.schema_version == Some(1) || outline.fs_layers.is_some() {
        return Err(InvalidImage::Schema1);
    }
    let is_index = outline.manifests.is_some();
    let is_manifest = outline.config.is_some() || outline.layers.is_some();
    if is_index && is_manifest {
        return Err(InvalidImage::Ambiguous);
    }
    if !is_index && !is_manifest {
        return Err(malformed(
            "it has neither `manifests` nor `config`".to_owned(),
        ));
    }
    let known = |text: &str| {
        let media_type = MediaType::new(text);
        (media_type.is_index() || media_type.is_manifest()).then_some(media_type)
    };
    let said = match (&outline.media_type, content_type) {
        (Some(own), _) => match known(own) {
            Some(media_type) => Some(media_type),
            None => {
                return Err(InvalidImage::MediaType {
                    what: "manifest",
                    media_type: crate::error::printable(own, 200),
                });
            }
        },
        (None, Some(header)) => known(header),
        (None, None) => None,
    };
    let by_fields = if is_index {
        MediaType::INDEX
    } else {
        MediaType::MANIFEST
    };
    match said {
        Some(media_type) if media_type.is_index() == is_index => Ok(media_type),
        Some(media_type) => Err(malformed(format!(
            "it says that it is a `{media_type}`, and has the fields of another type"
        ))),
        None => Ok(by_fields),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
    const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

    #[test]
    fn the_type_is_found_wherever_it_stands() {
        for (body, header, want) in [
            (
                r#"{"schemaVersion":2,"config":{},"layers":[]}"#,
                Some(OCI),
                MediaType::MANIFEST,
            ),
            (
                r#"{"schemaVersion":2,"config":{},"layers":[]}"#,
                None,
                MediaType::MANIFEST,
            ),
            (
                r#"{"schemaVersion":2,"config":{}}"#,
                Some("application/json"),
                MediaType::MANIFEST,
            ),
            (
                r#"{"schemaVersion":2,"manifests":[]}"#,
                Some("text/plain"),
                MediaType::INDEX,
            ),
            (
                r#"{"schemaVersion":2,"manifests":[]}"#,
                Some(LIST),
                MediaType::DOCKER_MANIFEST_LIST,
            ),
            (
                r#"{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{}}"#,
                Some("application/octet-stream"),
                MediaType::DOCKER_MANIFEST,
            ),
        ] {
            assert_eq!(media_type(body.as_bytes(), header), Ok(want), "{body}");
        }
    }

    #[test]
    fn what_is_no_image_is_refused_with_its_reason() {
        for (body, header, want) in [
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, None, "schema 1"),
            (r#"{"layers":[],"manifests":[]}"#, None, "two ways"),
            (
                r#"{"mediaType":"application/x","config":{}}"#,
                None,
                "application/x",
            ),
            (r#"{"config":{}}"#, Some(LIST), "another type"),
            (r#"{"a":1}"#, Some(OCI), "neither"),
            ("[]", Some(OCI), "invalid length"),
            ("<html>", Some(OCI), "expected value"),
        ] {
            let error = media_type(body.as_bytes(), header).unwrap_err().to_string();
            assert!(error.contains(want), "{body}: {error}");
        }
    }
}
