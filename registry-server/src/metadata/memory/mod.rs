//! Metadata in memory: the plainest form of the promises, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rbuild_image::{Digest, RepositoryName, Tag};
use rbuild_store::BlobInfo;

use super::freed::{Gone, Holdings, freed};
use super::{
    Change, Delays, Edge, EdgeKind, Event, Freed, Holder, ManifestRecord, Page, Result, ReviewKind,
    UploadId, UploadRecord,
};
use crate::clock::Moment;

mod store;

/// Metadata that is gone with the process.
#[derive(Debug, Default)]
pub struct MemoryMetadata(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    repositories: BTreeMap<RepositoryName, Repository>,
    blobs: BTreeMap<Digest, Blob>,
    uploads: BTreeMap<UploadId, UploadRecord>,
    /// When each review is due; the repository is `None` for the bytes of a blob.
    reviews: BTreeMap<(ReviewKind, Option<RepositoryName>, Digest), Moment>,
    events: Vec<Event>,
}

#[derive(Debug, Default)]
struct Repository {
    /// Until when each blob is protected.
    blobs: BTreeMap<Digest, Moment>,
    manifests: BTreeMap<Digest, Manifest>,
    tags: BTreeMap<Tag, Digest>,
    /// When each tag was last pushed.
    pushed: BTreeMap<Tag, Moment>,
}

#[derive(Debug)]
struct Blob {
    size: u64,
    content: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Manifest {
    record: ManifestRecord,
    edges: BTreeSet<(Digest, EdgeKind)>,
}

impl Repository {
    /// A manifest that refers to the digest as a blob.
    fn user_of_blob(&self, digest: &Digest) -> Option<Digest> {
        self.referring(digest, |kind| kind != EdgeKind::Manifest)
    }

    /// An index that lists the digest.
    fn parent(&self, digest: &Digest) -> Option<Digest> {
        self.referring(digest, |kind| kind != EdgeKind::Blob)
    }

    fn referring(&self, digest: &Digest, wanted: impl Fn(EdgeKind) -> bool) -> Option<Digest> {
        self.manifests
            .iter()
            .find(|(_, manifest)| {
                manifest
                    .edges
                    .iter()
                    .any(|(target, kind)| target == digest && wanted(*kind))
            })
            .map(|(holder, _)| *holder)
    }

    /// Where the tag is, if it leads to `before` no more.
    fn moved_tag(&self, tag: &Tag, before: &Digest) -> Option<Digest> {
        let current = self.tags.get(tag)?;
        (!self.leads_to(current, before)).then_some(*current)
    }

    /// Whether it is this manifest, or an index that lists it, at whatever depth.
    fn leads_to(&self, from: &Digest, target: &Digest) -> bool {
        from == target
            || self.manifests.get(from).is_some_and(|manifest| {
                let mut edges = manifest.edges.iter();
                edges.any(|(child, _)| self.leads_to(child, target))
            })
    }

    /// Follows references upwards to every tag.
    fn climb(&self, name: &RepositoryName, path: &[Digest], holders: &mut Vec<Holder>) {
        let Some(top) = path.last() else { return };
        let tags: Vec<Tag> = self
            .tags
            .iter()
            .filter(|(_, target)| *target == top)
            .map(|(tag, _)| tag.clone())
            .collect();
        if !tags.is_empty() {
            holders.push(Holder {
                repository: name.clone(),
                path: path.to_vec(),
                tags,
                protected_until: None,
            });
        }
        let parents = self
            .manifests
            .iter()
            .filter(|(_, manifest)| manifest.edges.iter().any(|(target, _)| target == top))
            .map(|(parent, _)| *parent);
        let subject = self
            .manifests
            .get(top)
            .and_then(|manifest| manifest.record.subject);
        for parent in parents.chain(subject) {
            if !path.contains(&parent) {
                self.climb(name, &[path, &[parent]].concat(), holders);
            }
        }
    }
}

impl State {
    fn enqueue(
        &mut self,
        kind: ReviewKind,
        repository: Option<&RepositoryName>,
        digest: Digest,
        due: Moment,
    ) {
        let entry = self
            .reviews
            .entry((kind, repository.cloned(), digest))
            .or_insert(due);
        *entry = due.max(*entry);
    }

