//! What is done to a registry's directory from beside it, most of it while a server serves from it.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rbuild_image::Digest;
use rbuild_registry_client::ClientError;
use rbuild_store::{Durability, FsBlobStore};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tokio::signal::unix::{SignalKind, signal};

use crate::metadata::{MetadataError, SqliteMetadata};
use crate::service;

mod backup;
pub mod doctor;
mod events;
mod import;
mod preview;
mod verify;

pub use backup::{Copied, backup, restore};
pub use events::{events, line as event_line};
pub use import::{Event, Imported, Origin, ParseOriginError, import, import_remote};
pub use preview::preview;
pub use verify::{Pace, Verified, verify, verify_forever};

/// Name of the database in a registry's directory.
pub const DATABASE: &str = "meta.db";

/// Why a task was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// There is no registry in the directory.
    #[error("`{0}` holds no registry")]
    NoRegistry(PathBuf),
    /// The target holds something already.
    #[error("`{0}` is not empty; restore into a directory that is new")]
    NotEmpty(PathBuf),
    /// A file could not be read or written.
    #[error("could not use `{path}`")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The records could not be read or written.
    #[error("could not use the metadata")]
    Metadata(#[from] MetadataError),
    /// A blob is not what its name says, or is not there.
    #[error("blob `{0}` is damaged or missing in the source")]
    Blob(Digest),
    /// What is imported is no OCI layout.
    #[error("`{path}` is no OCI image layout: {reason}")]
    Layout {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another registry did not give what was asked for.
    #[error("could not fetch `{name}`")]
    Remote {
        /// What was asked for.
        name: String,
        /// Why.
        #[source]
        source: Box<ClientError>,
    },
    /// What another registry gave cannot be followed.
    #[error("`{name}` cannot be imported: {reason}")]
    Content {
        /// The manifest.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It was stopped from outside; what came is kept, and the same command goes on.
    #[error("interrupted; the same command goes on from here")]
    Interrupted,
    /// The registry refused what is imported.
    #[error("could not import `{name}`")]
    Refused {
        /// What was imported.
        name: String,
        /// Why.
        #[source]
        source: service::Error,
    },
}

/// A registry's directory, for reading beside a server.
#[derive(Debug)]
pub struct Directory {
    /// Large blobs.
    pub blobs: FsBlobStore,
    /// Everything else; it takes no writes.
    pub metadata: SqliteMetadata,
}

impl Directory {
    /// Opens the registry in `path`.
    pub fn open(path: &Path) -> Result<Self, AdminError> {
        let database = path.join(DATABASE);
        if !database.is_file() {
            return Err(AdminError::NoRegistry(path.to_owned()));
        }
        Ok(Self {
            blobs: FsBlobStore::open(path, Durability::Durable).map_err(at(path))?,
            metadata: SqliteMetadata::open_read_only(database)?,
        })
    }
}

/// Keeps removals and copies apart: those who remove hold the lock alone, those who copy hold it together.
///
/// Who copies waits for its turn; who removes gets `None` while somebody copies.
pub(crate) fn removal_lock(data: &Path, copying: bool) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(data.join("removal.lock"))?;
    let operation = if copying {
        FlockOperation::LockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    loop {
        match rustix::fs::flock(&file, operation) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns when SIGINT or SIGTERM comes.
async fn asked_to_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => outcome,
        _ = terminate.recv() => Ok(()),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> AdminError + '_ {
    move |source| AdminError::File {
        path: path.to_owned(),
        source,
    }
}
