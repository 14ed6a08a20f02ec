//! Manifests: push, pull, delete.

use rbuild_image::{Digest, RepositoryName, Tag};

use super::parse::{Refusal, parse};
use super::{Error, Registry, Result, Warning};
use crate::metadata::{
    Freed, ManifestName, ManifestRecord, MetadataError, NewManifest, Precondition, PutManifest,
    Removal,
};

/// A manifest that a client sends.
#[derive(Debug)]
pub struct PushManifest {
    /// Digest that it must have, if the client names one.
    pub digest: Option<Digest>,
    /// Tags to set.
    pub tags: Vec<Tag>,
    /// What must hold for the tags.
    pub precondition: Precondition,
    /// The media type that it is sent with.
    pub content_type: Option<String>,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// A manifest that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedManifest {
    /// Its digest.
    pub digest: Digest,
    /// The manifest that it refers to as its subject.
    pub subject: Option<Digest>,
    /// What is odd about it.
    pub warnings: Vec<Warning>,
}

impl Registry {
    /// Stores a manifest and sets its tags, all or nothing.
    pub fn put_manifest(
        &self,
        repository: &RepositoryName,
        push: PushManifest,
    ) -> Result<PushedManifest> {
        let limit = self.limits().manifest_bytes;
        if push.content.len() > limit {
            return Err(Error::TooLarge {
                limit: limit as u64,
            });
        }
        self.check_space()?;
        let digest = match push.digest {
            None => Digest::sha256(&push.content),
            Some(expected) => {
                let actual = Digest::of(expected.algorithm(), &push.content);
                if actual != expected {
                    return Err(Error::DigestMismatch {
                        expected: Box::new(expected),
                        actual: Box::new(actual),
                    });
                }
                expected
            }
        };
        let sparse = self.0.parts.sparse;
        let parsed =
            parse(push.content_type.as_deref(), &push.content, sparse).map_err(|refusal| {
                match refusal {
                    Refusal::Invalid(why) => Error::ManifestInvalid(why),
                    Refusal::Unsupported(why) => Error::ManifestUnsupported(why),
                }
            })?;
        let subject = parsed.subject;
        let manifest = NewManifest {
            record: ManifestRecord {
                digest,
                media_type: parsed.media_type,
                artifact_type: parsed.artifact_type,
                annotations: parsed.annotations,
                subject,
                content: push.content,
            },
            edges: parsed.edges,
            tags: push.tags,
            precondition: push.precondition,
            now: self.now(),
            protected_until: self.protected_until(),
        };
        match self
            .metadata()
            .put_manifest(repository, &manifest, self.delays())?
        {
            PutManifest::Stored => Ok(PushedManifest {
                digest,
                subject,
                // It is stored, whatever there is to say about it.
                warnings: self
                    .push_warnings(repository, subject, &manifest.edges)
                    .unwrap_or_default(),
            }),
            PutManifest::Missing(edges) => Err(Error::ReferencesUnknown(
                edges.into_iter().map(|edge| edge.target).collect(),
            )),
            PutManifest::WrongSize {
                target,
                promised,
                actual,
            } => Err(Error::ReferenceSize {
                target,
                promised,
                actual,
            }),
            PutManifest::PreconditionFailed { tag, current } => {
                Err(Error::PreconditionFailed { tag, current })
            }
        }
    }

    /// The manifest with this name; its bytes are verified.
    pub fn manifest(
        &self,
        repository: &RepositoryName,
        name: &ManifestName,
    ) -> Result<ManifestRecord> {
        let unknown = || {
            Error::ManifestUnknown(match name {
                ManifestName::Digest(digest) => digest.to_string(),
                ManifestName::Tag(tag) => tag.to_string(),
            })
        };
        let record = self
            .metadata()
            .manifest(repository, name)?
            .ok_or_else(unknown)?;
        if Digest::of(record.digest.algorithm(), &record.content) != record.digest {
            tracing::error!(digest = %record.digest, "a manifest is damaged in the database; pushing it again heals it");
            return Err(unknown());
        }
        Ok(record)
    }

    /// The same, with a promise: it will stay for a while, so the client need not push it.
    pub fn stat_manifest(
        &self,
        repository: &RepositoryName,
        name: &ManifestName,
    ) -> Result<ManifestRecord> {
        let record = self.manifest(repository, name)?;
        let soon = self.now().plus(self.0.parts.collect.protect / 2);
        let until = self.protected_until();
        match self
            .metadata()
            .protect_manifest(repository, &record.digest, soon, until)
        {
            // A full disk takes no promise, but the manifest is here.
            Ok(()) | Err(MetadataError::Full) => {}
            Err(error) => return Err(error.into()),
        }
        // It may have gone before it was protected.
        self.manifest(repository, name)
    }

    /// Removes a manifest and every tag on it, unless an index of the repository holds it.
    pub fn delete_manifest(&self, repository: &RepositoryName, digest: &Digest) -> Result<Freed> {
        let (now, delays) = (self.now(), self.delays());
        match self
            .metadata()
            .delete_manifest(repository, digest, now, delays)?
        {
            Removal::Removed(freed) => Ok(freed),
            Removal::Missing => Err(Error::ManifestUnknown(digest.to_string())),
            Removal::InUse(by) => Err(Error::InUse { by }),
        }
    }
}
