//! A copy of a registry, made while it serves; and back.
//!
//! A backup has the shape of a registry's directory, so it can also be served as it is.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

use rbuild_image::Digest;
use rbuild_store::{BlobInfo, BlobStore, Durability, Expected, FsBlobStore};

use super::{AdminError, DATABASE, Directory, at, removal_lock};
use crate::metadata::{MetadataStore, SqliteMetadata};

const PAGE: usize = 500;

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Blobs that were copied or linked.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that the target had already.
    pub present: u64,
}

/// Copies the registry in `data` to `target`; a server may serve from `data` meanwhile.
///
/// The copy is the registry of one moment. If `target` is an older backup, only what is new is copied.
pub fn backup(data: &Path, target: &Path) -> Result<Copied, AdminError> {
    let source = Directory::open(data)?;
    // Until all files are copied, none that the copied records name is removed.
    let _copying = removal_lock(data, true).map_err(at(data))?;
    fs::create_dir_all(target).map_err(at(target))?;
    let unfinished = target.join("meta.db.unfinished");
    remove_database(&unfinished)?;
    source.metadata.copy_to(&unfinished)?;
    let records = SqliteMetadata::open_read_only(&unfinished)?;
    let blobs = FsBlobStore::open(target, Durability::Durable).map_err(at(target))?;
    let copied = copy_blobs(&source.blobs, &records, &blobs)?;
    drop(records);
    // Bytes before names: the records count only now that all their blobs are there.
    remove_database(&target.join(DATABASE))?;
    install_database(&unfinished, target)?;
    Ok(copied)
}

/// Makes a registry in `data`, which must be new or empty, from a backup. Every blob is verified.
pub fn restore(backup: &Path, data: &Path) -> Result<Copied, AdminError> {
    let source = Directory::open(backup)?;
    if data.exists() && fs::read_dir(data).map_err(at(data))?.next().is_some() {
        return Err(AdminError::NotEmpty(data.to_owned()));
    }
    fs::create_dir_all(data).map_err(at(data))?;
    let unfinished = data.join("meta.db.unfinished");
    source.metadata.copy_to(&unfinished)?;
    let blobs = FsBlobStore::open(data, Durability::Durable).map_err(at(data))?;
    let copied = copy_blobs(&source.blobs, &source.metadata, &blobs)?;
    install_database(&unfinished, data)?;
    Ok(copied)
}

fn copy_blobs(
    source: &FsBlobStore,
    records: &SqliteMetadata,
    target: &FsBlobStore,
) -> Result<Copied, AdminError> {
    let mut copied = Copied::default();
    let mut after: Option<Digest> = None;
    loop {
        let page = records.stored_blobs(after.as_ref(), PAGE)?;
        let Some(last) = page.last() else {
            return Ok(copied);
        };
        after = Some(last.digest);
        for blob in &page {
            let path = target.path_of(&blob.digest);
            if target.stat(&blob.digest).map_err(at(&path))? == Some(*blob) {
                copied.present += 1;
            } else {
                copy_blob(source, *blob, target)?;
                copied.blobs += 1;
                copied.bytes += blob.size;
            }
        }
    }
}

/// Copies one blob, and checks it on the way.
fn copy_blob(source: &FsBlobStore, blob: BlobInfo, target: &FsBlobStore) -> Result<(), AdminError> {
    let path = source.path_of(&blob.digest);
    let mut reader = source
        .open(&blob.digest)
        .map_err(at(&path))?
        .ok_or(AdminError::Blob(blob.digest))?;
    let path = target.path_of(&blob.digest);
    let mut ingest = target
        .ingest_with(blob.digest.algorithm())
        .map_err(at(&path))?;
    let mut chunk = vec![0; 1 << 20];
    loop {
        let count = reader.read(&mut chunk).map_err(at(&path))?;
        if count == 0 {
            break;
        }
        ingest.write_all(&chunk[..count]).map_err(at(&path))?;
    }
    ingest
        .commit(Expected::Blob(blob))
        .map_err(|_| AdminError::Blob(blob.digest))?;
    Ok(())
}

fn install_database(unfinished: &Path, target: &Path) -> Result<(), AdminError> {
    let database = target.join(DATABASE);
    fs::File::open(unfinished)
        .and_then(|file| file.sync_all())
        .map_err(at(unfinished))?;
    fs::rename(unfinished, &database).map_err(at(&database))?;
    remove_side_files(unfinished)?;
    fs::File::open(target)
        .and_then(|directory| directory.sync_all())
        .map_err(at(target))
}

/// Removes a database with the files that `SQLite` keeps beside it.
fn remove_database(path: &Path) -> Result<(), AdminError> {
    remove(path)?;
    remove_side_files(path)
}

fn remove_side_files(path: &Path) -> Result<(), AdminError> {
    for suffix in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        remove(Path::new(&name))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), AdminError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}
