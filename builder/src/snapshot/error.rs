//! What goes wrong with derived directories.

use std::io;

use rustix::io::Errno;

/// Why a layer cannot be laid out, or changes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file system refuses.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path; inside the layer where it is one of a layer.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An owner has no id in the user namespace.
    #[error("`{path}` belongs to {uid}:{gid}, which has no id in the user namespace")]
    Owner {
        /// The entry.
        path: String,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// Reading the layer failed.
    #[error("cannot read the layer `{diff_id}`")]
    Layer {
        /// Which one.
        diff_id: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A hard link leads to a file that no layer has.
    #[error("hard link `{path}` leads to `{target}`, which does not exist")]
    Link {
        /// The link.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// Overlayfs left something that is no layer by itself.
    #[error("`{path}` in the changes of a step refers to lower layers (`{attribute}`)")]
    Incomplete {
        /// The path.
        path: String,
        /// The attribute that says so.
        attribute: String,
    },
    /// The changes cannot be written as a layer.
    #[error("cannot write `{path}` into the layer")]
    Write {
        /// The entry.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Adds what was done, and to what, to an error of the system.
pub(super) trait Doing<T> {
    fn doing(self, action: &'static str, path: &[u8]) -> Result<T, SnapshotError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, action: &'static str, path: &[u8]) -> Result<T, SnapshotError> {
        self.map_err(|error| SnapshotError::Io {
            action,
            path: lossy(path),
            source: error.into(),
        })
    }
}

pub(super) fn lossy(path: &[u8]) -> String {
    match path {
        b"" => "/".to_owned(),
        _ => String::from_utf8_lossy(path).into_owned(),
    }
}

/// Whether the system says that an owner is outside of the ids that it knows here.
pub(super) fn is_foreign_owner(error: Errno) -> bool {
    error == Errno::INVAL
}
