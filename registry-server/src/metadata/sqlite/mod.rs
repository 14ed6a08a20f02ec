//! Metadata in one embedded `SQLite` file.
//!
//! One thread writes. It takes all transactions that wait and commits them together, so many small pushes share one `fsync`;
//! each of them still happens as a whole or not at all (a savepoint each), and is answered only after the common commit.
//! Those that need not survive a loss of power are a group of their own, without the `fsync`.
//! Readers have connections of their own and never wait for the writer (write-ahead log).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rbuild_store::BlobInfo;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Rows};

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
#[cfg(test)]
mod tests;
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

/// What a transaction survives once it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Survives {
    /// The end of this process: the system has it, and writes it to disk when it likes.
    Kill,
    /// A loss of power as well: it is on disk.
    PowerLoss,
}

impl Survives {
    /// What `PRAGMA synchronous` is to be for a group of such transactions.
    ///
    /// Groups of both kinds follow each other in one log. `FULL` syncs the whole file of it, so what earlier groups left as well;
    /// `NORMAL` leaves out that sync, but none of those of a checkpoint, as `OFF` would.
    /// So a loss of power takes at most a tail of the log that has no [`Self::PowerLoss`] in it (docs/adr/0017).
    const fn synchronous(self) -> &'static str {
        match self {
            Self::Kill => "NORMAL",
            Self::PowerLoss => "FULL",
        }
    }
}

/// A transaction that waits.
struct Job {
    survives: Survives,
    work: Work,
}

/// One transaction; it returns what to do when its fate is known.
type Work = Box<dyn FnOnce(&Connection) -> Completion + Send>;
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
        set_synchronous(&connection, Survives::PowerLoss)?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
        schema::migrate(&mut connection)?;
        let room = Arc::new(Room::new(&path, &connection)?);
        let (jobs, waiting) = mpsc::channel();
        let writer = Writer {
            connection,
            room: Arc::clone(&room),
            set: Survives::PowerLoss,
        };
        let writer = std::thread::Builder::new()
            .name("metadata".to_owned())
            .spawn(move || writer.run(&waiting))
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
        self.write_with(Survives::PowerLoss, work)
    }

    /// The same for a transaction that need not be on disk.
    fn write_with<T: Send + 'static>(
        &self,
        survives: Survives,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, outcome): (SyncSender<Result<T>>, _) = mpsc::sync_channel(1);
        let work: Work = Box::new(move |connection| {
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
            .and_then(|sender| sender.send(Job { survives, work }).ok())
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
    /// Lets the writer finish what waits. It closes the file last, so that nothing stays in the log: readers could not empty it.
    fn drop(&mut self) {
        let readers = self.readers.get_mut();
        readers.unwrap_or_else(PoisonError::into_inner).clear();
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

fn set_synchronous(connection: &Connection, survives: Survives) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", survives.synchronous())
}

/// What the one thread has that writes.
struct Writer {
    connection: Connection,
    room: Arc<Room>,
    /// What the connection is set to.
    set: Survives,
}

impl Writer {
    /// Writes until nobody can ask any more.
    fn run(mut self, waiting: &Receiver<Job>) {
        while let Ok(first) = waiting.recv() {
            // If this fails, so does what follows, or there is no need for it.
            let _ = self.room.spare_log(&self.connection);
            let all = std::iter::once(first).chain(waiting.try_iter());
            let (soft, hard): (Vec<Job>, Vec<Job>) = all
                .take(GROUP)
                .partition(|job| job.survives == Survives::Kill);
            if !soft.is_empty() {
                self.write_group(Survives::Kill, soft.into_iter());
            }
            if !hard.is_empty() {
                // With all that has come meanwhile: one sync is for as many as possible.
                let jobs = hard.into_iter().chain(waiting.try_iter()).take(GROUP);
                self.write_group(Survives::PowerLoss, jobs);
            }
        }
    }

    /// Commits transactions together.
    fn write_group(&mut self, survives: Survives, jobs: impl Iterator<Item = Job>) {
        let begun = self.begin(survives);
        // Without the group's transaction, each of them fails.
        let completions: Vec<Completion> = jobs.map(|job| (job.work)(&self.connection)).collect();
        let outcome = begun
            .map_err(CommitFailure::from)
            .and_then(|()| self.commit());
        if outcome.is_err() && !self.connection.is_autocommit() {
            // If this fails as well, the next `BEGIN` says so.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        for completion in completions {
            completion(outcome.as_ref().copied());
        }
    }

    fn begin(&mut self, survives: Survives) -> rusqlite::Result<()> {
        // It cannot be changed within a transaction.
        if self.set != survives {
            set_synchronous(&self.connection, survives)?;
            self.set = survives;
        }
        self.connection.execute_batch("BEGIN IMMEDIATE")
    }

    fn commit(&self) -> std::result::Result<(), CommitFailure> {
        if !self.room.holds(&self.connection)? {
            return Err(CommitFailure {
                full: true,
                message: "the disk has no room for more records".to_owned(),
            });
        }
        Ok(self.connection.execute_batch("COMMIT")?)
    }
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

/// The blobs of an answer with the columns digest and size.
fn blob_infos(mut rows: Rows<'_>) -> Result<Vec<BlobInfo>> {
    let mut blobs = Vec::new();
    while let Some(row) = rows.next()? {
        blobs.push(BlobInfo {
            digest: parsed(&row.get::<_, String>(0)?)?,
            size: unsigned(row.get(1)?)?,
        });
    }
    Ok(blobs)
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
