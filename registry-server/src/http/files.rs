//! Blob files that are open because they were just asked for.
//!
//! Many clients ask for the same layer, in parts or all at once; each part would otherwise open and check the file again.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rbuild_image::Digest;

use super::mapping::Mapping;

/// Files that are kept open at most.
const OPEN: usize = 64;
/// How long a file stays open that nobody asks for; a deleted blob's space is free only after that.
const IDLE: Duration = Duration::from_secs(10);

/// The open files. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Files(Arc<Mutex<HashMap<Digest, Entry>>>);

#[derive(Debug)]
struct Entry {
    mapping: Arc<Mapping>,
    used: Instant,
}

impl Files {
    /// The file of a blob, if it is open and nobody has touched it.
    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Mapping>> {
        let mut files = self.files();
        let entry = files.get_mut(digest)?;
        if entry.mapping.is_in_place() {
            entry.used = Instant::now();
            return Some(Arc::clone(&entry.mapping));
        }
        files.remove(digest);
        None
    }

    /// Maps a file that was just opened and found whole, and keeps it.
    pub(super) fn insert(
        &self,
        digest: Digest,
        file: File,
        length: usize,
    ) -> io::Result<Arc<Mapping>> {
        let mapping = Mapping::new(file, length)?;
        let mut files = self.files();
        if files.len() >= OPEN {
            let oldest = files.iter().min_by_key(|(_, entry)| entry.used);
            if let Some(digest) = oldest.map(|(digest, _)| *digest) {
                files.remove(&digest);
            }
        }
        files.insert(
            digest,
            Entry {
                mapping: Arc::clone(&mapping),
                used: Instant::now(),
            },
        );
        Ok(mapping)
    }

    /// Closes files that nobody asked for lately.
    pub(super) fn expire(&self) {
        self.files().retain(|_, entry| entry.used.elapsed() < IDLE);
    }

    fn files(&self) -> MutexGuard<'_, HashMap<Digest, Entry>> {
        // Each change is one call on the map, so a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
