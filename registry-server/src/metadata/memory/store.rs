//! The trait, each method under the lock of the whole state.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use rbuild_image::{Digest, RepositoryName, Tag};
use rbuild_store::{BlobInfo, IngestId};

use super::super::{
    BlobRecord, Change, Delays, Event, Freed, Holder, ManifestName, ManifestRecord, MetadataStore,
    NewManifest, Page, PutManifest, Received, Referrer, Removal, Result, ReviewKind, Reviewed,
    TagList, TagOrder, TagRecord, Totals, UploadId, UploadRecord,
};
use super::{Blob, Manifest, MemoryMetadata, Repository, page};
use crate::clock::Moment;

impl MetadataStore for MemoryMetadata {
    fn has_repository(&self, repository: &RepositoryName) -> Result<bool> {
        Ok(self.state().repositories.contains_key(repository))
    }

    fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Page<RepositoryName>> {
        let state = self.state();
        let behind = state
            .repositories
            .iter()
            .filter(|(_, repository)| {
                !repository.blobs.is_empty() || !repository.manifests.is_empty()
            })
            .map(|(name, _)| name)
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
            if !manifest.precondition.holds(current) {
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
        state.record(repository, Change::Pushed { digest }, manifest.now);
        for tag in &manifest.tags {
            let holder = state.repository(repository);
            holder.pushed.insert(tag.clone(), manifest.now);
            let previous = holder.tags.insert(tag.clone(), digest);
            if previous == Some(digest) {
                continue;
            }
            if let Some(previous) = previous {
                state.enqueue(ReviewKind::Manifest, Some(repository), previous, due);
            }
            let tagged = Change::Tagged {
                tag: tag.clone(),
                digest,
                previous,
            };
            state.record(repository, tagged, manifest.now);
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

    fn moved_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        before: &Digest,
    ) -> Result<Option<Digest>> {
        let state = self.state();
        let repository = state.repositories.get(repository);
        Ok(repository.and_then(|repository| repository.moved_tag(tag, before)))
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
        let tags: Vec<Tag> = holder
            .tags
            .iter()
            .filter(|(_, target)| *target == digest)
            .map(|(tag, _)| tag.clone())
            .collect();
        let at = now.plus(delays.unreferenced);
        let freed = state.freed(repository, *digest, false, at, delays)?;
        for tag in tags {
            let digest = *digest;
            state.record(repository, Change::Untagged { tag, digest }, now);
        }
        state.record(repository, Change::Deleted { digest: *digest }, now);
        state.remove_manifest(repository, digest, at);
        Ok(Removal::Removed(freed))
    }

    fn delete_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        now: Moment,
        delays: Delays,
    ) -> Result<Option<Freed>> {
        let mut state = self.state();
        let own = state.repositories.get_mut(repository);
        let Some(digest) = own.and_then(|own| own.tags.remove(tag)) else {
            return Ok(None);
        };
        let due = now.plus(delays.untagged);
        state.enqueue(ReviewKind::Manifest, Some(repository), digest, due);
        let tag = tag.clone();
        state.record(repository, Change::Untagged { tag, digest }, now);
        let at = due.plus(delays.unreferenced);
        let stays = state.is_kept(repository, &digest)?;
        state.freed(repository, digest, stays, at, delays).map(Some)
    }

    fn tags(&self, repository: &RepositoryName, list: &TagList) -> Result<Option<Page<TagRecord>>> {
        let state = self.state();
        let Some(repository) = state.repositories.get(repository) else {
            return Ok(None);
        };
        let mut tags: Vec<TagRecord> = repository
            .tags
            .keys()
            .map(|tag| TagRecord {
                tag: tag.clone(),
                pushed_at: repository.pushed.get(tag).copied().unwrap_or(Moment(0)),
            })
            .filter(|record| {
                let name = record.tag.as_str();
                list.filter
                    .as_ref()
                    .is_none_or(|filter| filter.matches(name))
            })
            .collect();
        let place = |record: &TagRecord| (Reverse(record.pushed_at), record.tag.to_string());
        match &list.order {
            TagOrder::Name(after) => {
                let after = after.as_deref().unwrap_or("");
                tags.retain(|record| record.tag.as_str() > after);
            }
            TagOrder::Newest(after) => {
                tags.sort_by_key(place);
                if let Some((at, name)) = after {
                    tags.retain(|record| place(record) > (Reverse(*at), name.clone()));
                }
            }
        }
        Ok(Some(page(tags.into_iter(), list.limit)))
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

    fn empty_uploads(&self) -> Result<u64> {
        let state = self.state();
        let empty = state.uploads.values().filter(|upload| upload.is_empty());
        Ok(empty.count() as u64)
    }

    fn names_ingest(&self, id: &IngestId) -> Result<bool> {
        Ok(self.state().uploads.values().any(
            |upload| matches!(&upload.received, Received::Ingest { id: own, .. } if own == id),
        ))
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
                    if state.collect_manifest(name, digest, now, later) {
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
            repository.climb(name, &[*digest], &mut holders);
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

    fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>> {
        let state = self.state();
        let later = state.events.iter().filter(|event| event.number > after);
        Ok(later.take(limit).cloned().collect())
    }

    fn forget_events(&self, cutoff: Moment) -> Result<u64> {
        let mut state = self.state();
        let newest = state.events.last().map_or(0, |last| last.number);
        let before = state.events.len();
        state
            .events
            .retain(|event| event.at >= cutoff || event.number == newest);
        Ok((before - state.events.len()) as u64)
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
