//! Room for the records on a disk that others have filled.
//!
//! A deletion is written to the log before it frees anything, and the log can begin anew only once the file has taken what is in it.
//! So the file system keeps blocks for both in advance: then reads, deletions and the collection go on when nothing else is free.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

use super::super::{MetadataError, Result};

/// Bytes of the log that are kept: far more than one group of deletions and reviews writes.
const LOG: u64 = 2 << 20;
/// Bytes that are kept beyond the end of the file: deletions leave reviews and events.
const SPARE: u64 = 1 << 20;
/// With fewer free bytes than these the log must not grow.
const TIGHT: u64 = 8 << 20;

/// The blocks that are kept.
///
/// Closing a file takes away the locks that `SQLite` has on it in this process, so this outlives all connections.
#[derive(Debug)]
pub(super) struct Room {
    file: File,
    directory: PathBuf,
    page_bytes: u64,
}

impl Room {
    /// Keeps room for the log, as far as there is any.
    pub(super) fn new(path: &Path, connection: &Connection) -> Result<Self> {
        let page_bytes: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let opened = |path: &Path| {
            let file = OpenOptions::new().write(true).open(path);
            file.map_err(|error| MetadataError::Database(error.into()))
        };
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        if let Err(error) = keep(&opened(Path::new(&log))?, LOG) {
            tracing::warn!(%error, "no room is kept for the log of the records");
        }
        Ok(Self {
            file: opened(path)?,
            directory: path.parent().unwrap_or(Path::new(".")).to_owned(),
            page_bytes: page_bytes.into(),
        })
    }

    /// Sees to it that the log can be written to the file, with what the open transaction adds to it; `false` if there is no space for that.
    pub(super) fn holds(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let pages: u32 = connection
            .prepare_cached("PRAGMA page_count")?
            .query_row([], |row| row.get(0))?;
        let needed = u64::from(pages) * self.page_bytes;
        // Asked each time: whenever the log is empty, `SQLite` cuts the file to its length, and the spare goes.
        let kept = self.file.metadata().map_or(0, |file| file.blocks() * 512);
        if needed + SPARE / 2 <= kept {
            return Ok(true);
        }
        let Err(error) = keep(&self.file, needed + SPARE) else {
            return Ok(true);
        };
        tracing::debug!(%error, "no more room is kept for the records");
        Ok(needed <= kept || keep(&self.file, needed).is_ok())
    }

    /// Lets the log begin anew where it could not grow.
    pub(super) fn spare_log(&self, connection: &Connection) -> rusqlite::Result<()> {
        let tight = rustix::fs::statvfs(&self.directory)
            .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < TIGHT);
        if tight {
            // Readers may hold parts of it back; then it is tried again with the next group.
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
            self.holds(connection)?;
        }
        Ok(())
    }
}

/// Gives a file blocks for its first `bytes`, without making it longer where the file system can do that.
fn keep(file: &File, bytes: u64) -> io::Result<()> {
    let kept = retry_on_intr(|| fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes));
    match kept {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        outcome => return Ok(outcome?),
    }
    // Only the writer makes these files longer, and it is the one that asks.
    let mut at = file.metadata()?.len();
    while at < bytes {
        let zeros = [0; 4096];
        let length = (bytes - at).min(zeros.len() as u64);
        file.write_all_at(&zeros[..usize::try_from(length).unwrap_or(0)], at)?;
        at += length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::SqliteMetadata;

    fn blocks(path: &Path) -> u64 {
        std::fs::metadata(path).expect("a file").blocks() * 512
    }

    #[test]
    fn there_is_always_room_for_what_is_in_the_log() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("meta.db");
        let log = directory.path().join("meta.db-wal");
        let store = SqliteMetadata::open(&path).expect("opened");
        assert!(blocks(&log) >= LOG);
        let add = |bytes: u32| {
            let written = store.write(move |connection| {
                connection.execute_batch("CREATE TABLE IF NOT EXISTS filler (bytes BLOB)")?;
                connection.execute("INSERT INTO filler VALUES (randomblob(?1))", [bytes])?;
                Ok(())
            });
            written.expect("written");
        };
        // It is in the log alone.
        add(3_000_000);
        assert!(blocks(&path) >= 3_000_000);
        // With so much the log is emptied, and the file cut to its length; the next one keeps a spare again.
        add(20_000_000);
        add(1);
        let length = std::fs::metadata(&path).expect("a file").len();
        assert!(length > 20_000_000);
        assert!(blocks(&path) >= length + SPARE / 2);
        drop(store);
        let again = SqliteMetadata::open(&path).expect("opened again");
        assert!(blocks(&log) >= LOG);
        drop(again);
    }
}
