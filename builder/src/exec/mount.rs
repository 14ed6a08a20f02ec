//! The mounts of a command, made in the helper process.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rbuild_store::IngestId;
use rustix::fs::{FlockOperation, flock};

use super::{CacheSharing, CommandMount};
use crate::sandbox::{Access, BindMount, SandboxMount};

/// A mount for the sandbox, and the lock that is held while it is used.
pub(super) struct Prepared {
    pub(super) mount: SandboxMount,
    pub(super) lock: Option<File>,
}

/// Makes a mount ready. `lay_out` gives the directories of layers, the topmost first; `scratch` makes an empty
/// directory that goes with the command; `caches` is where cache mounts are kept.
pub(super) fn prepare(
    mount: CommandMount,
    lay_out: &dyn Fn(&[rbuild_cache::LayerRecord]) -> io::Result<Vec<PathBuf>>,
    scratch: &dyn Fn() -> io::Result<PathBuf>,
    caches: &Path,
) -> io::Result<Prepared> {
    let mut lock = None;
    let mount = match mount {
        CommandMount::Layers {
            layers,
            source,
            target,
            read_only,
        } => {
            let access = if read_only {
                Access::ReadOnly
            } else {
                Access::Discard {
                    scratch: scratch()?,
                }
            };
            SandboxMount::Bind(BindMount {
                tree: lay_out(&layers)?,
                source,
                target,
                access,
            })
        }
        CommandMount::Cache {
            name,
            target,
            sharing,
            read_only,
            mode,
            uid,
            gid,
        } => {
            let (directory, held) = cache(caches, &name, sharing)?;
            lock = held;
            if !directory.exists() {
                make(&directory, mode, uid, gid)?;
            }
            let access = if read_only {
                Access::ReadOnly
            } else {
                Access::ReadWrite
            };
            SandboxMount::Bind(BindMount {
                tree: vec![directory],
                source: "/".to_owned(),
                target,
                access,
            })
        }
        CommandMount::Tmpfs { target, size } => SandboxMount::Tmpfs {
            target,
            size,
            mode: 0o1777,
        },
        CommandMount::File {
            target,
            content,
            mode,
            uid,
            gid,
        } => SandboxMount::File {
            target,
            content,
            mode,
            uid,
            gid,
        },
    };
    Ok(Prepared { mount, lock })
}

/// The directory of a cache mount: the named one, or for `private` the first that nobody uses.
fn cache(caches: &Path, name: &str, sharing: CacheSharing) -> io::Result<(PathBuf, Option<File>)> {
    fs::create_dir_all(caches)?;
    let locked = |name: &str, operation: FlockOperation| -> io::Result<Option<File>> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(caches.join(format!("{name}.lock")))?;
        match flock(&file, operation) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    match sharing {
        CacheSharing::Shared => Ok((caches.join(name), locked(name, FlockOperation::LockShared)?)),
        CacheSharing::Locked => Ok((
            caches.join(name),
            locked(name, FlockOperation::LockExclusive)?,
        )),
        CacheSharing::Private => {
            for number in 0_u32.. {
                let name = if number == 0 {
                    name.to_owned()
                } else {
                    format!("{name}-{number}")
                };
                if let Some(lock) = locked(&name, FlockOperation::NonBlockingLockExclusive)? {
                    return Ok((caches.join(&name), Some(lock)));
                }
            }
            Err(io::Error::other("all cache directories are in use"))
        }
    }
}

/// Makes a cache directory under another name first, so that nobody finds it half made.
fn make(directory: &Path, mode: u32, uid: u32, gid: u32) -> io::Result<()> {
    // Process ids are told apart only within one namespace.
    let temporary = directory.with_extension(format!("new-{}", IngestId::random()?.as_str()));
    fs::create_dir(&temporary)?;
    chown(&temporary, Some(uid), Some(gid))?;
    fs::set_permissions(&temporary, Permissions::from_mode(mode))?;
    match fs::rename(&temporary, directory) {
        // Another command made it meanwhile and has put something into it.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            fs::remove_dir(&temporary)
        }
        result => result,
    }
}
