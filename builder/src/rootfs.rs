//! The root file system after a step: its layers, and the view of them when somebody looks.

use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use rbuild_cache::LayerRecord;
use rbuild_image::layer::{Rootfs, scan};
use rbuild_image::{DiffId, Digest, Hasher};
use rbuild_store::local::{Area, LocalStore};

use crate::base::BaseImage;
use crate::copy::{Bytes, RootTree};
use crate::replace::replace;

/// A stack of layers.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) layers: Vec<LayerRecord>,
    /// The identity of what the stack holds: a chain of the layers' content ids (design 1.5).
    pub(crate) content: Digest,
    view: Arc<OnceLock<Rootfs>>,
}

impl State {
    /// The empty root file system.
    pub(crate) fn scratch() -> Self {
        Self {
            layers: Vec::new(),
            content: Digest::sha256(b"scratch"),
            view: Arc::default(),
        }
    }

    /// The root file system of an image in the store.
    pub(crate) fn of_base(store: &LocalStore, image: &BaseImage) -> io::Result<Self> {
        Self::of_layers(store, &image.config.rootfs.diff_ids)
    }

    /// The root file system of layers in the store, lowest first.
    pub(crate) fn of_layers(store: &LocalStore, diff_ids: &[DiffId]) -> io::Result<Self> {
        let layers = if diff_ids.len() == 1 {
            diff_ids
                .iter()
                .map(|diff_id| layer_record(store, *diff_id))
                .collect::<io::Result<Vec<_>>>()?
        } else {
            // Layers of a new image are read whole; two cores read two at a time.
            std::thread::scope(|scope| {
                let threads: Vec<_> = diff_ids
                    .iter()
                    .map(|diff_id| scope.spawn(move || layer_record(store, *diff_id)))
                    .collect();
                let joined = threads.into_iter().map(|thread| {
                    thread.join().unwrap_or_else(|_| {
                        Err(io::Error::other("a thread that read a layer failed"))
                    })
                });
                joined.collect::<io::Result<Vec<_>>>()
            })?
        };
        Ok(layers
            .into_iter()
            .fold(Self::scratch(), |state, layer| state.with(Some(layer))))
    }

    /// The stack with one more layer, or the same stack.
    pub(crate) fn with(&self, layer: Option<LayerRecord>) -> Self {
        let Some(layer) = layer else {
            return self.clone();
        };
        let mut hasher = Hasher::sha256();
        hasher.update(self.content.as_bytes());
        hasher.update(layer.content_id.as_bytes());
        let mut layers = self.layers.clone();
        layers.push(layer);
        Self {
            layers,
            content: hasher.finish(),
            view: Arc::default(),
        }
    }

    /// The layers as the one file system that they make.
    pub(crate) fn view(&self, store: &LocalStore) -> io::Result<&Rootfs> {
        if let Some(view) = self.view.get() {
            return Ok(view);
        }
        let tables = self.layers.iter().map(|layer| {
            store.toc(layer.diff_id)?.ok_or_else(|| {
                io::Error::other(format!("layer {} has no table of contents", layer.diff_id))
            })
        });
        let tables = tables.collect::<io::Result<Vec<_>>>()?;
        Ok(self.view.get_or_init(|| Rootfs::new(tables)))
    }

    /// The files, for copying from.
    pub(crate) fn tree<'a>(&'a self, store: &LocalStore) -> io::Result<RootTree<'a>> {
        let bytes = Bytes::Layers(self.layers.iter().map(|layer| layer.diff_id).collect());
        Ok(RootTree {
            view: self.view(store)?,
            bytes,
        })
    }

    /// Reads a small file, links followed; none when it is not there.
    ///
    /// What was read is kept by its digest: a layer of an image is compressed, and the account files of a base
    /// are asked for in every build.
    pub(crate) fn read(&self, store: &LocalStore, path: &str) -> io::Result<Option<Vec<u8>>> {
        const MAX: u64 = 16 << 20;
        let Ok(resolved) = self.view(store)?.resolve(path.as_bytes(), true) else {
            return Ok(None);
        };
        let Some(node) = resolved.node else {
            return Ok(None);
        };
        let Some(content) = node.content else {
            return Ok(None);
        };
        let rbuild_image::layer::Kind::File { size } = node.entry.kind else {
            return Ok(None);
        };
        if size > MAX {
            return Err(io::Error::other(format!(
                "`{path}` has {size} bytes, which is no account file"
            )));
        }
        let directory = store.dir(Area::Cache).join("files");
        let kept = directory.join(content.digest.hex());
        if let Ok(bytes) = std::fs::read(&kept)
            && Digest::sha256(&bytes) == content.digest
        {
            return Ok(Some(bytes));
        }
        let layer = self.layers[node.layer].diff_id;
        let missing = || io::Error::other(format!("layer {layer} is not in the store"));
        let mut stream = store.open_layer_stream(layer)?.ok_or_else(missing)?;
        io::copy(
            &mut Read::by_ref(&mut stream).take(content.offset),
            &mut io::sink(),
        )?;
        let mut bytes = Vec::new();
        stream.take(size).read_to_end(&mut bytes)?;
        if Digest::sha256(&bytes) != content.digest {
            return Err(io::Error::other(format!(
                "layer {layer} is damaged: `{path}` has not the content it had"
            )));
        }
        std::fs::create_dir_all(&directory)?;
        replace(&kept, &bytes)?;
        Ok(Some(bytes))
    }
}

/// What a layer of an image holds; read once, then known by its diff id.
fn layer_record(store: &LocalStore, diff_id: DiffId) -> io::Result<LayerRecord> {
    if let Some(toc) = store.toc(diff_id)? {
        let size = store.layer_blob(diff_id)?.map_or(0, |blob| blob.size);
        return Ok(LayerRecord {
            diff_id,
            content_id: toc.content_id().digest(),
            size,
        });
    }
    let missing = || io::Error::other(format!("layer {diff_id} is not in the store"));
    let stream = store.open_layer_stream(diff_id)?.ok_or_else(missing)?;
    let summary = scan(stream).map_err(io::Error::other)?;
    if summary.diff_id != diff_id {
        let got = summary.diff_id;
        return Err(io::Error::other(format!(
            "a layer of the base image decompresses to `{got}`, and its config says `{diff_id}`"
        )));
    }
    store.put_toc(diff_id, &summary.toc, summary.content_id)?;
    Ok(LayerRecord {
        diff_id,
        content_id: summary.content_id.digest(),
        size: summary.size,
    })
}
