//! Digests of context files, by what `stat` says of them, from one build to the next.
//!
//! An entry is believed only when device, inode, size, modification and change time are all the same, and it is
//! kept only when the file was older than the scan by more than a clock's granularity: a file that is written
//! twice in one tick looks unchanged (Git calls such entries racily clean).

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rbuild_image::Digest;

use crate::copy::Stamp;
use crate::replace::replace;

/// The first bytes of a cache file; the last of them is its version.
const MAGIC: &[u8; 8] = b"rbstat\0\x01";
/// More entries than this are not kept.
const MAX_ENTRIES: usize = 2_000_000;
/// What the clocks of file systems may be late by.
const GRANULARITY: Duration = Duration::from_millis(100);

/// The digests that one context directory had.
#[derive(Debug)]
pub(crate) struct StatCache {
    file: PathBuf,
    started: SystemTime,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<(u64, u64), (Stamp, Digest)>,
    changed: bool,
}

impl StatCache {
    /// The cache of the context in `root`; empty when there is none or it cannot be read.
    pub(crate) fn open(directory: &Path, root: &Path) -> Self {
        let name = Digest::sha256(root.as_os_str().as_encoded_bytes()).hex();
        let file = directory.join(name);
        let entries = fs::read(&file)
            .ok()
            .and_then(|bytes| decode(&bytes))
            .unwrap_or_default();
        Self {
            file,
            started: SystemTime::now(),
            inner: Mutex::new(Inner {
                entries,
                changed: false,
            }),
        }
    }

    /// The digest of the file with this stamp.
    pub(crate) fn get(&self, stamp: &Stamp) -> Option<Digest> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, digest) = inner.entries.get(&(stamp.device, stamp.inode))?;
        (known == stamp).then_some(*digest)
    }

    /// Remembers a digest, unless the file is too young to be told from a later version of itself.
    pub(crate) fn put(&self, stamp: Stamp, digest: Digest) {
        let limit = self
            .started
            .checked_sub(GRANULARITY)
            .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        let Some(limit) = limit else { return };
        let limit = (
            i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            i64::from(limit.subsec_nanos()),
        );
        if stamp.mtime >= limit || stamp.ctime >= limit {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .entries
            .insert((stamp.device, stamp.inode), (stamp, digest));
        inner.changed = true;
    }

    /// Writes what is new. The file is a hint: the last of several writers wins.
    pub(crate) fn save(&self) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.changed || inner.entries.len() > MAX_ENTRIES {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(inner.entries.len() * 88 + 8);
        bytes.extend_from_slice(MAGIC);
        for (stamp, digest) in inner.entries.values() {
            for number in [stamp.device, stamp.inode, stamp.size] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            for number in [stamp.mtime.0, stamp.mtime.1, stamp.ctime.0, stamp.ctime.1] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes.extend_from_slice(digest.as_bytes());
        }
        replace(&self.file, &bytes)?;
        inner.changed = false;
        Ok(())
    }
}

fn decode(bytes: &[u8]) -> Option<HashMap<(u64, u64), (Stamp, Digest)>> {
    const RECORD: usize = 7 * 8 + 32;
    let body = bytes.strip_prefix(MAGIC)?;
    if body.len() % RECORD != 0 {
        return None;
    }
    let mut entries = HashMap::with_capacity(body.len() / RECORD);
    for record in body.chunks_exact(RECORD) {
        let word = |at: usize| {
            record[at * 8..at * 8 + 8]
                .try_into()
                .map(u64::from_le_bytes)
                .unwrap_or_default()
        };
        let signed = |at: usize| word(at).cast_signed();
        let stamp = Stamp {
            device: word(0),
            inode: word(1),
            size: word(2),
            mtime: (signed(3), signed(4)),
            ctime: (signed(5), signed(6)),
        };
        let digest = Digest::Sha256(record[56..].try_into().ok()?);
        entries.insert((stamp.device, stamp.inode), (stamp, digest));
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(seconds: i64) -> Stamp {
        Stamp {
            device: 1,
            inode: 2,
            size: 3,
            mtime: (seconds, 5),
            ctime: (seconds, 7),
        }
    }

    #[test]
    fn digests_are_found_again_while_nothing_changed() {
        let directory = tempfile::tempdir().unwrap();
        let open = || StatCache::open(directory.path(), Path::new("/context"));
        let digest = Digest::sha256(b"a");
        let cache = open();
        cache.put(stamp(1000), digest);
        cache.save().unwrap();
        let cache = open();
        assert_eq!(cache.get(&stamp(1000)), Some(digest));
        assert_eq!(cache.get(&stamp(1001)), None);
        assert_eq!(
            cache.get(&Stamp {
                ctime: (1000, 8),
                ..stamp(1000)
            }),
            None
        );
    }

    #[test]
    fn young_files_are_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let cache = StatCache::open(directory.path(), Path::new("/context"));
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let young = stamp(i64::try_from(now).unwrap() + 1);
        cache.put(young, Digest::sha256(b"a"));
        assert_eq!(cache.get(&young), None);
    }

    #[test]
    fn rubbish_is_an_empty_cache() {
        let directory = tempfile::tempdir().unwrap();
        let cache = StatCache::open(directory.path(), Path::new("/context"));
        for rubbish in [&b""[..], b"rbstat\0\x01x", b"other"] {
            fs::write(&cache.file, rubbish).unwrap();
            let cache = StatCache::open(directory.path(), Path::new("/context"));
            assert_eq!(cache.get(&stamp(1)), None);
        }
    }
}
