//! Names of images (distribution-spec, "Pulling manifests"; Docker's reference grammar for what people type).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// The registry of names without one.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// A repository in a registry: path components of lower-case letters and digits, at most 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName(Box<str>);

/// A tag: 1 to 128 of letters, digits, `_`, `.`, `-`, the first no `.` or `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(Box<str>);

/// The name of an image as people type it, made complete: `busybox` is `docker.io/library/busybox:latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Host, with a port where one was given.
    pub registry: Box<str>,
    /// Repository.
    pub repository: RepositoryName,
    /// Tag; `latest` when neither tag nor digest was given.
    pub tag: Option<Tag>,
    /// Digest; it wins over the tag.
    pub digest: Option<Digest>,
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseReferenceError {
    /// There is nothing.
    #[error("an image name is empty")]
    Empty,
    /// The repository breaks the grammar.
    #[error(
        "`{0}` is no repository name (lower-case letters and digits, with `.`, `_`, `__` or `-` between them, parts separated by `/`, at most 255 bytes)"
    )]
    Repository(String),
    /// The tag breaks the grammar.
    #[error(
        "`{0}` is no tag (at most 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`)"
    )]
    Tag(String),
    /// The registry is no host.
    #[error("`{0}` is no registry host")]
    Registry(String),
    /// The digest is malformed.
    #[error("malformed digest in an image name")]
    Digest(#[from] crate::ParseDigestError),
}

impl RepositoryName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepositoryName {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() <= 255 && text.split('/').all(is_component) {
            Ok(Self(text.into()))
        } else {
            Err(ParseReferenceError::Repository(shorten(text)))
        }
    }
}

impl Tag {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag of names without one.
    pub fn latest() -> Self {
        Self("latest".into())
    }
}

impl FromStr for Tag {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let mut bytes = text.bytes();
        let well_formed = text.len() <= 128
            && bytes.next().is_some_and(word)
            && bytes.all(|b| word(b) || b == b'.' || b == b'-');
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err(ParseReferenceError::Tag(shorten(text)))
        }
    }
}

impl Reference {
    /// What the registry is asked for: the digest, or else the tag.
    pub fn manifest_name(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.as_str().to_owned(),
            (None, None) => Tag::latest().as_str().to_owned(),
        }
    }

    /// As people write it: without the registry and `library/` where they go without saying.
    pub fn familiar(&self) -> String {
        let mut text = String::new();
        let repository = self.repository.as_str();
        if *self.registry == *DEFAULT_REGISTRY {
            text.push_str(
                repository
                    .strip_prefix("library/")
                    .filter(|rest| !rest.contains('/'))
                    .unwrap_or(repository),
            );
        } else {
            text.push_str(&self.registry);
            text.push('/');
            text.push_str(repository);
        }
        self.push_suffix(&mut text);
        text
    }

    /// The name without tag and digest, as people write it.
    pub fn familiar_name(&self) -> String {
        Self {
            tag: None,
            digest: None,
            ..self.clone()
        }
        .familiar()
    }

    /// The same repository with another tag and no digest.
    #[must_use]
    pub fn with_tag(&self, tag: Tag) -> Self {
        Self {
            tag: Some(tag),
            digest: None,
            ..self.clone()
        }
    }

    /// The same repository by digest.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    fn push_suffix(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag.as_str());
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}/{}", self.registry, self.repository.as_str());
        self.push_suffix(&mut text);
        f.write_str(&text)
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    /// ```
    /// use rbuild_image::Reference;
    /// let reference: Reference = "busybox".parse()?;
    /// assert_eq!(reference.to_string(), "docker.io/library/busybox:latest");
    /// # Ok::<(), rbuild_image::ParseReferenceError>(())
    /// ```
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParseReferenceError::Empty);
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.parse::<Tag>()?)),
            _ => (name, None),
        };
        let (registry, path) = split_registry(name)?;
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("library/{path}").parse()
        } else {
            path.parse::<RepositoryName>()
        };
        let repository = repository.map_err(|_| ParseReferenceError::Repository(shorten(path)))?;
        let tag = tag.or_else(|| digest.is_none().then(Tag::latest));
        Ok(Self {
            registry: registry.into(),
            repository,
            tag,
            digest,
        })
    }
}

/// The first component is a registry when it holds a `.` or `:`, is `localhost`, or has an upper-case letter.
fn split_registry(name: &str) -> Result<(&str, &str), ParseReferenceError> {
    let Some((first, rest)) = name.split_once('/') else {
        return Ok((DEFAULT_REGISTRY, name));
    };
    let is_registry = first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase());
    if !is_registry {
        return Ok((DEFAULT_REGISTRY, name));
    }
    if !is_host(first) {
        return Err(ParseReferenceError::Registry(shorten(first)));
    }
    match first {
        "index.docker.io" => Ok((DEFAULT_REGISTRY, rest)),
        _ => Ok((first, rest)),
    }
}

fn is_host(text: &str) -> bool {
    let port_is_good =
        |port: &str| port.parse::<u16>().is_ok() && port.bytes().all(|b| b.is_ascii_digit());
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, tail)) = rest.split_once(']') else {
            return false;
        };
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (tail.is_empty() || tail.strip_prefix(':').is_some_and(port_is_good));
    }
    let (host, port) = text
        .split_once(':')
        .map_or((text, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        edge(label.bytes().next())
            && edge(label.bytes().last())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(port_is_good)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !is_word(*first) || !is_word(*last) {
        return false;
    }
    bytes.split(|b| is_word(*b)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

/// Bad input may be long; an error message is not.
fn shorten(text: &str) -> String {
    text.chars().take(300).collect()
}

macro_rules! text_conversions {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = ParseReferenceError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.into()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
text_conversions!(RepositoryName);
text_conversions!(Tag);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_complete() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, want) in [
            ("busybox", "docker.io/library/busybox:latest".to_owned()),
            ("team/app:1", "docker.io/team/app:1".to_owned()),
            ("localhost/app", "localhost/app:latest".to_owned()),
            ("localhost:5000/app", "localhost:5000/app:latest".to_owned()),
            (
                "127.0.0.1:5000/a/b/c:V1",
                "127.0.0.1:5000/a/b/c:V1".to_owned(),
            ),
            ("[::1]:5000/app", "[::1]:5000/app:latest".to_owned()),
            ("index.docker.io/x", "docker.io/library/x:latest".to_owned()),
            (
                &format!("a@{digest}"),
                format!("docker.io/library/a@{digest}"),
            ),
            (&format!("r.io/a:t@{digest}"), format!("r.io/a:t@{digest}")),
        ] {
            assert_eq!(
                text.parse::<Reference>().unwrap().to_string(),
                want,
                "{text}"
            );
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        let long = "a".repeat(256);
        for text in [
            "",
            ":",
            "a:",
            "A",
            "a/B",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a//b",
            "/a",
            "a:.x",
            "a:b c",
            "r.io:x/a",
            "r.io:99999/a",
            "a@sha256:00",
            "..",
            "a/../b",
            "[::1/a",
            "é",
            &long,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn familiar_names_leave_out_what_goes_without_saying() {
        for (text, want) in [
            ("docker.io/library/busybox:1", "busybox:1"),
            ("docker.io/a/b", "a/b:latest"),
            ("localhost:5000/x:1", "localhost:5000/x:1"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().familiar(), want);
        }
    }
}
