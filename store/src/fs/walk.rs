//! Going through the directory of a store: all blobs, all ingests, and removing leftovers.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

use rbuild_image::Digest;

use super::Swept;
use super::ingest::{is_at, lock};
use super::layout::{Layout, at};
use crate::{BlobInfo, IngestId};

pub(super) fn blobs(
    layout: &Layout,
    visit: &mut dyn FnMut(BlobInfo) -> ControlFlow<()>,
) -> io::Result<()> {
    for (algorithm, directory) in layout.algorithms() {
        for prefix in entries(&directory)? {
            let prefix = prefix?.path();
            if !prefix.is_dir() {
                continue;
            }
            for entry in entries(&prefix)? {
                let entry = entry?;
                // Foreign files are not ours to count.
                let Some(digest) = entry.file_name().to_str().and_then(|hex| {
                    format!("{}:{hex}", algorithm.as_str())
                        .parse::<Digest>()
                        .ok()
                }) else {
                    continue;
                };
                let size = match entry.metadata() {
                    Ok(metadata) => metadata.len(),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(at(&entry.path())(error)),
                };
                if visit(BlobInfo { digest, size }).is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

pub(super) fn ingests(
    layout: &Layout,
    visit: &mut dyn FnMut(IngestId, u64, SystemTime),
) -> io::Result<()> {
    for entry in entries(layout.ingests())? {
        let entry = entry?;
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        match entry.metadata() {
            Ok(metadata) => visit(id, metadata.len(), metadata.modified()?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(&entry.path())(error)),
        }
    }
    Ok(())
}

pub(super) fn sweep(layout: &Layout, cutoff: SystemTime) -> io::Result<Swept> {
    let mut swept = Swept::default();
    let mut old = Vec::new();
    ingests(layout, &mut |id, _, modified| {
        if modified < cutoff {
            old.push(id);
        }
    })?;
    for id in old {
        if let Discard::Removed(bytes) = discard(&layout.ingest(&id), Some(cutoff))? {
            swept.ingests += 1;
            swept.bytes += bytes;
        }
    }
    Ok(swept)
}

/// What became of an ingest file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Discard {
    /// It was there, this long, and is gone.
    Removed(u64),
    /// It was not there, or is too young.
    Kept,
    /// Somebody is writing it.
    Busy,
}

/// Removes an ingest file that nobody has locked and, if there is a `cutoff`, that was not written since.
pub(super) fn discard(path: &Path, cutoff: Option<SystemTime>) -> io::Result<Discard> {
    let file: File = match OpenOptions::new().read(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Discard::Kept),
        Err(error) => return Err(at(path)(error)),
    };
    if !lock(&file).map_err(at(path))? {
        return Ok(Discard::Busy);
    }
    // Looked at again under the lock: it may have been written or committed since.
    let metadata = file.metadata().map_err(at(path))?;
    if !is_at(&file, path)? {
        return Ok(Discard::Kept);
    }
    if let Some(cutoff) = cutoff
        && metadata.modified()? >= cutoff
    {
        return Ok(Discard::Kept);
    }
    fs::remove_file(path).map_err(at(path))?;
    Ok(Discard::Removed(metadata.len()))
}

fn entries(path: &Path) -> io::Result<fs::ReadDir> {
    fs::read_dir(path).map_err(at(path))
}
