//! Base images, as the plan sees them: manifest and config; files only when a step needs them.

use rbuild_image::{Descriptor, ImageConfig, Manifest, MediaType, Platform, Raw, Reference};
use rbuild_parser::Diagnostic;
use rbuild_store::BlobStore;
use rbuild_store::local::LocalStore;
use std::io::Read;

use crate::error::{BuildError, Doing};
use crate::graph::BaseName;
use crate::request::PullPolicy;
use crate::source::ImageSource;

/// The largest manifest, index or config that is read, in bytes.
const DOCUMENT_MAX: u64 = 16 << 20;

/// An image in the local store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// The name it was asked for by.
    pub reference: Reference,
    /// Descriptor of its manifest.
    pub descriptor: Descriptor,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its config.
    pub config: ImageConfig,
}

/// Finds base images: in the local store first, then at the source.
pub(crate) struct Bases<'a> {
    pub(crate) store: &'a LocalStore,
    pub(crate) source: &'a dyn ImageSource,
    pub(crate) pull: PullPolicy,
}

impl Bases<'_> {
    /// The image, whole in the local store.
    pub(crate) fn get(
        &self,
        name: &BaseName,
        progress: &dyn Fn(&str, u64, u64),
    ) -> Result<BaseImage, BuildError> {
        let stored = || {
            self.store
                .resolve(&name.reference)
                .doing(|| format!("cannot look up image `{}`", name.reference.familiar()))
        };
        if self.pull != PullPolicy::Always
            && let Some(top) = stored()?
            && let Some(image) = self.load(name, top)?
        {
            return Ok(image);
        }
        if self.pull == PullPolicy::Never {
            return Err(not_found(
                name,
                "it is not in the local store, and pulling is switched off",
                None,
            ));
        }
        let descriptor = self
            .source
            .fetch(&name.reference, &name.platform, progress)
            .map_err(|error| not_found(name, &error.message, error.hint))?;
        self.load(name, descriptor)?.ok_or_else(|| {
            not_found(
                name,
                &format!("what came has no manifest for platform `{}`", name.platform),
                None,
            )
        })
    }

    /// Reads manifest and config; none when the store lacks a part, or the image is for another platform.
    fn load(&self, name: &BaseName, top: Descriptor) -> Result<Option<BaseImage>, BuildError> {
        let doing = || {
            format!(
                "cannot read image `{}` from the local store",
                name.reference.familiar()
            )
        };
        let Some(bytes) = self.document(&top).doing(doing)? else {
            return Ok(None);
        };
        if top.media_type.is_index() {
            let index = Raw::<rbuild_image::Index>::parse(bytes)
                .map_err(std::io::Error::other)
                .doing(doing)?;
            return match index.value().choose(&name.platform) {
                Some(child) => self.load(name, child.clone()),
                None => Ok(None),
            };
        }
        let manifest = Raw::<Manifest>::parse(bytes)
            .map_err(std::io::Error::other)
            .doing(doing)?
            .into_parts()
            .1;
        let Some(bytes) = self.document(&manifest.config).doing(doing)? else {
            return Ok(None);
        };
        let config = Raw::<ImageConfig>::parse(bytes)
            .map_err(std::io::Error::other)
            .doing(doing)?
            .into_parts()
            .1;
        for layer in &manifest.layers {
            if self
                .store
                .blobs()
                .stat(&layer.digest)
                .doing(doing)?
                .is_none()
            {
                return Ok(None);
            }
        }
        if manifest.layers.len() != config.rootfs.diff_ids.len() {
            let message = format!(
                "its manifest has {} layers and its config {}",
                manifest.layers.len(),
                config.rootfs.diff_ids.len()
            );
            return Err(not_found(name, &message, None));
        }
        let own = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
        if !own.satisfies(&name.platform) && !config.os.is_empty() {
            return Ok(None);
        }
        for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            self.store.note_layer(*diff_id, layer).doing(doing)?;
        }
        Ok(Some(BaseImage {
            reference: name.reference.clone(),
            descriptor: top,
            manifest,
            config,
        }))
    }

    fn document(&self, descriptor: &Descriptor) -> std::io::Result<Option<Vec<u8>>> {
        let Some(reader) = self.store.blobs().open(&descriptor.digest)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        reader.take(DOCUMENT_MAX).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

fn not_found(name: &BaseName, why: &str, hint: Option<String>) -> BuildError {
    let mut diagnostic = Diagnostic::error(
        "base-image",
        name.span,
        format!("cannot get image `{}`: {why}", name.reference.familiar()),
    );
    diagnostic.help = match &name.near_stage {
        Some(stage) => Some(format!("did you mean the stage `{stage}`?")),
        None => hint,
    };
    diagnostic.into()
}

impl BaseImage {
    /// Media type of a layer when our own manifest names it: Docker's types become OCI's, for the same bytes.
    pub fn oci_layer(descriptor: &Descriptor) -> Descriptor {
        use rbuild_image::media_type::Compression;
        let media_type = match descriptor.media_type.layer_compression() {
            Some(Compression::Gzip) => MediaType::LAYER_GZIP,
            Some(Compression::Zstd) => MediaType::LAYER_ZSTD,
            Some(Compression::None) => MediaType::LAYER,
            None => descriptor.media_type.clone(),
        };
        Descriptor::new(media_type, descriptor.digest, descriptor.size)
    }
}
