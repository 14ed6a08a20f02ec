//! Pulling images: index, platform, manifest, config, layers.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use rbuild_image::{
    Descriptor, ImageConfig, Index, Manifest, MediaType, Platform, Raw, Reference, VerifyReader,
};
use rbuild_store::{BlobStore, Expected};
use serde::de::DeserializeOwned;

use crate::error::printable;
use crate::{
    Client, ClientError, Document, InvalidImage, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Observer,
    Result, TransferEvent, blob, document, manifest,
};

/// Indexes may hold indexes; this many levels are followed.
const MAX_INDEX_DEPTH: usize = 4;

/// An image of a registry, its documents verified and in the store.
#[derive(Debug, Clone)]
pub struct PulledImage {
    /// The name that was asked for.
    pub reference: Reference,
    /// What the name stands for: an index, or the manifest itself.
    pub top: Document,
    /// Descriptor of the chosen manifest; equal to that of `top` where there is no index.
    pub manifest_descriptor: Descriptor,
    /// The chosen manifest; its layers are lowest first.
    pub manifest: Raw<Manifest>,
    /// The config; as many `diff_ids` as there are layers.
    pub config: Raw<ImageConfig>,
}

impl Client {
    /// Pulls an image for `platform` into `store`: index, manifest and config, then all layers in parallel.
    ///
    /// Blobs that the store has are not fetched.
    /// When it succeeds the store holds every blob of the image.
    pub async fn pull_image(
        &self,
        reference: &Reference,
        platform: &Platform,
        store: &Arc<dyn BlobStore>,
        observer: &dyn Observer,
    ) -> Result<PulledImage> {
        let image = self
            .pull_documents(reference, platform, store, observer)
            .await?;
        self.pull_layers(&image, &|_, _| true, store, observer)
            .await?;
        Ok(image)
    }

    /// Pulls index, manifest and config of an image, and no layer.
    pub async fn pull_documents(
        &self,
        reference: &Reference,
        platform: &Platform,
        store: &Arc<dyn BlobStore>,
        observer: &dyn Observer,
    ) -> Result<PulledImage> {
        let mut top = None;
        let mut is_promised = false;
        let mut next = self.resolve(reference).await?;
        observer.on_event(&TransferEvent::Resolved {
            reference,
            descriptor: &next,
        });
        for _ in 0..=MAX_INDEX_DEPTH {
            let document = self.document(reference, &next, store).await?;
            // The length of the first is a header's word; those of the others are part of what was hashed.
            if is_promised && document.descriptor.size != next.size {
                return Err(ClientError::Size {
                    what: format!("manifest `{}`", next.digest),
                    registry: reference.registry.to_string(),
                    expected: next.size,
                    actual: document.descriptor.size,
                });
            }
            let top = top.get_or_insert_with(|| document.clone());
            if document.descriptor.media_type.is_index() {
                next = choose(reference, platform, &document)?;
                is_promised = true;
                continue;
            }
            let manifest: Raw<Manifest> = parse(reference, "manifest", document.bytes)?;
            let config = self
                .config_of(reference, &manifest, store, observer)
                .await?;
            return Ok(PulledImage {
                reference: reference.clone(),
                top: top.clone(),
                manifest_descriptor: document.descriptor,
                manifest,
                config,
            });
        }
        Err(invalid(reference, InvalidImage::Nesting(MAX_INDEX_DEPTH)))
    }

    /// Pulls those layers of an image, in parallel, that `wanted` says yes to; it gets the position and the descriptor.
    pub async fn pull_layers(
        &self,
        image: &PulledImage,
        wanted: &(dyn Fn(usize, &Descriptor) -> bool + Sync),
        store: &Arc<dyn BlobStore>,
        observer: &dyn Observer,
    ) -> Result<()> {
        // The same layer may stand at several places.
        let mut seen = HashSet::new();
        let layers = image.manifest.value().layers.iter().enumerate();
        let pulls: Vec<_> = layers
            .filter(|(index, layer)| wanted(*index, layer) && seen.insert(layer.digest))
            .map(|(_, layer)| self.pull_blob(&image.reference, layer, store, observer))
            .collect();
        futures_util::stream::iter(pulls)
            .buffer_unordered(self.config().parallel.max(1))
            .try_collect()
            .await
    }

    /// A manifest or index by digest: from the store, or else from the registry into the store.
    async fn document(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        store: &Arc<dyn BlobStore>,
    ) -> Result<Document> {
        let what = manifest::describe(reference);
        if let Some(bytes) = stored(store, descriptor, MAX_MANIFEST_BYTES, &what)? {
            // The store's bytes may have come under another name, so they are looked at like any others.
            if let Ok(media_type) = document::media_type(&bytes, None) {
                let size = bytes.len() as u64;
                let descriptor = Descriptor::new(media_type, descriptor.digest, size);
                return Ok(Document { descriptor, bytes });
            }
        }
        let by_digest = reference.with_digest(descriptor.digest);
        let document = self.manifest_of(&by_digest, &what).await?;
        keep(store, &document.descriptor, &document.bytes, &what)?;
        Ok(document)
    }

