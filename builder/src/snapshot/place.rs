//! Directories of a tree that nobody else changes, opened by path and never through a link.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rbuild_image::layer::{file_name, parent};
use rustix::fs::{
    CWD, Gid, Mode, OFlags, ResolveFlags, Uid, fchmod, fchown, fremovexattr, mkdirat, openat,
    openat2,
};
use rustix::io::Errno;

use super::error::{Doing, SnapshotError};

const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens the directory of the host that is the root of a tree.
pub(super) fn open_root(path: &std::path::Path) -> Result<OwnedFd, SnapshotError> {
    openat(CWD, path, OFlags::RDONLY | DIRECTORY, Mode::empty())
        .doing("open", path.as_os_str().as_encoded_bytes())
}

/// Lets what is made in a directory have nothing of where the store happens to be: neither the group of a
/// set-group-id directory, nor a default access control list.
pub(super) fn inherit_nothing(path: &std::path::Path) -> Result<(), SnapshotError> {
    let directory = open_root(path)?;
    match fremovexattr(&directory, "system.posix_acl_default") {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error).doing("open up", path.as_os_str().as_encoded_bytes()),
    }
    if rustix::process::geteuid().is_root() {
        fchown(&directory, Some(Uid::ROOT), Some(Gid::ROOT))
            .doing("set the owner of", path.as_os_str().as_encoded_bytes())?;
    }
    fchmod(&directory, Mode::RWXU).doing("set the mode of", path.as_os_str().as_encoded_bytes())
}

/// Opens what is at `path` below `root`, without following any link.
pub(super) fn open_below(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if path.is_empty() {
        return openat(root, ".", flags, Mode::empty());
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, flags, Mode::empty(), resolve) {
        // Old kernels and filters have no `openat2`, and it takes paths of 4095 bytes at most.
        Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG | Errno::AGAIN) => {
            let mut names = path.split(|byte| *byte == b'/').peekable();
            let mut at = None::<OwnedFd>;
            while let Some(name) = names.next() {
                let directory = at.as_ref().map_or(root, AsFd::as_fd);
                let flags = match names.peek() {
                    Some(_) => OFlags::PATH | DIRECTORY,
                    None => flags,
                };
                at = Some(openat(directory, name, flags, Mode::empty())?);
            }
            at.ok_or(Errno::NOENT)
        }
        result => result,
    }
}

/// Finds the directories of entries; keeps the last one open, because entries come in order.
#[derive(Debug)]
pub(super) struct Places<'a> {
    root: BorrowedFd<'a>,
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl<'a> Places<'a> {
    pub(super) const fn new(root: BorrowedFd<'a>) -> Self {
        Self { root, last: None }
    }

    /// The directory that holds `path`, and the name in it.
    pub(super) fn of<'p>(
        &mut self,
        path: &'p [u8],
    ) -> Result<(BorrowedFd<'_>, &'p [u8]), SnapshotError> {
        self.find(path, |_| Ok(()))
    }

    /// As [`Self::of`], but makes the directories that are missing, and tells which.
    pub(super) fn of_new<'p>(
        &mut self,
        path: &'p [u8],
        made: &mut Vec<Vec<u8>>,
    ) -> Result<(BorrowedFd<'_>, &'p [u8]), SnapshotError> {
        let root = self.root;
        self.find(path, |directory| make_all(root, directory, made))
    }

    fn find<'p>(
        &mut self,
        path: &'p [u8],
        prepare: impl FnOnce(&[u8]) -> Result<(), SnapshotError>,
    ) -> Result<(BorrowedFd<'_>, &'p [u8]), SnapshotError> {
        let directory = parent(path).unwrap_or_default();
        let name = match file_name(path) {
            b"" => b".",
            name => name,
        };
        let known = self.last.take().filter(|(last, _)| last == directory);
        let place = if let Some(known) = known {
            known
        } else {
            prepare(directory)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let fd = open_below(self.root, directory, flags).doing("open", directory)?;
            (directory.to_vec(), fd)
        };
        Ok((self.last.insert(place).1.as_fd(), name))
    }
}

/// Makes `directory` and those above it, where they do not exist yet.
fn make_all(
    root: BorrowedFd<'_>,
    directory: &[u8],
    made: &mut Vec<Vec<u8>>,
) -> Result<(), SnapshotError> {
    let exists = open_below(root, directory, OFlags::PATH | OFlags::DIRECTORY);
    match exists {
        Ok(_) => return Ok(()),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error).doing("open", directory),
    }
    let above = parent(directory).unwrap_or_default();
    make_all(root, above, made)?;
    let above = open_below(root, above, OFlags::PATH | OFlags::DIRECTORY).doing("open", above)?;
    mkdirat(&above, file_name(directory), Mode::RWXU).doing("make", directory)?;
    made.push(directory.to_vec());
    Ok(())
}

/// The size of the buffers that file contents go through.
pub(super) const BUFFER: usize = 256 << 10;

/// Reads until the buffer is full or the input ends.
pub(super) fn read_full(input: &mut dyn io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
