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

/// A manifest under two tags that were set with it, all or nothing, and deleted with it.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// The manifest.
    pub(super) image: Image,
    /// Its tags.
    pub(super) tags: [String; 2],
    /// Whether the last answer said that it is here. `None`: the last request had no answer.
    pub(super) here: Option<bool>,
}

/// How much of a ledger was looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    blobs: usize,
    images: usize,
    mounted: usize,
    pairs: usize,
    referrers: usize,
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
    /// Blobs whose mount in [`Self::second`] was acknowledged.
    pub(super) mounted: Vec<Content>,
    /// Manifests that were pushed and deleted with their tags.
    pub(super) pairs: Vec<Pair>,
    /// Digests of subjects, and of manifests that were acknowledged to refer to them.
    pub(super) referrers: Vec<(String, Image)>,
}

impl Ledger {
    /// How many things were acknowledged.
    pub(super) fn len(&self) -> usize {
        let kept = self.blobs.len() + self.images.len() + self.uploads.len();
        kept + self.mounted.len() + self.pairs.len() + self.referrers.len()
    }

    /// The repository that blobs are mounted in.
    pub(super) fn second(&self) -> String {
        format!("{}/second", self.repository)
    }

    /// Everything that is here now.
    pub(super) const fn seen(&self) -> Seen {
        Seen {
            blobs: self.blobs.len(),
            images: self.images.len(),
            mounted: self.mounted.len(),
            pairs: self.pairs.len(),
            referrers: self.referrers.len(),
        }
    }

    /// Reads all of it.
    pub(super) fn check(&self, address: &str) -> Result<()> {
        self.check_after(address, Seen::default())
    }

    /// Reads what was acknowledged since; tags and uploads always.
    pub(super) fn check_after(&self, address: &str, seen: Seen) -> Result<()> {
        for content in self.blobs.iter().skip(seen.blobs) {
            wire::check_blob(address, &self.repository, &content.bytes())
                .context("an acknowledged blob is lost")?;
        }
        for content in &self.open {
            self.check_open(address, *content)?;
        }
        for image in self.images.iter().skip(seen.images) {
            self.check_image(address, image, &digest(&image.manifest))
                .context("an acknowledged manifest is lost")?;
        }
        for (tag, place) in &self.tags {
            self.check_tag(address, tag, place)
                .with_context(|| format!("tag {}:{tag}", self.repository))?;
        }
        for content in self.mounted.iter().skip(seen.mounted) {
            wire::check_blob(address, &self.second(), &content.bytes())
                .context("an acknowledged mount is lost")?;
        }
        for pair in self.pairs.iter().skip(seen.pairs) {
            self.check_pair(address, pair)?;
        }
        for (subject, image) in self.referrers.iter().skip(seen.referrers) {
            self.check_referrer(address, subject, image)
                .context("an acknowledged referrer is lost")?;
        }
        Ok(())
    }

    /// The manifest and both its tags are here, or none of them is.
    fn check_pair(&self, address: &str, pair: &Pair) -> Result<()> {
        let name = digest(&pair.image.manifest);
        let mut statuses = Vec::new();
        for reference in [&name, &pair.tags[0], &pair.tags[1]] {
            let path = format!("/v2/{}/manifests/{reference}", self.repository);
            statuses.push(wire::send(address, "GET", &path, &[], b"")?.status);
        }
        let here = match statuses.as_slice() {
            [200, 200, 200] => true,
            [404, 404, 404] => false,
            other => bail!("a manifest and its two tags are half here: {other:?}"),
        };
        if pair.here.is_some_and(|known| known != here) {
            bail!(
                "manifest {name} should be here: {:?}, and is: {here}",
                pair.here
            );
        }
        if here {
            self.check_image(address, &pair.image, &name)?;
        }
        Ok(())
    }

    fn check_referrer(&self, address: &str, subject: &str, image: &Image) -> Result<()> {
        let name = digest(&image.manifest);
        self.check_image(address, image, &name)?;
        let path = format!("/v2/{}/referrers/{subject}", self.repository);
        let answer = wire::send(address, "GET", &path, &[], b"")?.expect(200)?;
        let list = String::from_utf8_lossy(&answer.body);
        if !list.contains(&name) {
            bail!("{name} is not in the list of {subject}");
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
