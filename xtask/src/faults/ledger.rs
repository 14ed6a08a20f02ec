//! What was acknowledged, and whether it is still there.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use super::content::{Content, digest};
use super::wire;

/// A manifest, with the blobs that it needs.
#[derive(Debug, Clone)]
pub(super) struct Image {
    /// Its bytes.
    pub(super) manifest: Vec<u8>,
    /// Its config and its layers.
    pub(super) blobs: Vec<Content>,
}

/// Where a tag may be.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// Where the last answered request left it; `None`: deleted, or never pushed.
    pub(super) known: Option<Image>,
    /// Where requests that were not acknowledged since would have left it.
    pub(super) open: Vec<Option<Image>>,
}

/// An upload that is not ended.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    /// Its address.
    pub(super) location: String,
    /// Bytes that were acknowledged.
    pub(super) known: usize,
    /// All of its bytes.
    pub(super) content: Content,
}

/// Everything that one client was told about its repository.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The repository.
    pub(super) repository: String,
    /// Blobs that were acknowledged.
    pub(super) blobs: Vec<Content>,
    /// Blobs whose push was not acknowledged: nothing of them may be seen but the whole.
    pub(super) open: Vec<Content>,
    /// Manifests that were acknowledged.
    pub(super) images: Vec<Image>,
    /// Tags.
    pub(super) tags: BTreeMap<String, Place>,
    /// Uploads under way.
    pub(super) uploads: Vec<Upload>,
}

impl Ledger {
    /// How many things were acknowledged.
    pub(super) fn len(&self) -> usize {
        self.blobs.len() + self.images.len() + self.uploads.len()
    }

    /// Reads all of it.
    pub(super) fn check(&self, address: &str) -> Result<()> {
        self.check_after(address, 0, 0)
    }

    /// Reads what was acknowledged after the first so many blobs and manifests; tags and uploads always.
    pub(super) fn check_after(&self, address: &str, blobs: usize, images: usize) -> Result<()> {
        for content in self.blobs.iter().skip(blobs) {
            wire::check_blob(address, &self.repository, &content.bytes())
                .context("an acknowledged blob is lost")?;
        }
        for content in &self.open {
            self.check_open(address, *content)?;
        }
        for image in self.images.iter().skip(images) {
            self.check_image(address, image, &digest(&image.manifest))
                .context("an acknowledged manifest is lost")?;
        }
        for (tag, place) in &self.tags {
            self.check_tag(address, tag, place)
                .with_context(|| format!("tag {}:{tag}", self.repository))?;
        }
        Ok(())
    }

    /// Goes on with every upload from where the server says it is, and ends it.
    pub(super) fn finish_uploads(&mut self, address: &str) -> Result<()> {
        for upload in std::mem::take(&mut self.uploads) {
            self.finish_upload(address, &upload)
                .context("an acknowledged chunk is lost")?;
            self.blobs.push(upload.content);
        }
        Ok(())
    }

    /// A blob that was not acknowledged is absent or whole. `true`: it is here.
    pub(super) fn check_open(&self, address: &str, content: Content) -> Result<bool> {
        let bytes = content.bytes();
        let name = digest(&bytes);
        let path = wire::blob_path(&self.repository, &name);
        let answer = wire::send(address, "GET", &path, &[], b"")?;
        match answer.status {
            404 => Ok(false),
            200 => wire::same(&answer, &name, &bytes).map(|()| true),
            status => bail!("{name} was not acknowledged, and is answered with {status}"),
        }
    }

    fn check_image(&self, address: &str, image: &Image, reference: &str) -> Result<()> {
        let path = format!("/v2/{}/manifests/{reference}", self.repository);
        let answer = wire::send(address, "GET", &path, &[], b"")?.expect(200)?;
        wire::same(&answer, &digest(&image.manifest), &image.manifest)?;
        for blob in &image.blobs {
            wire::check_blob(address, &self.repository, &blob.bytes())?;
        }
        Ok(())
    }

    fn check_tag(&self, address: &str, tag: &str, place: &Place) -> Result<()> {
        let path = format!("/v2/{}/manifests/{tag}", self.repository);
        let answer = wire::send(address, "HEAD", &path, &[], b"")?;
        let at = answer.header("docker-content-digest").unwrap_or_default();
        let mut allowed = std::iter::once(&place.known).chain(&place.open);
        let found = allowed.find(|place| match place {
            Some(image) => answer.status == 200 && digest(&image.manifest) == at,
            None => answer.status == 404,
        });
        match found {
            Some(Some(image)) => self.check_image(address, image, tag),
            Some(None) => Ok(()),
            None => bail!("status {}, on `{at}`, where nobody put it", answer.status),
        }
    }

    fn finish_upload(&self, address: &str, upload: &Upload) -> Result<()> {
        let bytes = upload.content.bytes();
        let location = &upload.location;
        let state = wire::send(address, "GET", location, &[], b"")?.expect(204)?;
        let received = state.received()?;
        if received < upload.known || received > bytes.len() {
            bail!(
                "{received} bytes are here, {} were acknowledged",
                upload.known
            );
        }
        if received < bytes.len() {
            wire::patch(address, location, received, &bytes[received..])?.expect(202)?;
        }
        wire::finish(address, location, &digest(&bytes))?.expect(201)?;
        wire::check_blob(address, &self.repository, &bytes)
    }
}
