//! The trait, each method on the reader's or the writer's connection.

use rbuild_image::{Digest, RepositoryName, Tag};
use rbuild_store::{BlobInfo, IngestId};

use super::super::{
    BlobRecord, Delays, Event, Freed, Holder, ManifestName, ManifestRecord, MetadataStore,
    NewManifest, Page, PutManifest, Referrer, Removal, Result, Reviewed, TagList, TagRecord,
    Totals, UploadId, UploadRecord,
};
use super::{
    SqliteMetadata, Survives, blob, event, manifest, query, repository_id, review, upload,
};
use crate::clock::Moment;

impl MetadataStore for SqliteMetadata {
    fn has_repository(&self, repository: &RepositoryName) -> Result<bool> {
        self.read(|c| Ok(repository_id(c, repository.as_str())?.is_some()))
    }

    fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Page<RepositoryName>> {
        self.read(|c| query::repositories(c, after, limit))
    }

    fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        with_content: bool,
    ) -> Result<Option<BlobRecord>> {
        self.read(|c| blob::get(c, repository.as_str(), digest, with_content))
    }

    fn put_blob(
        &self,
        repository: &RepositoryName,
        blob: BlobInfo,
        content: Option<&[u8]>,
        upload: Option<&UploadId>,
        now: Moment,
        protected_until: Moment,
    ) -> Result<()> {
        let repository = repository.clone();
        let content = content.map(<[u8]>::to_vec);
        let upload = upload.cloned();
        self.write(move |c| {
            if let Some(upload) = upload {
                upload::delete(c, &upload)?;
            }
            let name = repository.as_str();
            blob::put(c, name, blob, content.as_deref(), now, protected_until)
        })
    }

    fn mount_blob(
        &self,
        repository: &RepositoryName,
        from: Option<&RepositoryName>,
        digest: &Digest,
        now: Moment,
        protected_until: Moment,
    ) -> Result<Option<BlobInfo>> {
        let (repository, from, digest) = (repository.clone(), from.cloned(), *digest);
        self.write(move |c| {
            let from = from.as_ref().map(RepositoryName::as_str);
            blob::mount(c, repository.as_str(), from, &digest, now, protected_until)
        })
    }

    fn protect_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        until: Moment,
    ) -> Result<bool> {
        let (repository, digest) = (repository.clone(), *digest);
        self.write(move |c| blob::protect(c, repository.as_str(), &digest, until))
    }

    fn protect_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        soon: Moment,
        until: Moment,
    ) -> Result<()> {
        // Nearly always there is nothing to write.
        if !self.read(|c| review::is_near(c, repository.as_str(), digest, soon))? {
            return Ok(());
        }
        let (repository, digest) = (repository.clone(), *digest);
        self.write(move |c| review::put_off(c, repository.as_str(), &digest, until))
    }

    fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        now: Moment,
        delays: Delays,
    ) -> Result<Removal> {
        let (repository, digest) = (repository.clone(), *digest);
        self.write(move |c| blob::unlink(c, repository.as_str(), &digest, now, delays))
    }

    fn put_manifest(
        &self,
        repository: &RepositoryName,
        manifest: &NewManifest,
        delays: Delays,
    ) -> Result<PutManifest> {
        let (repository, manifest) = (repository.clone(), manifest.clone());
        self.write(move |c| manifest::put(c, repository.as_str(), &manifest, delays))
    }

    fn manifest(
        &self,
        repository: &RepositoryName,
        name: &ManifestName,
    ) -> Result<Option<ManifestRecord>> {
        self.read(|c| manifest::get(c, repository.as_str(), name))
    }

    fn moved_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        before: &Digest,
    ) -> Result<Option<Digest>> {
        self.read(|c| query::moved_tag(c, repository.as_str(), tag, before))
    }

    fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        now: Moment,
        delays: Delays,
    ) -> Result<Removal> {
        let (repository, digest) = (repository.clone(), *digest);
        self.write(move |c| manifest::delete(c, repository.as_str(), &digest, now, delays))
    }

    fn delete_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        now: Moment,
        delays: Delays,
    ) -> Result<Option<Freed>> {
        let (repository, tag) = (repository.clone(), tag.clone());
        self.write(move |c| manifest::delete_tag(c, repository.as_str(), &tag, now, delays))
    }

    fn tags(&self, repository: &RepositoryName, list: &TagList) -> Result<Option<Page<TagRecord>>> {
        self.read(|c| query::tags(c, repository.as_str(), list))
    }

    fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Page<Referrer>> {
        let name = repository.as_str();
        self.read(|c| query::referrers(c, name, subject, artifact_type, after, limit))
    }

    fn upload(&self, id: &UploadId) -> Result<Option<UploadRecord>> {
        self.read(|c| upload::get(c, id))
    }

    fn start_upload(&self, upload: &UploadRecord) -> Result<()> {
        let upload = upload.clone();
        self.write_with(Survives::Kill, move |c| upload::put(c, &upload))
    }

    fn put_upload(&self, upload: &UploadRecord) -> Result<()> {
        let upload = upload.clone();
        self.write(move |c| upload::put(c, &upload))
    }

    fn delete_upload(&self, id: &UploadId) -> Result<bool> {
        let id = id.clone();
        self.write(move |c| upload::delete(c, &id))
    }

    /// In one transaction.
    fn delete_uploads(&self, ids: &[UploadId]) -> Result<()> {
        let ids = ids.to_vec();
        self.write(move |c| {
            for id in &ids {
                upload::delete(c, id)?;
            }
            Ok(())
        })
    }

    fn empty_uploads(&self) -> Result<u64> {
        self.read(upload::count_empty)
    }

    fn names_ingest(&self, id: &IngestId) -> Result<bool> {
        self.read(|c| upload::names_ingest(c, id))
    }

    fn stale_uploads(&self, cutoff: Moment, limit: usize) -> Result<Vec<UploadId>> {
        self.read(|c| upload::stale(c, cutoff, limit))
    }

    fn review(&self, now: Moment, delays: Delays, limit: usize) -> Result<Reviewed> {
        self.write(move |c| review::run(c, now, delays, limit))
    }

    fn next_review(&self) -> Result<Option<Moment>> {
        self.read(review::next)
    }

    fn forget_blob(&self, digest: &Digest) -> Result<bool> {
        let digest = *digest;
        self.write(move |c| blob::forget(c, &digest))
    }

    /// In one transaction.
    fn forget_blobs(&self, blobs: &[BlobInfo]) -> Result<Vec<BlobInfo>> {
        let blobs = blobs.to_vec();
        self.write(move |c| {
            let mut gone = Vec::new();
            for blob in blobs {
                if blob::forget(c, &blob.digest)? {
                    gone.push(blob);
                }
            }
            Ok(gone)
        })
    }

    fn stored_blobs(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobInfo>> {
        self.read(|c| blob::stored(c, after, limit))
    }

    fn contents(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<(Digest, Vec<u8>)>> {
        self.read(|c| blob::contents(c, after, limit))
    }

    fn knows_blob(&self, digest: &Digest) -> Result<bool> {
        self.read(|c| blob::known(c, digest))
    }

    fn holders(&self, digest: &Digest, now: Moment) -> Result<Vec<Holder>> {
        self.read(|c| query::holders(c, digest, now))
    }

    fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>> {
        self.read(|c| event::list(c, after, limit))
    }

    fn forget_events(&self, cutoff: Moment) -> Result<u64> {
        // Nearly always there is nothing to write.
        if !self.read(|c| event::has_older(c, cutoff))? {
            return Ok(0);
        }
        self.write(move |c| event::forget(c, cutoff))
    }

    fn totals(&self) -> Result<Totals> {
        self.read(query::totals)
    }
}
