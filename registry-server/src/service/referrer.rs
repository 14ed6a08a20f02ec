//! Referrers of a manifest, also those that only a fallback tag knows.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_image::{Descriptor, Digest, Index, MediaType, RepositoryName, Tag};

use super::{Registry, Result};
use crate::metadata::{ManifestName, Page, Referrer};

/// Entries of one answer.
const PAGE: usize = 500;

/// Part of the list of referrers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrers {
    /// Their descriptors, sorted by digest.
    pub entries: Vec<Descriptor>,
    /// Set if there are more: ask for those behind this digest.
    pub next: Option<Digest>,
}

impl Registry {
    /// Manifests whose subject is `subject`, behind `after`, of one artifact type if given.
    ///
    /// The first page also has what clients wrote into the tag `<algorithm>-<hex>`, the way of old before registries kept this list.
    pub fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&Digest>,
    ) -> Result<Referrers> {
        let Page { entries, more } =
            self.metadata()
                .referrers(repository, subject, artifact_type, after, PAGE)?;
        let next = entries
            .last()
            .filter(|_| more)
            .map(|referrer| referrer.digest);
        let mut entries: Vec<Descriptor> = entries.into_iter().map(descriptor).collect();
        if after.is_none() {
            let mut seen = BTreeSet::new();
            for listed in self.fallback_referrers(repository, subject)? {
                if !seen.insert(listed.digest) {
                    continue;
                }
                let adopted = self.adopt(repository, subject, listed)?;
                entries.extend(adopted.filter(|adopted| {
                    artifact_type.is_none_or(|want| adopted.artifact_type.as_deref() == Some(want))
                }));
            }
        }
        Ok(Referrers { entries, next })
    }

    /// What a fallback tag lists, completed from the manifest; `None` if that names its subject itself.
    fn adopt(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        mut listed: Descriptor,
    ) -> Result<Option<Descriptor>> {
        let name = ManifestName::Digest(listed.digest);
        let Some(record) = self.metadata().manifest(repository, &name)? else {
            return Ok(Some(listed));
        };
        // Then it is in the list anyhow, perhaps on another page.
        if record.subject == Some(*subject) {
            return Ok(None);
        }
        listed.artifact_type = listed.artifact_type.or(record.artifact_type);
        if listed.annotations.is_empty() {
            listed.annotations = annotations(record.annotations.as_deref());
        }
        Ok(Some(listed))
    }

    fn fallback_referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>> {
        let mut name = format!("{}-{}", subject.algorithm().as_str(), subject.hex());
        // The tag of a long digest is cut to what a tag may have (distribution-spec, "Referrers Tag Schema").
        name.truncate(128);
        let Ok(tag) = name.parse::<Tag>() else {
            return Ok(Vec::new());
        };
        let record = self
            .metadata()
            .manifest(repository, &ManifestName::Tag(tag))?;
        let Some(record) = record else {
            return Ok(Vec::new());
        };
        if !MediaType::new(record.media_type.as_str()).is_index() {
            return Ok(Vec::new());
        }
        let index: Result<Index, _> = serde_json::from_slice(&record.content);
        Ok(index.map(|index| index.manifests).unwrap_or_default())
    }
}

fn descriptor(referrer: Referrer) -> Descriptor {
    let media_type = MediaType::new(referrer.media_type);
    let mut descriptor = Descriptor::new(media_type, referrer.digest, referrer.size);
    descriptor.artifact_type = referrer.artifact_type;
    descriptor.annotations = annotations(referrer.annotations.as_deref());
    descriptor
}

fn annotations(json: Option<&str>) -> BTreeMap<String, String> {
    json.and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default()
}