    async fn config_of(
        &self,
        reference: &Reference,
        manifest: &Raw<Manifest>,
        store: &Arc<dyn BlobStore>,
        observer: &dyn Observer,
    ) -> Result<Raw<ImageConfig>> {
        let descriptor = &manifest.value().config;
        let refuse = |what, media_type: &MediaType| {
            invalid(
                reference,
                InvalidImage::MediaType {
                    what,
                    media_type: printable(media_type.as_str(), 200),
                },
            )
        };
        if !descriptor.media_type.is_config() {
            return Err(refuse("config", &descriptor.media_type));
        }
        let layers = &manifest.value().layers;
        if let Some(odd) = layers
            .iter()
            .find(|layer| layer.media_type.layer_compression().is_none())
        {
            return Err(refuse("layer", &odd.media_type));
        }
        let what = blob::describe(descriptor);
        if descriptor.size > MAX_CONFIG_BYTES {
            return Err(ClientError::TooLarge {
                what,
                limit: MAX_CONFIG_BYTES,
            });
        }
        self.pull_blob(reference, descriptor, store, observer)
            .await?;
        let bytes = stored(store, descriptor, MAX_CONFIG_BYTES, &what)?.ok_or_else(|| {
            ClientError::Local {
                action: "read",
                what,
                source: io::ErrorKind::NotFound.into(),
            }
        })?;
        let config: Raw<ImageConfig> = parse(reference, "config", bytes)?;
        let diff_ids = config.value().rootfs.diff_ids.len();
        if diff_ids != layers.len() {
            return Err(invalid(
                reference,
                InvalidImage::LayerCount {
                    layers: layers.len(),
                    diff_ids,
                },
            ));
        }
        Ok(config)
    }
}

/// The entry of an index for a platform.
fn choose(reference: &Reference, platform: &Platform, index: &Document) -> Result<Descriptor> {
    let parsed: Raw<Index> = parse(reference, "index", index.bytes.clone())?;
    let index = parsed.value();
    if let Some(chosen) = index.choose(platform) {
        return Ok(chosen.clone());
    }
    // Tools that make images for one platform may leave it out of the index.
    if let [only] = &index.manifests[..]
        && only.platform.is_none()
    {
        return Ok(only.clone());
    }
    let mut available: Vec<String> = Vec::new();
    for own in index
        .manifests
        .iter()
        .filter_map(|own| own.platform.as_ref())
    {
        let text = printable(&own.to_string(), 80);
        // Attestations are listed as `unknown/unknown`.
        if own.os != "unknown" && !available.contains(&text) {
            available.push(text);
        }
    }
    Err(ClientError::NoPlatform {
        reference: format!("`{}`", reference.familiar()),
        wanted: platform.to_string(),
        available,
    })
}

fn invalid(reference: &Reference, problem: InvalidImage) -> ClientError {
    ClientError::Image {
        reference: format!("`{}`", reference.familiar()),
        problem,
    }
}

fn parse<T: DeserializeOwned>(
    reference: &Reference,
    what: &'static str,
    bytes: Vec<u8>,
) -> Result<Raw<T>> {
    Raw::parse(bytes).map_err(|error| {
        let reason = error.to_string();
        invalid(reference, InvalidImage::Malformed { what, reason })
    })
}

/// A small blob of the store; none if it is not there or too large.
fn stored(
    store: &Arc<dyn BlobStore>,
    descriptor: &Descriptor,
    limit: u64,
    what: &str,
) -> Result<Option<Vec<u8>>> {
    let read = || -> io::Result<Option<Vec<u8>>> {
        let Some(reader) = store.open(&descriptor.digest)? else {
            return Ok(None);
        };
        let size = reader.size();
        if size > limit {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        VerifyReader::new(reader, descriptor.digest, size).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    };
    read().map_err(|source| ClientError::Local {
        action: "read",
        what: what.to_owned(),
        source,
    })
}

fn keep(
    store: &Arc<dyn BlobStore>,
    descriptor: &Descriptor,
    bytes: &[u8],
    what: &str,
) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut ingest = store.ingest_with(descriptor.digest.algorithm())?;
        ingest.write_all(bytes)?;
        let outcome = ingest.commit(Expected::Digest(descriptor.digest));
        outcome.map(|_| ()).map_err(io::Error::other)
    };
    write().map_err(|source| ClientError::Local {
        action: "store",
        what: what.to_owned(),
        source,
    })
}
