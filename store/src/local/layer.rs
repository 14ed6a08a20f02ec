//! Layers by diff id: which blobs hold them, and what is known of their content.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use rbuild_image::layer::compress;
use rbuild_image::{Descriptor, DiffId, MediaType};

use super::{LocalStore, file};
use crate::{BlobStore, CommitError, Expected};

const PACKED: &str = "packed";
/// More forms of one layer are not worth remembering.
const PACKED_LIMIT: usize = 16;

impl LocalStore {
    /// The stored blob whose decompressed form is this layer, the uncompressed one if it is here.
    pub fn layer_blob(&self, layer: DiffId) -> io::Result<Option<Descriptor>> {
        if let Some(plain) = self.blobs().stat(&layer.0)? {
            return Ok(Some(Descriptor::new(
                MediaType::LAYER,
                plain.digest,
                plain.size,
            )));
        }
        for packed in self.packed(layer)? {
            if self.blobs().stat(&packed.digest)?.is_some() {
                return Ok(Some(packed));
            }
        }
        Ok(None)
    }

    /// Notes that a blob, here or in a registry, decompresses to this layer. The caller has checked it.
    pub fn note_layer(&self, layer: DiffId, blob: &Descriptor) -> io::Result<()> {
        if blob.digest == layer.0 {
            return Ok(());
        }
        if self.packed(layer)?.iter().any(|known| known == blob) {
            return Ok(());
        }
        let _locked = self.exclusive()?;
        let mut packed = self.packed(layer)?;
        packed.retain(|known| known.digest != blob.digest);
        packed.push(blob.clone());
        if packed.len() > PACKED_LIMIT {
            packed.remove(0);
        }
        file::write(&self.layer_path(layer, PACKED), &packed)
    }

    /// A compressed form of this layer that was made or seen before, always the same one.
    ///
    /// Its bytes may not be here: a registry may have them.
    pub fn compressed(&self, layer: DiffId) -> io::Result<Option<Descriptor>> {
        Ok(self.packed(layer)?.into_iter().next())
    }

    /// Notes the compressed form that was made of a layer. Same as [`Self::note_layer`].
    pub fn note_compressed(&self, layer: DiffId, blob: &Descriptor) -> io::Result<()> {
        self.note_layer(layer, blob)
    }

    /// The compressed forms that were noted, oldest first.
    pub(super) fn packed(&self, layer: DiffId) -> io::Result<Vec<Descriptor>> {
        Ok(file::read(&self.layer_path(layer, PACKED))?.unwrap_or_default())
    }

    /// Opens the uncompressed tar of a layer for reading anywhere in it; `None` if the layer is not here.
    ///
    /// If only a compressed blob is here, it is decompressed into the store first, once.
    pub fn open_layer(&self, layer: DiffId) -> io::Result<Option<File>> {
        if let Some((plain, _)) = self.blobs().open_file(&layer.0)? {
            return Ok(Some(plain));
        }
        let Some(mut stream) = self.open_layer_stream(layer)? else {
            return Ok(None);
        };
        let mut ingest = self.ingest()?;
        io::copy(&mut stream, &mut ingest)?;
        ingest
            .commit(Expected::Digest(layer.0))
            .map_err(|error| match error {
                CommitError::Io(error) => error,
                other => io::Error::new(io::ErrorKind::InvalidData, other),
            })?;
        Ok(self.blobs().open_file(&layer.0)?.map(|(plain, _)| plain))
    }

    /// Opens the uncompressed tar of a layer for reading once from its beginning; `None` if the layer is not here.
    ///
    /// A compressed blob is decompressed on the way. Nothing checks that it is this layer, but who noted it did.
    pub fn open_layer_stream(&self, layer: DiffId) -> io::Result<Option<Box<dyn Read + Send>>> {
        let Some(blob) = self.layer_blob(layer)? else {
            return Ok(None);
        };
        let Some((open, _)) = self.blobs().open_file(&blob.digest)? else {
            return Ok(None);
        };
        if blob.digest == layer.0 {
            return Ok(Some(Box::new(BufReader::with_capacity(256 << 10, open))));
        }
        let compression = blob.media_type.layer_compression().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "layer `{}` has the unknown media type `{}`",
                    layer.0.short(),
                    blob.media_type
                ),
            )
        })?;
        Ok(Some(compress::decompress(open, compression)))
    }

    pub(super) fn layer_path(&self, layer: DiffId, kind: &str) -> PathBuf {
        self.path(&["layers", &format!("{}.{kind}", layer.0.hex())])
    }
}
