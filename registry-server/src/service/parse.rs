//! Reading a manifest as far as a registry must: its type and what it refers to. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rbuild_image::{Digest, MediaType};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::metadata::{Edge, EdgeKind};

/// The artifact manifest of OCI 1.1's drafts, which some clients still push.
const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";

/// What a registry must know of a manifest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) media_type: String,
    pub(crate) artifact_type: Option<String>,
    pub(crate) annotations: Option<String>,
    pub(crate) subject: Option<Digest>,
    pub(crate) edges: Vec<Edge>,
}

/// Why it cannot be taken: a sentence for the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Invalid(String),
    Unsupported(String),
}

/// All fields of all kinds of manifest that matter here; the rest of the document is kept as bytes and not looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object of JSON")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Target>,
    layers: Option<Vec<Target>>,
    blobs: Option<Vec<Target>>,
    manifests: Option<Vec<Target>>,
    subject: Option<Target>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(
    rename_all = "camelCase",
    expecting = "a descriptor: an object with `mediaType`, `digest` and `size`"
)]
struct Target {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    urls: Option<Vec<String>>,
}

/// Characters of a client's text that an answer repeats.
const SHOWN: usize = 300;

/// How deep lists and objects may stand in each other; deeper ones break the parsers of clients.
const DEPTH: usize = 64;

/// How deep lists and objects stand in each other.
fn depth(content: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in content {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Any JSON that every reader takes: fields that are passed over may otherwise hold text that is no Unicode.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while let Some(Self) = list.next_element()? {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while let Some((Self, Self)) = map.next_entry()? {}
        Ok(self)
    }
}

/// As much of a client's text as an answer repeats.
fn shown(text: &str) -> String {
    if text.chars().nth(SHOWN).is_none() {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(SHOWN).collect();
    short.push('…');
    short
}

/// What kind of manifest a media type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image,
    Index,
    Artifact,
}

/// Which manifests may name what is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sparse {
    /// Indexes may name manifests.
    pub indexes: bool,
    /// Images and artifacts may name blobs.
    pub images: bool,
}

/// Reads a manifest that was sent with this content type.
pub(crate) fn parse(
    content_type: Option<&str>,
    content: &[u8],
    sparse: Sparse,
) -> Result<Parsed, Refusal> {
    if depth(content) > DEPTH {
        return Err(Refusal::Invalid(format!(
            "the manifest is nested deeper than {DEPTH} levels"
        )));
    }
    // The error quotes what it does not like, however long that is.
    let invalid = |error: serde_json::Error| {
        Refusal::Invalid(format!(
            "the manifest is not valid: {}",
            shown(&error.to_string())
        ))
    };
    let document: Document = serde_json::from_slice(content).map_err(invalid)?;
    let Strict = serde_json::from_slice(content).map_err(invalid)?;
    if document.schema_version == Some(1) {
        return Err(Refusal::Unsupported(
            "the manifest has Docker's schema version 1, which is not taken any more; push it with Docker 1.10 or later, as schema version 2".to_owned(),
        ));
    }
    let media_type = media_type(content_type, &document)?;
    let kind = kind(&media_type).ok_or_else(|| {
        Refusal::Unsupported(format!(
            "manifests of type `{}` are not taken; those of OCI (image manifest, index) and of Docker (schema 2, manifest list) are",
            shown(&media_type)
        ))
    })?;
    if kind != Kind::Artifact && document.schema_version != Some(2) {
        return Err(Refusal::Invalid(
            "the manifest must have `schemaVersion` 2".to_owned(),
        ));
    }
    let edges = edges(kind, &document, sparse)?;
    let config_type = document.config.map(|config| config.media_type);
    Ok(Parsed {
        media_type,
        artifact_type: document
            .artifact_type
            .filter(|text| !text.is_empty())
            .or(config_type.filter(|text| !text.is_empty())),
        annotations: document
            .annotations
            .filter(|map| !map.is_empty())
            .and_then(|map| serde_json::to_string(&map).ok()),
        subject: document.subject.map(|subject| subject.digest),
        edges,
    })
}

