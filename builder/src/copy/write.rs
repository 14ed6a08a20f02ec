//! From a list of entries to a stored layer: each file is read once, nothing is held in memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use rbuild_cache::LayerRecord;
use rbuild_image::DiffId;
use rbuild_image::layer::{Kind, LayerSummary, LayerWriter};
use rbuild_store::local::LocalStore;
use rbuild_store::{CommitError, Expected, Ingest};

use super::place::{Placed, shown};
use super::source::{Content, Stamp};

/// Streams the entries into a layer and stores it.
pub(crate) fn write_layer(store: &LocalStore, list: &[Placed]) -> io::Result<LayerRecord> {
    let mut writer = LayerWriter::new(store.ingest()?);
    let mut layers = HashMap::new();
    for placed in list {
        match &placed.entry.kind {
            Kind::File { .. } => {
                file(store, &mut writer, placed, &mut layers).map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("{}: {error}", shown(&placed.entry.path)),
                    )
                })?;
            }
            _ => writer.entry(&placed.entry)?,
        }
    }
    let (ingest, summary) = writer.finish()?;
    store_layer(store, ingest, &summary)
}

/// Makes a written layer a blob and keeps its table of contents.
pub(crate) fn store_layer(
    store: &LocalStore,
    ingest: Box<dyn Ingest>,
    summary: &LayerSummary,
) -> io::Result<LayerRecord> {
    let expected = Expected::Digest(summary.diff_id.0);
    ingest.commit(expected).map_err(|error| match error {
        CommitError::Io(error) => error,
        broken => io::Error::other(broken),
    })?;
    store.put_toc(summary.diff_id, &summary.toc, summary.content_id)?;
    Ok(LayerRecord {
        diff_id: summary.diff_id,
        content_id: summary.content_id.digest(),
        size: summary.size,
    })
}

fn file(
    store: &LocalStore,
    writer: &mut LayerWriter<Box<dyn Ingest>>,
    placed: &Placed,
    layers: &mut HashMap<DiffId, File>,
) -> io::Result<()> {
    let entry = &placed.entry;
    let known = placed.content.as_ref().and_then(Content::digest);
    match &placed.content {
        None => writer.file(entry, &mut io::empty(), known)?,
        Some(Content::Text(text)) => writer.file(entry, &mut &text[..], known)?,
        Some(Content::File { path, stamp, .. }) => {
            let mut file = File::open(path)?;
            // The key was made of what was hashed; a file that changed since must not go in under that key.
            if Stamp::of(&file.metadata()?) != *stamp {
                return Err(io::Error::other(
                    "the file changed while it was being copied; build again",
                ));
            }
            writer.file(entry, &mut file, known)?
        }
        Some(Content::Layer { layer, offset, .. }) => {
            let file = match layers.entry(*layer) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(new) => {
                    let file = store.open_layer(*layer)?;
                    let missing = || io::Error::other(format!("layer {layer} is not in the store"));
                    new.insert(file.ok_or_else(missing)?)
                }
            };
            writer.file(
                entry,
                &mut Window::new(file, *offset, size_of(placed)),
                known,
            )?
        }
        Some(Content::Spool { spool, offset, .. }) => {
            let file = spool.file()?;
            writer.file(
                entry,
                &mut Window::new(&file, *offset, size_of(placed)),
                known,
            )?
        }
    };
    Ok(())
}

const fn size_of(placed: &Placed) -> u64 {
    match placed.entry.kind {
        Kind::File { size } => size,
        _ => 0,
    }
}

/// A part of a file, read without moving the file's own position.
struct Window<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl<'a> Window<'a> {
    const fn new(file: &'a File, offset: u64, size: u64) -> Self {
        Self {
            file,
            offset,
            left: size,
        }
    }
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = self.file.read_at(&mut buffer[..room], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