    fn record(&mut self, repository: &RepositoryName, change: Change, at: Moment) {
        let number = self.events.last().map_or(0, |last| last.number) + 1;
        self.events.push(Event {
            number,
            at,
            repository: repository.clone(),
            change,
        });
    }

    fn repository(&mut self, name: &RepositoryName) -> &mut Repository {
        self.repositories.entry(name.clone()).or_default()
    }

    fn is_held(&self, digest: &Digest) -> bool {
        self.repositories
            .values()
            .any(|repository| repository.blobs.contains_key(digest))
    }

    fn link(&mut self, name: &RepositoryName, digest: Digest, until: Moment) {
        let entry = self.repository(name).blobs.entry(digest).or_insert(until);
        *entry = until.max(*entry);
        self.enqueue(ReviewKind::Link, Some(name), digest, until);
    }

    fn target_size(&self, name: &RepositoryName, edge: &Edge) -> Option<u64> {
        let repository = self.repositories.get(name)?;
        let manifest = || {
            let manifest = repository.manifests.get(&edge.target)?;
            Some(manifest.record.content.len() as u64)
        };
        let blob = || {
            repository.blobs.get(&edge.target)?;
            self.blobs.get(&edge.target).map(|blob| blob.size)
        };
        match edge.kind {
            EdgeKind::Blob => blob(),
            EdgeKind::Manifest => manifest(),
            EdgeKind::Either => manifest().or_else(blob),
        }
    }

    fn is_kept(&self, name: &RepositoryName, manifest: &Digest) -> Result<bool> {
        Holding { state: self, name }.is_kept(manifest, &Gone::new())
    }

    fn freed(
        &self,
        name: &RepositoryName,
        manifest: Digest,
        stays: bool,
        at: Moment,
        delays: Delays,
    ) -> Result<Freed> {
        let holding = Holding { state: self, name };
        freed(&holding, manifest, stays, at, delays.unreferenced)
    }

    fn remove_manifest(&mut self, name: &RepositoryName, digest: &Digest, due: Moment) {
        let repository = self.repository(name);
        let Some(manifest) = repository.manifests.remove(digest) else {
            return;
        };
        repository.tags.retain(|_, target| target != digest);
        let referrers: Vec<Digest> = repository
            .manifests
            .iter()
            .filter(|(_, other)| other.record.subject == Some(*digest))
            .map(|(referrer, _)| *referrer)
            .collect();
        for (target, kind) in manifest.edges {
            if kind != EdgeKind::Manifest {
                self.enqueue(ReviewKind::Link, Some(name), target, due);
            }
            if kind != EdgeKind::Blob {
                self.enqueue(ReviewKind::Manifest, Some(name), target, due);
            }
        }
        for referrer in referrers {
            self.enqueue(ReviewKind::Manifest, Some(name), referrer, due);
        }
    }

    fn collect_manifest(
        &mut self,
        name: &RepositoryName,
        digest: &Digest,
        now: Moment,
        due: Moment,
    ) -> bool {
        let repository = self.repository(name);
        let Some(manifest) = repository.manifests.get(digest) else {
            return false;
        };
        let subject_is_here = manifest
            .record
            .subject
            .is_some_and(|subject| repository.manifests.contains_key(&subject));
        let kept = subject_is_here
            || repository.tags.values().any(|target| target == digest)
            || repository.parent(digest).is_some();
        if !kept {
            self.remove_manifest(name, digest, due);
            self.record(name, Change::Collected { digest: *digest }, now);
        }
        !kept
    }