fn media_type(content_type: Option<&str>, document: &Document) -> Result<String, Refusal> {
    // Parameters such as a charset say nothing about the manifest.
    let sent = content_type
        .map(|text| text.split(';').next().unwrap_or(text).trim())
        .filter(|text| !text.is_empty());
    match (sent, document.media_type.as_deref()) {
        (Some(sent), Some(own)) if sent != own => Err(Refusal::Invalid(format!(
            "the manifest says that its `mediaType` is `{}`, and was sent with `Content-Type: {}`; both must be the same",
            shown(own),
            shown(sent)
        ))),
        (Some(text), _) | (None, Some(text)) => Ok(text.to_owned()),
        (None, None) if document.manifests.is_some() => Ok(MediaType::INDEX.as_str().to_owned()),
        (None, None) if document.config.is_some() => Ok(MediaType::MANIFEST.as_str().to_owned()),
        (None, None) => Err(Refusal::Invalid(
            "the manifest has no media type; send a `Content-Type`".to_owned(),
        )),
    }
}

fn kind(media_type: &str) -> Option<Kind> {
    let known = MediaType::new(media_type);
    if known.is_manifest() {
        Some(Kind::Image)
    } else if known.is_index() {
        Some(Kind::Index)
    } else if media_type == ARTIFACT {
        Some(Kind::Artifact)
    } else {
        None
    }
}

fn edges(kind: Kind, document: &Document, sparse: Sparse) -> Result<Vec<Edge>, Refusal> {
    let mut edges = BTreeSet::new();
    let mut blob = |target: &Target, may_be_elsewhere: bool| {
        edges.insert(Edge {
            target: target.digest,
            kind: EdgeKind::Blob,
            size: target.size,
            required: !(sparse.images || may_be_elsewhere && is_foreign(target)),
        });
    };
    match kind {
        Kind::Image => {
            if document.manifests.is_some() {
                return Err(both_kinds());
            }
            let Some(config) = &document.config else {
                return Err(Refusal::Invalid(
                    "an image manifest must have a `config`".to_owned(),
                ));
            };
            blob(config, false);
            for layer in document.layers.iter().flatten() {
                blob(layer, true);
            }
        }
        Kind::Artifact => {
            for target in document.blobs.iter().flatten() {
                blob(target, true);
            }
        }
        Kind::Index => {
            if document.config.is_some() || document.layers.is_some() {
                return Err(both_kinds());
            }
            let Some(manifests) = &document.manifests else {
                return Err(Refusal::Invalid(
                    "an index must have a list of `manifests`".to_owned(),
                ));
            };
            for target in manifests {
                let is_manifest = self::kind(&target.media_type).is_some();
                edges.insert(Edge {
                    target: target.digest,
                    kind: if is_manifest {
                        EdgeKind::Manifest
                    } else {
                        EdgeKind::Either
                    },
                    size: target.size,
                    required: !sparse.indexes,
                });
            }
        }
    }
    Ok(edges.into_iter().collect())
}

/// A document that is an image to one reader and an index to another would be two things under one digest.
fn both_kinds() -> Refusal {
    Refusal::Invalid(
        "the manifest has fields of an image and of an index; it must be one of them".to_owned(),
    )
}

