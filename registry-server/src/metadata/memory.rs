//! Metadata in memory: the plainest form of the promises, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rbuild_image::{Digest, RepositoryName, Tag};
use rbuild_store::BlobInfo;

use super::{
    BlobRecord, Delays, Edge, EdgeKind, Freed, Holder, ManifestName, ManifestRecord, MetadataStore,
    NewManifest, Page, Precondition, PutManifest, Referrer, Removal, Result, ReviewKind, Reviewed,
    Totals, UploadId, UploadRecord,
};
use crate::clock::Moment;

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
}

#[derive(Debug, Default)]
struct Repository {
    /// Until when each blob is protected.
    blobs: BTreeMap<Digest, Moment>,
    manifests: BTreeMap<Digest, Manifest>,
    tags: BTreeMap<Tag, Digest>,
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

    /// Bytes of a manifest's blobs that nothing else uses, and of those that something else uses.
    fn exclusive_bytes(&self, name: &RepositoryName, digest: &Digest) -> (u64, u64) {
        let Some(manifest) = self
            .repositories
            .get(name)
            .and_then(|repository| repository.manifests.get(digest))
        else {
            return (0, 0);
        };
        let targets: BTreeSet<&Digest> = manifest.edges.iter().map(|(target, _)| target).collect();
        let (mut exclusive, mut shared) = (0, 0);
        for target in targets {
            let Some(blob) = self.blobs.get(target) else {
                continue;
            };
            let used = self.repositories.iter().any(|(other, repository)| {
                let held = other != name && repository.blobs.contains_key(target);
                held || repository.manifests.iter().any(|(holder, manifest)| {
                    (other != name || holder != digest)
                        && manifest.edges.iter().any(|(own, _)| own == target)
                })
            });
            if used {
                shared += blob.size;
            } else {
                exclusive += blob.size;
            }
        }
        (exclusive, shared)
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

    fn collect_manifest(&mut self, name: &RepositoryName, digest: &Digest, due: Moment) -> bool {
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

fn page<T>(all: impl Iterator<Item = T>, limit: usize) -> Page<T> {
    let mut entries: Vec<T> = all.take(limit.saturating_add(1)).collect();
    let more = entries.len() > limit;
    entries.truncate(limit);
    Page { entries, more }
}

impl MetadataStore for MemoryMetadata {
    fn has_repository(&self, repository: &RepositoryName) -> Result<bool> {
        Ok(self.state().repositories.contains_key(repository))
    }

    fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Page<RepositoryName>> {
        let state = self.state();
        let behind = state
            .repositories
            .keys()
            .filter(|name| after.is_none_or(|after| name.as_str() > after));
        Ok(page(behind.cloned(), limit))
    }

    fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        with_content: bool,
    ) -> Result<Option<BlobRecord>> {
        let state = self.state();
        let held = state
            .repositories
            .get(repository)
            .and_then(|repository| repository.blobs.get(digest));
        Ok(held
            .zip(state.blobs.get(digest))
            .map(|(until, blob)| BlobRecord {
                blob: BlobInfo {
                    digest: *digest,
                    size: blob.size,
                },
                content: blob.content.clone().filter(|_| with_content),
                protected_until: *until,
            }))
    }

    fn put_blob(
        &self,
        repository: &RepositoryName,
        blob: BlobInfo,
        content: Option<&[u8]>,
        upload: Option<&UploadId>,
        _now: Moment,
        protected_until: Moment,
    ) -> Result<()> {
        let mut state = self.state();
        if let Some(upload) = upload {
            state.uploads.remove(upload);
        }
        state.blobs.insert(
            blob.digest,
            Blob {
                size: blob.size,
                content: content.map(<[u8]>::to_vec),
            },
        );
        state.link(repository, blob.digest, protected_until);
        Ok(())
    }

    fn mount_blob(
        &self,
        repository: &RepositoryName,
        from: Option<&RepositoryName>,
        digest: &Digest,
        _now: Moment,
        protected_until: Moment,
    ) -> Result<Option<BlobInfo>> {
        let mut state = self.state();
        let held = match from {
            Some(from) => state
                .repositories
                .get(from)
                .is_some_and(|from| from.blobs.contains_key(digest)),
            None => state.is_held(digest),
        };
        let size = state.blobs.get(digest).map(|blob| blob.size);
        let Some(size) = size.filter(|_| held) else {
            return Ok(None);
        };
        state.link(repository, *digest, protected_until);
        Ok(Some(BlobInfo {
            digest: *digest,
            size,
        }))
    }

    fn protect_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        until: Moment,
    ) -> Result<bool> {
        let mut state = self.state();
        let held = state
            .repositories
            .get(repository)
            .is_some_and(|repository| repository.blobs.contains_key(digest));
        if held {
            state.link(repository, *digest, until);
        }
        Ok(held)
    }

    fn protect_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        soon: Moment,
        until: Moment,
    ) -> Result<()> {
        let mut state = self.state();
        let review = (ReviewKind::Manifest, Some(repository.clone()), *digest);
        if state.reviews.get(&review).is_some_and(|due| *due < soon) {
            state.enqueue(ReviewKind::Manifest, Some(repository), *digest, until);
        }
        Ok(())
    }

    fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        now: Moment,
        delays: Delays,
    ) -> Result<Removal> {
        let mut state = self.state();
        let Some(holder) = state.repositories.get_mut(repository) else {
            return Ok(Removal::Missing);
        };
        if !holder.blobs.contains_key(digest) {
            return Ok(Removal::Missing);
        }
        if let Some(user) = holder.user_of_blob(digest) {
            return Ok(Removal::InUse(user));
        }
        holder.blobs.remove(digest);
        let at = now.plus(delays.unreferenced);
        state.enqueue(ReviewKind::Blob, None, *digest, at);
        let size = state.blobs.get(digest).map_or(0, |blob| blob.size);
        let shared = state.repositories.values().any(|other| {
            other.blobs.contains_key(digest) || other.referring(digest, |_| true).is_some()
        });
        Ok(Removal::Removed(Freed {
            bytes: if shared { 0 } else { size },
            shared_bytes: if shared { size } else { 0 },
            at,
        }))
    }

    fn put_manifest(
        &self,
        repository: &RepositoryName,
        manifest: &NewManifest,
        delays: Delays,
    ) -> Result<PutManifest> {
        let mut state = self.state();
        let mut missing = Vec::new();
        for edge in &manifest.edges {
            match state.target_size(repository, edge) {
                None if edge.required => missing.push(edge.clone()),
                Some(actual) if actual != edge.size => {
                    return Ok(PutManifest::WrongSize {
                        target: edge.target,
                        promised: edge.size,
                        actual,
                    });
                }
                _ => {}
            }
        }
        if !missing.is_empty() {
            return Ok(PutManifest::Missing(missing));
        }
        for tag in &manifest.tags {
            let current = state
                .repositories
                .get(repository)
                .and_then(|repository| repository.tags.get(tag))
                .copied();
            let holds = match &manifest.precondition {
                Precondition::None => true,
                Precondition::Matches(digests) => current.is_some_and(|now| digests.contains(&now)),
                Precondition::Exists => current.is_some(),
                Precondition::Absent => current.is_none(),
            };
            if !holds {
                return Ok(PutManifest::PreconditionFailed {
                    tag: tag.clone(),
                    current,
                });
            }
        }
        let digest = manifest.record.digest;
        let stored = Manifest {
            record: manifest.record.clone(),
            edges: manifest
                .edges
                .iter()
                .map(|edge| (edge.target, edge.kind))
                .collect(),
        };
        let due = manifest.now.plus(delays.untagged);
        state
            .repository(repository)
            .manifests
            .insert(digest, stored);
        for tag in &manifest.tags {
            let before = state
                .repository(repository)
                .tags
                .insert(tag.clone(), digest);
            if let Some(before) = before.filter(|before| *before != digest) {
                state.enqueue(ReviewKind::Manifest, Some(repository), before, due);
            }
        }
        if manifest.tags.is_empty() {
            let due = due.max(manifest.protected_until);
            state.enqueue(ReviewKind::Manifest, Some(repository), digest, due);
        }
        Ok(PutManifest::Stored)
    }

    fn manifest(
        &self,
        repository: &RepositoryName,
        name: &ManifestName,
    ) -> Result<Option<ManifestRecord>> {
        let state = self.state();
        let found = state.repositories.get(repository).and_then(|repository| {
            let digest = match name {
                ManifestName::Digest(digest) => digest,
                ManifestName::Tag(tag) => repository.tags.get(tag)?,
            };
            repository.manifests.get(digest)
        });
        Ok(found.map(|manifest| manifest.record.clone()))
    }

    fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        now: Moment,
        delays: Delays,
    ) -> Result<Removal> {
        let mut state = self.state();
        let Some(holder) = state.repositories.get(repository) else {
            return Ok(Removal::Missing);
        };
        if !holder.manifests.contains_key(digest) {
            return Ok(Removal::Missing);
        }
        if let Some(parent) = holder.parent(digest) {
            return Ok(Removal::InUse(parent));
        }
        let (bytes, shared_bytes) = state.exclusive_bytes(repository, digest);
        let at = now.plus(delays.unreferenced);
        state.remove_manifest(repository, digest, at);
        Ok(Removal::Removed(Freed {
            bytes,
            shared_bytes,
            at,
        }))
    }

    fn delete_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        now: Moment,
        delays: Delays,
    ) -> Result<bool> {
        let mut state = self.state();
        let removed = state
            .repositories
            .get_mut(repository)
            .and_then(|repository| repository.tags.remove(tag));
        if let Some(digest) = removed {
            let due = now.plus(delays.untagged);
            state.enqueue(ReviewKind::Manifest, Some(repository), digest, due);
        }
        Ok(removed.is_some())
    }

    fn tags(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Page<Tag>>> {
        let state = self.state();
        Ok(state.repositories.get(repository).map(|repository| {
            let behind = repository
                .tags
                .keys()
                .filter(|tag| after.is_none_or(|after| tag.as_str() > after));
            page(behind.cloned(), limit)
        }))
    }

    fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Page<Referrer>> {
        let state = self.state();
        let found = state
            .repositories
            .get(repository)
            .into_iter()
            .flat_map(|repository| &repository.manifests)
            .map(|(_, manifest)| &manifest.record)
            .filter(|record| {
                record.subject == Some(*subject)
                    && after.is_none_or(|after| record.digest > *after)
                    && artifact_type
                        .is_none_or(|want| record.artifact_type.as_deref() == Some(want))
            })
            .map(|record| Referrer {
                digest: record.digest,
                media_type: record.media_type.clone(),
                size: record.content.len() as u64,
                artifact_type: record.artifact_type.clone(),
                annotations: record.annotations.clone(),
            });
        Ok(page(found, limit))
    }

    fn upload(&self, id: &UploadId) -> Result<Option<UploadRecord>> {
        Ok(self.state().uploads.get(id).cloned())
    }

    fn put_upload(&self, upload: &UploadRecord) -> Result<()> {
        let mut state = self.state();
        state.uploads.insert(upload.id.clone(), upload.clone());
        Ok(())
    }

    fn delete_upload(&self, id: &UploadId) -> Result<bool> {
        Ok(self.state().uploads.remove(id).is_some())
    }

    fn stale_uploads(&self, cutoff: Moment, limit: usize) -> Result<Vec<UploadId>> {
        let state = self.state();
        let mut stale: Vec<&UploadRecord> = state
            .uploads
            .values()
            .filter(|upload| upload.touched_at < cutoff)
            .collect();
        stale.sort_by_key(|upload| upload.touched_at);
        Ok(stale
            .into_iter()
            .take(limit)
            .map(|upload| upload.id.clone())
            .collect())
    }

    fn review(&self, now: Moment, delays: Delays, limit: usize) -> Result<Reviewed> {
        let mut state = self.state();
        let mut due: Vec<_> = state
            .reviews
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(review, at)| (*at, review.clone()))
            .collect();
        due.sort();
        let mut reviewed = Reviewed::default();
        for (_, review) in due.into_iter().take(limit) {
            reviewed.reviews += 1;
            let (kind, repository, digest) = &review;
            match (kind, repository) {
                (ReviewKind::Manifest, Some(name)) => {
                    state.reviews.remove(&review);
                    let later = now.plus(delays.unreferenced);
                    if state.collect_manifest(name, digest, later) {
                        reviewed.manifests += 1;
                    }
                }
                (ReviewKind::Link, Some(name)) => {
                    state.reviews.remove(&review);
                    if state.collect_link(name, *digest, now) {
                        reviewed.links += 1;
                    }
                }
                _ => match state.blobs.get(digest) {
                    Some(blob) if !state.is_held(digest) => reviewed.orphans.push(BlobInfo {
                        digest: *digest,
                        size: blob.size,
                    }),
                    _ => {
                        state.reviews.remove(&review);
                    }
                },
            }
        }
        Ok(reviewed)
    }

    fn next_review(&self) -> Result<Option<Moment>> {
        Ok(self.state().reviews.values().min().copied())
    }

    fn forget_blob(&self, digest: &Digest) -> Result<bool> {
        let mut state = self.state();
        if state.is_held(digest) {
            return Ok(false);
        }
        state.blobs.remove(digest);
        state.reviews.remove(&(ReviewKind::Blob, None, *digest));
        Ok(true)
    }

    fn stored_blobs(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobInfo>> {
        Ok(self
            .state()
            .blobs
            .iter()
            .filter(|(digest, blob)| {
                blob.content.is_none() && after.is_none_or(|after| *digest > after)
            })
            .take(limit)
            .map(|(digest, blob)| BlobInfo {
                digest: *digest,
                size: blob.size,
            })
            .collect())
    }

    fn contents(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<(Digest, Vec<u8>)>> {
        let state = self.state();
        let blobs = state
            .blobs
            .iter()
            .filter_map(|(digest, blob)| Some((*digest, blob.content.clone()?)));
        let manifests = state
            .repositories
            .values()
            .flat_map(|repository| &repository.manifests)
            .map(|(digest, manifest)| (*digest, manifest.record.content.clone()));
        let all: BTreeSet<_> = blobs
            .chain(manifests)
            .filter(|(digest, _)| after.is_none_or(|after| digest > after))
            .collect();
        Ok(all.into_iter().take(limit).collect())
    }

    fn knows_blob(&self, digest: &Digest) -> Result<bool> {
        Ok(self.state().blobs.contains_key(digest))
    }

    fn holders(&self, digest: &Digest, now: Moment) -> Result<Vec<Holder>> {
        let state = self.state();
        let mut holders = Vec::new();
        for (name, repository) in &state.repositories {
            let until = repository.blobs.get(digest);
            if until.is_none() && !repository.manifests.contains_key(digest) {
                continue;
            }
            let before = holders.len();
            climb(repository, name, &[*digest], &mut holders);
            if holders.len() == before {
                let queued = state
                    .reviews
                    .iter()
                    .filter(|((_, own, target), _)| own.as_ref() == Some(name) && target == digest)
                    .map(|(_, due)| *due);
                let until = queued.chain(until.copied()).max().unwrap_or(now);
                holders.push(Holder {
                    repository: name.clone(),
                    path: vec![*digest],
                    tags: Vec::new(),
                    protected_until: Some(until.max(now)),
                });
            }
        }
        Ok(holders)
    }

    fn totals(&self) -> Result<Totals> {
        let state = self.state();
        let sum = |count: fn(&Repository) -> usize| -> u64 {
            state
                .repositories
                .values()
                .map(|repository| count(repository) as u64)
                .sum()
        };
        Ok(Totals {
            repositories: state.repositories.len() as u64,
            manifests: sum(|repository| repository.manifests.len()),
            tags: sum(|repository| repository.tags.len()),
            blobs: state.blobs.len() as u64,
            blob_bytes: state.blobs.values().map(|blob| blob.size).sum(),
            uploads: state.uploads.len() as u64,
            reviews: state.reviews.len() as u64,
        })
    }
}

/// Follows references upwards to every tag.
fn climb(
    repository: &Repository,
    name: &RepositoryName,
    path: &[Digest],
    holders: &mut Vec<Holder>,
) {
    let Some(top) = path.last() else { return };
    let tags: Vec<Tag> = repository
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
    let parents = repository
        .manifests
        .iter()
        .filter(|(_, manifest)| manifest.edges.iter().any(|(target, _)| target == top))
        .map(|(parent, _)| *parent);
    let subject = repository
        .manifests
        .get(top)
        .and_then(|manifest| manifest.record.subject);
    for parent in parents.chain(subject) {
        if !path.contains(&parent) {
            climb(repository, name, &[path, &[parent]].concat(), holders);
        }
    }
}
