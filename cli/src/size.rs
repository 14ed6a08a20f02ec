//! Sizes of layers and images, as docker counts them: the contents of their files.

use rbuild_image::DiffId;
use rbuild_image::layer::{Toc, scan};
use rbuild_store::local::LocalStore;

use crate::exit::{Doing, Outcome};
use crate::session::Documents;

/// The size of an image in bytes.
pub(crate) fn image_size(store: &LocalStore, documents: &Documents) -> Outcome<u64> {
    let config = documents.config.value();
    let mut total = 0;
    for (index, layer) in config.rootfs.diff_ids.iter().enumerate() {
        let blob = documents.manifest.value().layers.get(index);
        total += layer_size(store, *layer)?.unwrap_or_else(|| blob.map_or(0, |blob| blob.size));
    }
    Ok(total)
}

/// The size of a layer in bytes; `None` if it cannot be known here.
///
/// If nobody has made its table of contents yet, the layer is read once, and what was found is kept.
pub(crate) fn layer_size(store: &LocalStore, layer: DiffId) -> Outcome<Option<u64>> {
    let reading = || format!("cannot read layer `{}`", layer.0.short());
    if let Some(toc) = store.toc(layer).doing(reading)? {
        return Ok(Some(file_bytes(&toc)));
    }
    let Some(stream) = store.open_layer_stream(layer).doing(reading)? else {
        return Ok(None);
    };
    // A damaged layer has no size; using it tells why.
    match scan(stream) {
        Ok(summary) if summary.diff_id == layer => {
            store.put_summary(&summary).doing(reading)?;
            Ok(Some(summary.file_bytes))
        }
        _ => Ok(None),
    }
}

fn file_bytes(toc: &Toc) -> u64 {
    let contents = toc.iter().filter_map(|entry| entry.content());
    contents.map(|content| content.size).sum()
}