/// Layers that may be fetched elsewhere only, such as those of Windows base images.
fn is_foreign(target: &Target) -> bool {
    target.urls.as_ref().is_some_and(|urls| !urls.is_empty())
        || target.media_type.contains(".nondistributable.")
        || target.media_type.contains(".foreign.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn target(letter: char, media_type: &str) -> String {
        let digest = digest(letter);
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":3}}"#)
    }

    #[track_caller]
    fn check_refused(content_type: Option<&str>, content: &str, words: &str) {
        match parse(content_type, content.as_bytes(), Sparse::default()) {
            Err(Refusal::Invalid(text) | Refusal::Unsupported(text)) => {
                assert!(text.contains(words), "{text}");
            }
            Ok(parsed) => panic!("taken: {parsed:?}"),
        }
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_a_reason() {
        let config = target('a', "application/vnd.oci.image.config.v1+json");
        check_refused(Some(IMAGE), "", "not valid");
        check_refused(Some(IMAGE), "[]", "expected an object of JSON");
        check_refused(Some(IMAGE), r#"{"config":"x"}"#, "expected a descriptor");
        check_refused(Some(IMAGE), "{}", "schemaVersion");
        check_refused(Some(IMAGE), r#"{"schemaVersion":2}"#, "config");
        check_refused(Some(INDEX), r#"{"schemaVersion":2}"#, "manifests");
        check_refused(None, r#"{"schemaVersion":2}"#, "Content-Type");
        check_refused(Some("text/plain"), r#"{"schemaVersion":2}"#, "text/plain");
        check_refused(Some(IMAGE), r#"{"schemaVersion":1}"#, "schema version 1");
        check_refused(
            Some(IMAGE),
            &format!(r#"{{"schemaVersion":2,"config":{config},"manifests":[]}}"#),
            "one of them",
        );
        check_refused(
            Some(IMAGE),
            &format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]}}"#),
            "both must be the same",
        );
        check_refused(
            Some(IMAGE),
            r#"{"schemaVersion":2,"config":{"digest":"sha256:0","size":1}}"#,
            "not valid",
        );
        let deep = format!(
            r#"{{"schemaVersion":2,"x":{}1{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        check_refused(Some(IMAGE), &deep, "nested deeper");
        let no_unicode = format!(r#"{{"schemaVersion":2,"config":{config},"x":"\ud800"}}"#);
        check_refused(Some(IMAGE), &no_unicode, "not valid");
    }

    #[test]
    fn a_refusal_does_not_repeat_all_that_was_sent() {
        let long = "x".repeat(1 << 20);
        for (content_type, content) in [
            (Some(long.as_str()), r#"{"schemaVersion":2}"#.to_owned()),
            (
                Some(IMAGE),
                format!(r#"{{"schemaVersion":2,"mediaType":"{long}"}}"#),
            ),
            (Some(IMAGE), format!(r#"{{"schemaVersion":"{long}"}}"#)),
            (
                None,
                format!(r#"{{"schemaVersion":2,"mediaType":"{long}"}}"#),
            ),
        ] {
            match parse(content_type, content.as_bytes(), Sparse::default()) {
                Err(Refusal::Invalid(text) | Refusal::Unsupported(text)) => {
                    assert!(text.len() < 2000, "{}", text.len());
                }
                Ok(_) => panic!("taken"),
            }
        }
    }

    #[test]
    fn an_image_needs_its_blobs_except_those_from_elsewhere() {
        let content = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{},{}],"subject":{}}}"#,
            target('a', "application/x-config"),
            target('b', "application/vnd.oci.image.layer.v1.tar"),
            target(
                'c',
                "application/vnd.oci.image.layer.nondistributable.v1.tar"
            ),
            target('d', IMAGE),
        );
        let parsed = parse(Some(IMAGE), content.as_bytes(), Sparse::default()).expect("taken");
        let required: Vec<_> = parsed.edges.iter().map(|edge| edge.required).collect();
        assert_eq!(required, [true, true, false]);
        assert_eq!(
            parsed.artifact_type.as_deref(),
            Some("application/x-config")
        );
        assert_eq!(parsed.subject.map(|d| d.to_string()), Some(digest('d')));
    }

    #[test]
    fn an_index_may_list_blobs_that_are_no_manifests() {
        let content = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
            target('a', IMAGE),
            target('b', "application/vnd.buildkit.cacheconfig.v0"),
        );
        let parsed = parse(None, content.as_bytes(), Sparse::default()).expect("taken");
        let kinds: Vec<_> = parsed.edges.iter().map(|edge| edge.kind).collect();
        assert_eq!(kinds, [EdgeKind::Manifest, EdgeKind::Either]);
        assert_eq!(parsed.media_type, INDEX);
        let indexes = Sparse {
            indexes: true,
            images: false,
        };
        let sparse = parse(None, content.as_bytes(), indexes).expect("taken");
        assert!(sparse.edges.iter().all(|edge| !edge.required));
    }
}
