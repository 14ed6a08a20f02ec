//! What a push or a pull should make people look at, though it was done.

use std::collections::BTreeMap;
use std::fmt;

use rbuild_image::{Digest, RepositoryName, Tag};

use super::{Registry, Result};
use crate::metadata::{Edge, EdgeKind, ManifestName, ManifestRecord};

/// The annotation of a manifest or index that marks it as deprecated; its value says why, or what to use instead.
pub const DEPRECATED: &str = "dev.rbuild.deprecated";

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
}

/// Whether a manifest that was asked for by a name is marked as deprecated.
///
/// Costs next to nothing for those that are not.
pub fn deprecation(name: &ManifestName, record: &ManifestRecord) -> Option<Warning> {
    let ManifestName::Tag(tag) = name else {
        return None;
    };
    let json = record.annotations.as_deref()?;
    if !json.contains(DEPRECATED) {
        return None;
    }
    let annotations: BTreeMap<String, String> = serde_json::from_str(json).ok()?;
    Some(Warning::Deprecated {
        tag: tag.clone(),
        reason: annotations.get(DEPRECATED)?.clone(),
    })
}
