//! What a push or a pull should make people look at, though it was done.

use std::borrow::Cow;
use std::fmt;

use rbuild_image::{Digest, Reference, RepositoryName, Tag};
use serde::Deserialize;

use super::{Registry, Result};
use crate::metadata::{Edge, EdgeKind, ManifestName, ManifestRecord};

/// The annotation of a manifest or index that marks it as deprecated; its value says why, or what to use instead.
pub const DEPRECATED: &str = "dev.rbuild.deprecated";

/// The annotation that names the image another one was built on (image-spec, "Pre-Defined Annotation Keys").
const BASE_NAME: &str = "org.opencontainers.image.base.name";

/// Targets of a manifest that are looked up to say that they are missing.
const LOOK_UPS: usize = 200;

/// Something to tell the user of a client.
///
/// Equal situations have equal texts, so that clients can tell each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Pushes will be refused soon.
    DiskNearlyFull,
    /// The subject of what was pushed is not here (yet).
    SubjectUnknown(Digest),
    /// What was pushed names content that is not here, as the configuration allows.
    Incomplete {
        /// How much.
        count: usize,
        /// The first of it.
        first: Digest,
    },
    /// The image was built on another one, whose tag is on something newer by now.
    BaseMoved {
        /// The base image, as the manifest names it.
        name: Box<Reference>,
        /// What the image was built on.
        before: Digest,
        /// Where the tag is now.
        now: Digest,
    },
    /// The image that was asked for is marked as deprecated.
    Deprecated {
        /// The tag that was asked for.
        tag: Tag,
        /// What the mark says.
        reason: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiskNearlyFull => f.write_str(
                "the registry's disk is nearly full; pushes will be refused soon (507), pulls and deletes will not",
            ),
            Self::SubjectUnknown(subject) => write!(
                f,
                "the subject {subject} is not in this repository; what refers to it stays without use until it is pushed"
            ),
            Self::Incomplete { count: 1, first } => write!(
                f,
                "{first}, which this manifest names, is not in this repository; pulls of it will fail"
            ),
            Self::Incomplete { count, first } => write!(
                f,
                "{count} of what this manifest names is not in this repository, {first} first; pulls of it will fail"
            ),
            Self::BaseMoved { name, before, now } => write!(
                f,
                "the base image {name} has changed: it is {now} now, and this image was built on {before}; rebuild it to take over what is new"
            ),
            Self::Deprecated { tag, reason } if reason.trim().is_empty() => {
                write!(f, "tag {tag} is deprecated")
            }
            Self::Deprecated { tag, reason } => write!(f, "tag {tag} is deprecated: {reason}"),
        }
    }
}

impl Registry {
    /// Whether free space comes near to what pushes must leave.
    pub fn space_warning(&self) -> Option<Warning> {
        let (free, reserve) = self.space().ok()?;
        (free < reserve.saturating_mul(2)).then_some(Warning::DiskNearlyFull)
    }

    /// What is odd about a manifest that was taken.
    pub(super) fn push_warnings(
        &self,
        repository: &RepositoryName,
        subject: Option<Digest>,
        edges: &[Edge],
    ) -> Result<Vec<Warning>> {
        let mut warnings: Vec<Warning> = self.space_warning().into_iter().collect();
        let has_manifest = |digest: Digest| -> Result<bool> {
            let name = ManifestName::Digest(digest);
            Ok(self.metadata().manifest(repository, &name)?.is_some())
        };
        let has_blob = |digest: Digest| -> Result<bool> {
            Ok(self.metadata().blob(repository, &digest, false)?.is_some())
        };
        if let Some(subject) = subject
            && !has_manifest(subject)?
        {
            warnings.push(Warning::SubjectUnknown(subject));
        }
        let sparse = self.0.parts.sparse;
        let mut missing = Vec::new();
        for edge in edges.iter().filter(|edge| !edge.required).take(LOOK_UPS) {
            // A layer that is elsewhere by its type is none of ours.
            let is_here = match edge.kind {
                EdgeKind::Blob if !sparse.images => true,
                EdgeKind::Blob => has_blob(edge.target)?,
                EdgeKind::Manifest => has_manifest(edge.target)?,
                EdgeKind::Either => has_manifest(edge.target)? || has_blob(edge.target)?,
            };
            if !is_here {
                missing.push(edge.target);
            }
        }
        if let Some(first) = missing.first() {
            warnings.push(Warning::Incomplete {
                count: missing.len(),
                first: *first,
            });
        }
        Ok(warnings)
    }

