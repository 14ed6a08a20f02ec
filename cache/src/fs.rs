//! An index in small files, safe for any number of processes.
//!
//! ```text
//! <root>/records/<2 hex>/<hex of the key>.json     one record
//! <root>/positions/<hex of the position>           the key last used there
//! ```
//!
//! Files appear whole by rename and are never changed, so a reader sees a whole record or none.
//! They are not synced: after a power cut a torn file reads as "no record".

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rbuild_image::Digest;

use crate::{CacheIndex, CacheKey, Position, Record};

/// Records as files below a directory.
#[derive(Debug)]
pub struct FsCacheIndex {
    root: PathBuf,
    serial: AtomicU64,
}

impl FsCacheIndex {
    /// An index below `root`, which is made when the first record is put.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            serial: AtomicU64::new(0),
        }
    }

    fn record_path(&self, key: &CacheKey) -> PathBuf {
        let hex = key.digest().hex();
        self.root
            .join("records")
            .join(&hex[..2])
            .join(format!("{hex}.json"))
    }

    fn position_path(&self, position: &Position) -> PathBuf {
        self.root.join("positions").join(position.digest().hex())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("tmp-{}-{serial}", std::process::id()));
        let attempt = || {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(bytes)?;
            fs::rename(&temporary, path)
        };
        let result = attempt().or_else(|error| {
            let Some(parent) = path
                .parent()
                .filter(|_| error.kind() == ErrorKind::NotFound)
            else {
                return Err(error);
            };
            fs::create_dir_all(parent)?;
            attempt()
        });
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        result.map_err(|error| with_path(&error, path))
    }
}

impl CacheIndex for FsCacheIndex {
    fn get(&self, key: &CacheKey) -> io::Result<Option<Record>> {
        let path = self.record_path(key);
        Ok(read(&path)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    fn put(&self, key: &CacheKey, position: &Position, record: &Record) -> io::Result<()> {
        let bytes = serde_json::to_vec(record).map_err(io::Error::other)?;
        self.write(&self.record_path(key), &bytes)?;
        self.confirm(key, position)
    }

    fn latest(&self, position: &Position) -> io::Result<Option<Record>> {
        let Some(text) = read(&self.position_path(position))? else {
            return Ok(None);
        };
        match serde_json::from_slice::<CacheKey>(&text) {
            Ok(key) => self.get(&key),
            Err(_) => Ok(None),
        }
    }

    fn confirm(&self, key: &CacheKey, position: &Position) -> io::Result<()> {
        let path = self.position_path(position);
        let bytes = serde_json::to_vec(key).map_err(io::Error::other)?;
        if read(&path)?.is_some_and(|there| there == bytes) {
            return Ok(());
        }
        self.write(&path, &bytes)
    }

    fn walk(&self, visit: &mut dyn FnMut(&CacheKey, Record)) -> io::Result<()> {
        for fan in list(&self.root.join("records"))? {
            for path in list(&fan)? {
                let hex = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .and_then(|name| name.strip_suffix(".json"));
                let Some(digest) =
                    hex.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok())
                else {
                    continue;
                };
                let Ok(key) = serde_json::from_value::<CacheKey>(digest.to_string().into()) else {
                    continue;
                };
                if let Some(record) = self.get(&key)? {
                    visit(&key, record);
                }
            }
        }
        Ok(())
    }

    fn delete(&self, key: &CacheKey) -> io::Result<()> {
        match fs::remove_file(self.record_path(key)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(with_path(&error, &self.record_path(key)))
            }
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(with_path(&error, path)),
    }
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(with_path(&error, directory)),
    }
}

fn with_path(error: &io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyBuilder;

    #[test]
    fn keeps_the_promises_of_an_index() {
        let directory = tempfile::tempdir().unwrap();
        let mut number = 0;
        let mut fresh = || {
            number += 1;
            Box::new(FsCacheIndex::open(
                directory.path().join(number.to_string()),
            )) as Box<dyn CacheIndex>
        };
        crate::contract::check(&mut fresh);
    }

    #[test]
    fn a_torn_record_is_no_record() {
        let directory = tempfile::tempdir().unwrap();
        let index = FsCacheIndex::open(directory.path());
        let (key, _) = KeyBuilder::new("run").finish();
        let position = Position::new("a", "b", 0);
        let record = crate::contract::record("x");
        index.put(&key, &position, &record).unwrap();
        for torn in [&b""[..], b"{\"layer\":", b"\0\0\0\0"] {
            fs::write(index.record_path(&key), torn).unwrap();
            assert_eq!(index.get(&key).unwrap(), None);
            assert_eq!(index.latest(&position).unwrap(), None);
        }
        index.put(&key, &position, &record).unwrap();
        assert_eq!(index.get(&key).unwrap(), Some(record));
    }

    #[test]
    fn no_temporary_file_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let index = FsCacheIndex::open(directory.path());
        let (key, _) = KeyBuilder::new("run").finish();
        index
            .put(
                &key,
                &Position::new("a", "b", 0),
                &crate::contract::record("x"),
            )
            .unwrap();
        let files = list(&directory.path().join("positions")).unwrap();
        assert_eq!(files.len(), 1);
    }
}
