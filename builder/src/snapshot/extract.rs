//! Laying out one layer as a directory that overlayfs takes.
//!
//! The table of contents says what there is, so the tar is read for the contents of files alone, front to back.
//! Nothing is followed on the way: the table has no entry below what is no directory.

mod write;

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rbuild_image::layer::{Entry, EntryRef, Kind, Node, Rootfs, Toc, compare_paths, join};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, XattrFlags, fsetxattr, linkat, makedev, mkdirat, mknodat,
    openat, symlinkat,
};
use rustix::io::Errno;

use super::attributes::{Attributes, ForeignOwners};
use super::error::{Doing, SnapshotError, lossy};
use super::place::{Places, open_below, open_root};
use crate::sandbox::OverlayMode;
use write::Writer;

/// A layer, and what is below it.
pub(super) struct Task<'a> {
    /// Which layer of the view this is.
    pub(super) index: usize,
    /// The tables of all layers of the stack.
    pub(super) view: &'a Rootfs,
    pub(super) diff_id: &'a str,
    pub(super) mode: OverlayMode,
    pub(super) foreign: ForeignOwners,
    /// Where the lower layers are laid out; asked for hard links into them only.
    pub(super) lower: &'a (dyn Fn(usize) -> Option<std::path::PathBuf> + Sync),
}

impl Task<'_> {
    fn toc(&self) -> &Toc {
        &self.view.layers()[self.index]
    }

    /// What the layers below this one show.
    fn below(&self) -> Rootfs {
        Rootfs::new(self.view.layers()[..self.index].to_vec())
    }
}

/// Lays the layer out in `directory`, which exists and is empty; `tar` is its uncompressed tar.
pub(super) fn extract(
    task: &Task<'_>,
    directory: &Path,
    tar: &mut dyn Read,
) -> Result<(), SnapshotError> {
    let root = open_root(directory)?;
    let root = root.as_fd();
    let mut implied = Vec::new();
    make_all_but_files(task, root, &mut implied)?;
    Writer { task, root }.write_files(tar)?;
    make_links(task, root)?;
    finish_directories(task, root, implied)
}

fn make_all_but_files(
    task: &Task<'_>,
    root: BorrowedFd<'_>,
    implied: &mut Vec<Vec<u8>>,
) -> Result<(), SnapshotError> {
    let mut places = Places::new(root);
    for entry in task.toc().iter() {
        let path = entry.path();
        if path.is_empty() && entry.kind() == Kind::Directory {
            continue;
        }
        let (at, name) = places.of_new(path, implied)?;
        match entry.kind() {
            Kind::Directory => {
                mkdirat(at, name, Mode::RWXU).doing("make", path)?;
            }
            // Their directories are made here, so that the threads which write them only open them.
            Kind::File { .. } | Kind::Hardlink(_) => {}
            Kind::Symlink(target) => {
                symlinkat(target, at, name).doing("make", path)?;
                Attributes::of(entry, task.foreign).set_at(at, name, true)?;
            }
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => {
                if make_node(at, name, entry)? {
                    Attributes::of(entry, task.foreign).set_at(at, name, false)?;
                }
            }
            Kind::Whiteout => {
                let device = FileType::CharacterDevice;
                mknodat(at, name, device, Mode::empty(), 0).doing("make the whiteout of", path)?;
            }
            Kind::Opaque => mark_opaque(task, root, path, implied)?,
        }
    }
    Ok(())
}

/// Makes a device or pipe. In user namespaces, and where engines run confined, devices cannot be made: they are
/// left out there, as in other engines; the layer itself keeps them.
fn make_node(at: BorrowedFd<'_>, name: &[u8], entry: EntryRef<'_>) -> Result<bool, SnapshotError> {
    let (kind, device) = match entry.kind() {
        Kind::CharDevice { major, minor } => (FileType::CharacterDevice, makedev(major, minor)),
        Kind::BlockDevice { major, minor } => (FileType::BlockDevice, makedev(major, minor)),
        _ => (FileType::Fifo, 0),
    };
    match mknodat(at, name, kind, Mode::RUSR | Mode::WUSR, device) {
        Ok(()) => Ok(true),
        Err(Errno::PERM) if kind != FileType::Fifo => Ok(false),
        Err(error) => Err(error).doing("make", entry.path()),
    }
}

