//! Pulling images: index, platform, manifest, config, layers.

use std::sync::Arc;

use rbuild_image::{Descriptor, ImageConfig, Manifest, Platform, Raw, Reference};
use rbuild_store::BlobStore;

use crate::{Client, Document, Observer, Result};

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
        unimplemented!("{reference}{platform}{store:?}{}", size_of_val(observer))
    }

    /// Pulls those layers of an image, in parallel, that `wanted` says yes to; it gets the position and the descriptor.
    pub async fn pull_layers(
        &self,
        image: &PulledImage,
        wanted: &(dyn Fn(usize, &Descriptor) -> bool + Sync),
        store: &Arc<dyn BlobStore>,
        observer: &dyn Observer,
    ) -> Result<()> {
        unimplemented!(
            "{image:?}{}{store:?}{}",
            size_of_val(wanted),
            size_of_val(observer)
        )
    }
}