    fn collect_link(&mut self, name: &RepositoryName, digest: Digest, now: Moment) -> bool {
        let repository = self.repository(name);
        let Some(until) = repository.blobs.get(&digest).copied() else {
            return false;
        };
        if repository.user_of_blob(&digest).is_some() {
            return false;
        }
        if until > now {
            self.enqueue(ReviewKind::Link, Some(name), digest, until);
            return false;
        }
        repository.blobs.remove(&digest);
        self.enqueue(ReviewKind::Blob, None, digest, now);
        true
    }
}

/// One repository among the others.
struct Holding<'a> {
    state: &'a State,
    name: &'a RepositoryName,
}

impl Holding<'_> {
    fn manifests(&self) -> impl Iterator<Item = (&Digest, &Manifest)> {
        let repository = self.state.repositories.get(self.name);
        repository.into_iter().flat_map(|own| &own.manifests)
    }

    fn refers(manifest: &Manifest, target: &Digest, wanted: impl Fn(EdgeKind) -> bool) -> bool {
        let mut edges = manifest.edges.iter();
        edges.any(|(own, kind)| own == target && wanted(*kind))
    }
}

impl Holdings for Holding<'_> {
    fn below(&self, manifest: &Digest) -> Result<Vec<Digest>> {
        let above = self.manifests().find(|(digest, _)| *digest == manifest);
        let below = self.manifests().filter(|(digest, other)| {
            let is_listed = above.is_some_and(|(_, above)| {
                Self::refers(above, digest, |kind| kind != EdgeKind::Blob)
            });
            is_listed || other.record.subject == Some(*manifest)
        });
        Ok(below.map(|(digest, _)| *digest).collect())
    }

    fn is_kept(&self, manifest: &Digest, gone: &Gone) -> Result<bool> {
        let Some(own) = self.state.repositories.get(self.name) else {
            return Ok(false);
        };
        let subject = own
            .manifests
            .get(manifest)
            .and_then(|manifest| manifest.record.subject);
        let has_subject = subject.is_some_and(|subject| {
            own.manifests.contains_key(&subject) && !gone.contains_key(&subject)
        });
        let is_listed = self.manifests().any(|(digest, index)| {
            !gone.contains_key(digest)
                && Self::refers(index, manifest, |kind| kind != EdgeKind::Blob)
        });
        Ok(has_subject || is_listed || own.tags.values().any(|target| target == manifest))
    }

    fn blobs(&self, manifest: &Digest) -> Result<Vec<BlobInfo>> {
        let found = self.manifests().find(|(digest, _)| *digest == manifest);
        let targets = found.into_iter().flat_map(|(_, manifest)| &manifest.edges);
        Ok(targets
            .filter_map(|(target, _)| {
                let size = self.state.blobs.get(target)?.size;
                Some(BlobInfo {
                    digest: *target,
                    size,
                })
            })
            .collect())
    }

    fn is_used(&self, blob: &Digest, gone: &Gone) -> Result<bool> {
        Ok(self.state.repositories.iter().any(|(name, repository)| {
            let is_own = name == self.name;
            let mut manifests = repository.manifests.iter();
            !is_own && repository.blobs.contains_key(blob)
                || manifests.any(|(digest, manifest)| {
                    !(is_own && gone.contains_key(digest)) && Self::refers(manifest, blob, |_| true)
                })
        }))
    }
}

impl MemoryMetadata {
    /// Nothing stored.
    ///
    /// ```
    /// use rbuild_registry_server::metadata::{MemoryMetadata, MetadataStore};
    ///
    /// assert_eq!(MemoryMetadata::new().totals()?.blobs, 0);
    /// # Ok::<(), rbuild_registry_server::metadata::MetadataError>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Only tests use this store, and a test that panicked has failed already.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first `limit` entries.
fn page<T>(all: impl Iterator<Item = T>, limit: usize) -> Page<T> {
    let mut entries: Vec<T> = all.take(limit.saturating_add(1)).collect();
    let more = entries.len() > limit;
    entries.truncate(limit);
    Page { entries, more }
}