fn mark_opaque(
    task: &Task<'_>,
    root: BorrowedFd<'_>,
    path: &[u8],
    implied: &mut Vec<Vec<u8>>,
) -> Result<(), SnapshotError> {
    // A name inside, so that the directory itself is made if only the mark is there.
    let inside = join(path, b"x");
    let mut places = Places::new(root);
    let (directory, _) = places.of_new(&inside, implied)?;
    let name = format!("{}opaque", task.mode.xattr_prefix());
    fsetxattr(directory, name, b"y", XattrFlags::empty()).doing("mark as opaque", path)
}

fn make_links(task: &Task<'_>, root: BorrowedFd<'_>) -> Result<(), SnapshotError> {
    let mut targets = Places::new(root);
    let mut places = Places::new(root);
    for entry in task.toc().iter() {
        let Kind::Hardlink(target) = entry.kind() else {
            continue;
        };
        let path = entry.path();
        let (at, name) = places.of(path)?;
        if task.toc().find(target).is_none() {
            copy_up(task, entry, target, at, name)?;
            continue;
        }
        let (target_at, target_name) = targets.of(target)?;
        match linkat(target_at, target_name, at, name, AtFlags::empty()) {
            // The file is a device that could not be made.
            Err(Errno::NOENT) => {}
            result => result.doing("link", path)?,
        }
    }
    Ok(())
}

/// A hard link to a file of a lower layer becomes a copy, as overlayfs would make it.
fn copy_up(
    task: &Task<'_>,
    entry: EntryRef<'_>,
    target: &[u8],
    at: BorrowedFd<'_>,
    name: &[u8],
) -> Result<(), SnapshotError> {
    let missing = || SnapshotError::Link {
        path: lossy(entry.path()),
        target: lossy(target),
    };
    let Node {
        entry: mut file,
        layer,
        position,
        ..
    } = task.below().lookup(target).ok_or_else(missing)?;
    file.path = entry.path().to_vec();
    let attributes = Attributes::of_owned(&file, task.foreign);
    match &file.kind {
        Kind::File { .. } => {
            let own_path = position
                .and_then(|position| task.view.layers()[layer].get(position))
                .ok_or_else(missing)?
                .path();
            let lower = (task.lower)(layer).ok_or_else(missing)?;
            let mut source = io::BufReader::new(std::fs::File::from(open_file(&lower, own_path)?));
            let mut copy = std::fs::File::from(write::create(at, name, &file.path)?);
            io::copy(&mut source, &mut copy).doing("write", &file.path)?;
            attributes.set(copy.as_fd())
        }
        Kind::Symlink(link) => {
            symlinkat(&link[..], at, name).doing("make", &file.path)?;
            attributes.set_at(at, name, true)
        }
        _ => Err(missing()),
    }
}

fn open_file(root: &Path, path: &[u8]) -> Result<OwnedFd, SnapshotError> {
    let root = open_root(root)?;
    open_below(root.as_fd(), path, OFlags::RDONLY).doing("open", path)
}

/// Directories get their attributes when nothing is made in them any more: from the last to the first.
fn finish_directories(
    task: &Task<'_>,
    root: BorrowedFd<'_>,
    implied: Vec<Vec<u8>>,
) -> Result<(), SnapshotError> {
    let toc = task.toc().iter();
    let mut directories: Vec<Entry> = toc
        .filter(|entry| entry.kind() == Kind::Directory)
        .map(|entry| entry.to_entry())
        .collect();
    let below = task.below();
    directories.extend(implied.into_iter().map(|path| {
        let lower = below.lookup(&path).map(|node| node.entry);
        lower
            .filter(|entry| entry.kind == Kind::Directory)
            .unwrap_or_else(|| Entry::new(path, Kind::Directory))
    }));
    directories.sort_by(|left, right| compare_paths(&left.path, &right.path));
    if directories
        .first()
        .is_none_or(|first| !first.path.is_empty())
    {
        // The root does not depend on lower layers: a step has its root's attributes in its upper directory.
        directories.insert(0, Entry::new("", Kind::Directory));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut places = Places::new(root);
    for entry in directories.iter().rev() {
        let (at, name) = places.of(&entry.path)?;
        let directory = openat(at, name, flags, Mode::empty()).doing("open", &entry.path)?;
        Attributes::of_owned(entry, task.foreign).set(directory.as_fd())?;
    }
    Ok(())
}

/// Gives a new upper directory the attributes that the root of the step has.
pub(super) fn set_root(
    directory: &Path,
    root: &Entry,
    foreign: ForeignOwners,
) -> Result<(), SnapshotError> {
    let fd = openat(
        CWD,
        directory,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .doing("open", directory.as_os_str().as_encoded_bytes())?;
    Attributes::of_owned(root, foreign).set(fd.as_fd())
}
