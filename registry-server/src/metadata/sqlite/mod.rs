//! Metadata in one embedded `SQLite` file.
//!
//! One thread writes. It takes all transactions that wait and commits them together, so many small pushes share one `fsync`;
//! each of them still happens as a whole or not at all (a savepoint each), and is answered only after the common commit.
//! Readers have connections of their own and never wait for the writer (write-ahead log).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::{MetadataError, Result};
use room::Room;

mod blob;
mod event;
mod holdings;
mod manifest;
#[cfg(test)]
mod plans;
mod query;
mod review;
mod room;
mod schema;
mod store;
mod upload;

/// Transactions that are committed together at most.
const GROUP: usize = 256;
/// Idle read connections that are kept.
const IDLE_READERS: usize = 4;

/// Metadata in an `SQLite` file.
pub struct SqliteMetadata {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    jobs: Mutex<Option<Sender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// The last of all, so that every connection is closed before.
    _room: Option<Arc<Room>>,
}

/// One transaction; it returns what to do when its fate is known.
type Job = Box<dyn FnOnce(&Connection) -> Completion + Send>;
type Completion = Box<dyn FnOnce(std::result::Result<(), &CommitFailure>) + Send>;

/// Why a group was not committed; every transaction of it is told.
struct CommitFailure {
    full: bool,
    message: String,
}

impl SqliteMetadata {
    /// Opens the file, and brings its schema up to date. There may be only one process that writes to it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let mut connection = Connection::open(&path)?;
        configure(&connection)?;
        // Full: the log is synced at every commit, so what was acknowledged survives a power loss.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
        schema::migrate(&mut connection)?;
        let room = Arc::new(Room::new(&path, &connection)?);
        let (jobs, waiting) = mpsc::channel();
        let keeping = Arc::clone(&room);
        let writer = std::thread::Builder::new()
            .name("metadata".to_owned())
            .spawn(move || write_groups(&connection, &waiting, &keeping))
            .map_err(|error| MetadataError::Database(error.into()))?;
        Ok(Self {
            path,
            readers: Mutex::default(),
            jobs: Mutex::new(Some(jobs)),
            writer: Mutex::new(Some(writer)),
            _room: Some(room),
        })
    }

    /// Opens the file for questions alone, while another process may be serving from it.
    ///
    /// Every transaction that writes answers [`MetadataError::Closed`].
    pub fn open_read_only(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let reader = open_reader(&path)?;
        let found = schema::version(&reader)?;
        schema::check_known(found)?;
        Ok(Self {
            path,
            readers: Mutex::new(vec![reader]),
            jobs: Mutex::new(None),
            writer: Mutex::new(None),
            _room: None,
        })
    }

    /// Writes a consistent copy to `target`, which must not exist, while transactions go on.
    pub fn copy_to(&self, target: &Path) -> Result<()> {
        let target = target.to_str().ok_or_else(|| MetadataError::Damaged {
            what: "the path of the copy is not UTF-8".to_owned(),
        })?;
        self.read(|connection| Ok(connection.execute("VACUUM INTO ?1", [target]).map(drop)?))
    }

    /// Reads the whole file and reports what `SQLite` finds wrong with it; empty if nothing.
    pub fn check(&self) -> Result<Vec<String>> {
        self.read(|connection| {
            let mut statement = connection.prepare("PRAGMA integrity_check")?;
            let lines: Vec<String> = statement
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            Ok(lines.into_iter().filter(|line| line != "ok").collect())
        })
    }

    /// Runs a question on a connection of its own.
    fn read<T>(&self, question: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.lock_readers().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_reader(&self.path)?,
        };
        let answer = question(&connection);
        let mut readers = self.lock_readers();
        if readers.len() < IDLE_READERS {
            readers.push(connection);
        }
        answer
    }

    /// Runs a transaction in the next group, and returns when it is on disk.
    fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, outcome): (SyncSender<Result<T>>, _) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |connection| {
            let result = in_savepoint(connection, work);
            Box::new(move |committed| {
                // The asker may be gone; the transaction stands anyway.
                let _ = reply.send(match committed {
                    Ok(()) => result,
                    Err(failure) => result.and(Err(failure.into())),
                });
            })
        });
        let sender = self
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        sender
            .and_then(|sender| sender.send(job).ok())
            .ok_or(MetadataError::Closed)?;
        outcome.recv().map_err(|_| MetadataError::Closed)?
    }

    fn lock_readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // A list of idle connections is whole whatever panicked.
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SqliteMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteMetadata")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Drop for SqliteMetadata {
    /// Lets the writer finish what waits.
    fn drop(&mut self) {
        let jobs = self.jobs.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(jobs.take());
        let writer = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = writer.take() {
            // A panic of the writer has been reported on its own thread; there is nothing left to save here.
            let _ = writer.join();
        }
    }
}

