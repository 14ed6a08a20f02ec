//! Platforms: operating system, architecture, variant (image-spec, image-index.md, "platform").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where an image runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture in Go's words: `amd64`, `arm64`.
    pub architecture: String,
    /// Operating system in Go's words: `linux`.
    pub os: String,
    /// Version of the operating system.
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// Variant of the CPU: `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Fields that we do not know; kept.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Why a text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no platform (it has the form `os/architecture` or `os/architecture/variant`, as in `linux/arm64`)"
)]
pub struct ParsePlatformError(String);

impl Platform {
    /// A platform by its parts; the architecture's common other names are normalised.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = normalise(architecture, variant);
        Self {
            architecture,
            os: os.to_ascii_lowercase(),
            os_version: None,
            variant,
            other: Map::new(),
        }
    }

    /// The platform that this program was built for.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// Whether an image of platform `self` runs where `wanted` is asked for.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        let (own, own_variant) = normalise(&self.architecture, self.variant.as_deref());
        let (other, other_variant) = normalise(&wanted.architecture, wanted.variant.as_deref());
        self.os == wanted.os
            && own == other
            && (own_variant == other_variant || other_variant.is_none())
    }
}

/// The default platform of images without one, and the spelling that containerd's platform rules give.
fn normalise(architecture: &str, variant: Option<&str>) -> (String, Option<String>) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.map(str::to_ascii_lowercase);
    match (architecture.as_str(), variant.as_deref()) {
        ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64".to_owned(), None),
        ("x86_64" | "x86-64" | "amd64", _) => ("amd64".to_owned(), variant),
        ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64".to_owned(), None),
        ("aarch64" | "arm64", _) => ("arm64".to_owned(), variant),
        ("i386" | "i686" | "x86", _) => ("386".to_owned(), None),
        ("armel", _) => ("arm".to_owned(), Some("v6".to_owned())),
        ("armhf", _) | ("arm", None | Some("7")) => ("arm".to_owned(), Some("v7".to_owned())),
        ("arm", Some("5" | "6" | "8")) => {
            ("arm".to_owned(), variant.map(|digit| format!("v{digit}")))
        }
        _ => (architecture, variant),
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .iter()
            .try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParsePlatformError(text.chars().take(80).collect());
        let parts: Vec<&str> = text.split('/').collect();
        let well_formed = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if !parts.iter().all(|part| well_formed(part)) {
            return Err(refuse());
        }
        match parts[..] {
            ["linux"] => Ok(Self {
                os: "linux".to_owned(),
                ..Self::host()
            }),
            [architecture] => Ok(Self::new("linux", architecture, None)),
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(refuse()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_platform_are_equal() {
        for (left, right) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64/v8"),
            ("linux/arm", "linux/arm/v7"),
            ("amd64", "linux/amd64"),
        ] {
            assert_eq!(left.parse::<Platform>(), right.parse::<Platform>());
        }
    }

    #[test]
    fn malformed_platforms_are_refused() {
        for text in ["", "/", "linux/", "a/b/c/d", "linux/amd 64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