    /// What somebody should know who pulls this manifest.
    ///
    /// Costs next to nothing for one whose annotations say nothing of the kind, and one look-up for one with a base image here.
    pub fn pull_warnings(&self, puller: Puller<'_>, record: &ManifestRecord) -> Vec<Warning> {
        let Some(json) = record.annotations.as_deref() else {
            return Vec::new();
        };
        if !json.contains(DEPRECATED) && !json.contains(BASE_NAME) {
            return Vec::new();
        }
        let Ok(notes) = serde_json::from_str::<Notes<'_>>(json) else {
            return Vec::new();
        };
        // The one of bounded length first.
        let mut warnings: Vec<Warning> = self.base_moved(puller, &notes).into_iter().collect();
        // Whoever asks by digest wants just this one.
        if let (ManifestName::Tag(tag), Some(reason)) = (puller.asked, notes.deprecated) {
            warnings.push(Warning::Deprecated {
                tag: tag.clone(),
                reason: reason.into_owned(),
            });
        }
        warnings
    }

    /// Whether the base image that a manifest names is of this registry, and another one by now.
    fn base_moved(&self, puller: Puller<'_>, notes: &Notes<'_>) -> Option<Warning> {
        let name: Reference = notes.base_name.as_deref()?.parse().ok()?;
        let before: Digest = notes.base_digest.as_deref()?.parse().ok()?;
        // Who names a digest wants that one, and would get it again.
        let tag = name.tag.as_ref().filter(|_| name.digest.is_none())?;
        if !self.is_own_name(&name.registry, puller.host) {
            return None;
        }
        let now = self.tag_for_puller(&name.repository, tag, &before)?;
        Some(Warning::BaseMoved {
            name: Box::new(name),
            before,
            now,
        })
    }

    /// Whether names of images that begin with this host are names of images here.
    fn is_own_name(&self, registry: &str, host: Option<&str>) -> bool {
        let names = self.0.parts.names.iter().map(String::as_str);
        let wanted = without_port(registry);
        names
            .chain(host)
            .any(|own| without_port(own).eq_ignore_ascii_case(wanted))
    }

    /// Where a tag of any repository is, if it leads to `before` no more.
    ///
    /// All that a puller learns of repositories other than the one that was asked for comes through here,
    /// so this is where to check whether that is allowed.
    fn tag_for_puller(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        before: &Digest,
    ) -> Option<Digest> {
        // A pull does not fail for want of a warning.
        self.metadata().moved_tag(repository, tag, before).ok()?
    }
}

/// Who asks for a manifest.
#[derive(Debug, Clone, Copy)]
pub struct Puller<'a> {
    /// By what name.
    pub asked: &'a ManifestName,
    /// The host that the client took the registry for, with a port where it named one.
    pub host: Option<&'a str>,
}

/// The annotations that pullers should hear of.
#[derive(Deserialize)]
struct Notes<'a> {
    #[serde(borrow, rename = "dev.rbuild.deprecated")]
    deprecated: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "org.opencontainers.image.base.name")]
    base_name: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "org.opencontainers.image.base.digest")]
    base_digest: Option<Cow<'a, str>>,
}

/// A host without the ports that go without saying; behind a proxy nobody knows which of them it was.
fn without_port(host: &str) -> &str {
    let bare = host
        .strip_suffix(":443")
        .or_else(|| host.strip_suffix(":80"));
    bare.unwrap_or(host)
}