fn open_reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    configure(&connection)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> Result<()> {
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    // Plans do not depend on the values that are bound; otherwise a cached statement is planned anew for each of them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // In KiB, per connection; the system's page cache does the rest.
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}

fn write_groups(connection: &Connection, waiting: &Receiver<Job>, room: &Room) {
    while let Ok(first) = waiting.recv() {
        let mut completions = Vec::new();
        // If this fails, so does what follows, or there is no need for it.
        let _ = room.spare_log(connection);
        let outcome = write_group(connection, waiting, first, &mut completions, room);
        if outcome.is_err() && !connection.is_autocommit() {
            // If this fails as well, the next `BEGIN` says so.
            let _ = connection.execute_batch("ROLLBACK");
        }
        for completion in completions {
            completion(outcome.as_ref().copied());
        }
    }
}

fn write_group(
    connection: &Connection,
    waiting: &Receiver<Job>,
    first: Job,
    completions: &mut Vec<Completion>,
    room: &Room,
) -> std::result::Result<(), CommitFailure> {
    let begun = connection.execute_batch("BEGIN IMMEDIATE");
    if let Err(error) = begun {
        completions.push(first(connection));
        return Err(error.into());
    }
    completions.push(first(connection));
    while completions.len() < GROUP
        && let Ok(job) = waiting.try_recv()
    {
        completions.push(job(connection));
    }
    if !room.holds(connection)? {
        return Err(CommitFailure {
            full: true,
            message: "the disk has no room for more records".to_owned(),
        });
    }
    Ok(connection.execute_batch("COMMIT")?)
}

/// Undoes everything that `work` did if it fails, and nothing of what ran before it.
fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T>,
) -> Result<T> {
    if connection.is_autocommit() {
        // The group's transaction did not begin.
        return Err(MetadataError::Closed);
    }
    connection.prepare_cached("SAVEPOINT job")?.execute([])?;
    let result = work(connection);
    if result.is_err() {
        connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    connection.prepare_cached("RELEASE job")?.execute([])?;
    result
}

impl From<rusqlite::Error> for MetadataError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged {
                what: error.to_string(),
            },
            _ => Self::Database(error.into()),
        }
    }
}

impl From<rusqlite::Error> for CommitFailure {
    fn from(error: rusqlite::Error) -> Self {
        Self {
            full: error.sqlite_error_code() == Some(ErrorCode::DiskFull),
            message: error.to_string(),
        }
    }
}

impl From<&CommitFailure> for MetadataError {
    fn from(failure: &CommitFailure) -> Self {
        if failure.full {
            Self::Full
        } else {
            Self::Database(failure.message.clone().into())
        }
    }
}

/// The number of a repository, if it exists.
fn repository_id(connection: &Connection, name: &str) -> Result<Option<i64>> {
    Ok(connection
        .prepare_cached("SELECT id FROM repositories WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

/// Reads a value that we wrote in its text form.
fn parsed<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| MetadataError::Damaged {
        what: format!("`{text}` is not what belongs in its column"),
    })
}

/// Sizes and counts are kept as SQL's signed integers.
fn unsigned(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| MetadataError::Damaged {
        what: format!("the size {value} is negative"),
    })
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
