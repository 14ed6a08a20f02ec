//! Where things are in the directory of a store.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rbuild_image::{Algorithm, Digest};

use super::Durability;
use crate::IngestId;

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// The paths of one store.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
    blobs: PathBuf,
    ingests: PathBuf,
    /// The two-digit directories that this process knows to be on disk, by algorithm and number.
    durable: Box<[AtomicBool]>,
}

impl Layout {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            blobs: root.join("blobs"),
            ingests: root.join("ingest"),
            root,
            durable: (0..ALGORITHMS.len() * 256)
                .map(|_| AtomicBool::new(false))
                .collect(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn ingests(&self) -> &Path {
        &self.ingests
    }

    pub(super) fn create(&self, durability: Durability) -> io::Result<()> {
        fs::create_dir_all(&self.ingests).map_err(at(&self.ingests))?;
        for algorithm in ALGORITHMS {
            let directory = self.algorithm(algorithm);
            fs::create_dir_all(&directory).map_err(at(&directory))?;
        }
        if durability == Durability::Durable {
            for directory in [&self.ingests, &self.blobs, &self.root] {
                sync_directory(directory)?;
            }
            if let Some(parent) = self.root.parent()
                && parent != Path::new("")
            {
                sync_directory(parent)?;
            }
        }
        Ok(())
    }

    pub(super) fn algorithms(&self) -> impl Iterator<Item = (Algorithm, PathBuf)> {
        ALGORITHMS
            .into_iter()
            .map(|algorithm| (algorithm, self.algorithm(algorithm)))
    }

    fn algorithm(&self, algorithm: Algorithm) -> PathBuf {
        self.blobs.join(algorithm.as_str())
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let mut path = self.algorithm(digest.algorithm());
        path.push(&hex[..2]);
        path.push(hex);
        path
    }

    pub(super) fn ingest(&self, id: &IngestId) -> PathBuf {
        self.ingests.join(id.as_str())
    }

    fn known(&self, digest: &Digest) -> &AtomicBool {
        let row = ALGORITHMS
            .iter()
            .position(|algorithm| *algorithm == digest.algorithm())
            .unwrap_or(0);
        &self.durable[row * 256 + usize::from(digest.as_bytes()[0])]
    }

    /// The directory that the blob's file belongs to is gone.
    pub(super) fn forget(&self, digest: &Digest) {
        self.known(digest).store(false, Ordering::Release);
    }

    /// Makes the directory that the blob's file belongs to.
    pub(super) fn prepare(&self, digest: &Digest, durability: Durability) -> io::Result<PathBuf> {
        let target = self.blob(digest);
        let directory = target.parent().unwrap_or(&self.blobs);
        let known = self.known(digest);
        if known.load(Ordering::Acquire) {
            return Ok(target);
        }
        match fs::create_dir(directory) {
            // With the one above it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(directory).map_err(at(directory))?;
            }
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(at(directory)(error));
            }
            _ => {}
        }
        if durability == Durability::Durable {
            // Even if it was there: another process may have made it a moment ago and not synced it yet.
            sync_directory(&self.algorithm(digest.algorithm()))?;
            known.store(true, Ordering::Release);
        }
        Ok(target)
    }
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(at(path))
}

/// Adds the path to an error, and keeps its kind.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}
