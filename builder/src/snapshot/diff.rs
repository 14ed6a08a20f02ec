//! The changes of a step as a layer: one sorted walk over the upper directory of its overlay.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rbuild_image::layer::content::is_overlay_xattr;
use rbuild_image::layer::{Entry, Kind, LayerWriter, Time, join};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, lgetxattr, llistxattr,
    major, minor, openat, readlinkat, statat,
};
use rustix::io::Errno;

use super::error::{Doing, SnapshotError, lossy};
use super::place::open_root;
use crate::sandbox::OverlayMode;

/// What a walk has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiffStats {
    /// Entries written, whiteouts and opaque marks included.
    pub entries: u64,
    /// Sockets, which no layer can have.
    pub sockets: u64,
}

/// Writes the changes in `upper` as a layer. `exclude` are paths that the sandbox made for itself.
///
/// Kept are hard links, `security.capability` and `user.*` attributes. Left out are sockets, overlayfs's own
/// attributes, other attributes (they belong to the machine, as security labels do), and the root itself, as in
/// `BuildKit`. Parents that overlayfs copied up only because something below them has changed are written as
/// they are.
pub fn diff<W: Write>(
    upper: &Path,
    mode: OverlayMode,
    exclude: &[Vec<u8>],
    writer: &mut LayerWriter<W>,
) -> Result<DiffStats, SnapshotError> {
    let root = open_root(upper)?;
    let mut walk = Walk {
        prefix: mode.xattr_prefix().as_bytes(),
        exclude,
        writer,
        links: HashMap::new(),
        stats: DiffStats::default(),
    };
    if walk.is_opaque(root.as_fd())? {
        walk.write(&Entry::new("", Kind::Opaque))?;
    }
    walk.directory(root, b"")?;
    Ok(walk.stats)
}

struct Walk<'a, W> {
    prefix: &'a [u8],
    exclude: &'a [Vec<u8>],
    writer: &'a mut LayerWriter<W>,
    /// The first path of each file with several names.
    links: HashMap<(u64, u64), Vec<u8>>,
    stats: DiffStats,
}

impl<W: Write> Walk<'_, W> {
    /// Walks what is below an open directory: a stack instead of recursion, one descriptor for each level.
    fn directory(&mut self, root: OwnedFd, path: &[u8]) -> Result<(), SnapshotError> {
        let mut levels = vec![(names(root.as_fd(), path)?, root, path.to_vec())];
        while let Some((names, directory, path)) = levels.last_mut() {
            let Some(name) = names.pop() else {
                levels.pop();
                continue;
            };
            let inner = join(path, &name);
            if self.exclude.contains(&inner) {
                continue;
            }
            let below = self.entry(directory.as_fd(), &name, &inner)?;
            if let Some(below) = below {
                let names = self::names(below.as_fd(), &inner)?;
                levels.push((names, below, inner));
            }
        }
        Ok(())
    }

    /// Writes one entry; returns a directory to go on with.
    fn entry(
        &mut self,
        at: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<Option<OwnedFd>, SnapshotError> {
        let stat = statat(at, name, AtFlags::SYMLINK_NOFOLLOW).doing("look at", path)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            self.write(&Entry::new(path, Kind::Whiteout))?;
            return Ok(None);
        }
        if kind == FileType::Socket {
            self.stats.sockets += 1;
            return Ok(None);
        }
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let first = self.links.get(&(stat.st_dev, stat.st_ino));
            if let Some(first) = first {
                let link = entry_of(path, Kind::Hardlink(first.clone()), &stat, BTreeMap::new());
                self.write(&link)?;
                return Ok(None);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match kind {
            FileType::Directory => {
                let directory = openat(at, name, flags | OFlags::DIRECTORY, Mode::empty());
                let directory = directory.doing("open", path)?;
                let xattrs = self.xattrs(&Attributed::Open(directory.as_fd()), path)?;
                self.write(&entry_of(path, Kind::Directory, &stat, xattrs))?;
                if self.is_opaque(directory.as_fd())? {
                    self.write(&Entry::new(path, Kind::Opaque))?;
                }
                return Ok(Some(directory));
            }
            FileType::RegularFile => {
                let file = openat(at, name, flags, Mode::empty()).doing("open", path)?;
                let xattrs = self.xattrs(&Attributed::Open(file.as_fd()), path)?;
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                let entry = entry_of(path, Kind::File { size }, &stat, xattrs);
                let written = self.writer.file(&entry, &mut File::from(file), None);
                written.map_err(|source| SnapshotError::Write {
                    path: lossy(path),
                    source,
                })?;
                self.stats.entries += 1;
                return Ok(None);
            }
            _ => {}
        }
        let xattrs = self.xattrs(&Attributed::Named(at, name), path)?;
        let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
        let kind = match kind {
            FileType::Symlink => {
                let target = readlinkat(at, name, Vec::new()).doing("read the link", path)?;
                Kind::Symlink(target.into_bytes())
            }
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Fifo => Kind::Fifo,
            _ => {
                let source = io::Error::from(Errno::NOTSUP);
                return Err(source).doing("understand the type of", path);
            }
        };
        self.write(&entry_of(path, kind, &stat, xattrs))?;
        Ok(None)
    }

    fn write(&mut self, entry: &Entry) -> Result<(), SnapshotError> {
        let written = self.writer.entry(entry);
        written.map_err(|source| SnapshotError::Write {
            path: lossy(&entry.path),
            source,
        })?;
        self.stats.entries += 1;
        Ok(())
    }

    fn is_opaque(&self, directory: BorrowedFd<'_>) -> Result<bool, SnapshotError> {
        let name = [self.prefix, b"opaque"].concat();
        let mut value = [0; 8];
        match fgetxattr(directory, &name[..], &mut value) {
            Ok(length) => Ok(value.get(..length) == Some(b"y")),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(error).doing("read the opaque mark of", b""),
        }
    }

    /// The attributes that belong into a layer.
    fn xattrs(
        &self,
        file: &Attributed<'_>,
        path: &[u8],
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, SnapshotError> {
        let mut kept = BTreeMap::new();
        let list = file.list().doing("list the attributes of", path)?;
        for name in list.split(|byte| *byte == 0) {
            if name.strip_prefix(self.prefix).is_some_and(refers_below) {
                return Err(SnapshotError::Incomplete {
                    path: lossy(path),
                    attribute: lossy(name),
                });
            }
            let belongs = name == b"security.capability" || name.starts_with(b"user.");
            if belongs && !is_overlay_xattr(name) {
                let value = file.get(name).doing("read an attribute of", path)?;
                kept.insert(name.to_vec(), value);
            }
        }
        Ok(kept)
    }
}

/// Whether an attribute of overlayfs says that the rest is in lower layers. Our mounts do not make such.
fn refers_below(attribute: &[u8]) -> bool {
    matches!(attribute, b"redirect" | b"metacopy")
}

/// Names in a directory, the last first.
fn names(directory: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<Vec<u8>>, SnapshotError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).doing("read", path)? {
        let entry = entry.doing("read", path)?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable_by(|left, right| right.cmp(left));
    Ok(names)
}

fn entry_of(path: &[u8], kind: Kind, stat: &Stat, xattrs: BTreeMap<Vec<u8>, Vec<u8>>) -> Entry {
    Entry {
        path: path.to_vec(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Time {
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
        xattrs,
    }
}

/// Something whose attributes are read: open, or by name where it cannot be opened.
enum Attributed<'a> {
    Open(BorrowedFd<'a>),
    Named(BorrowedFd<'a>, &'a [u8]),
}

impl Attributed<'_> {
    fn path(at: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
        let magic = format!("/proc/self/fd/{}/", at.as_raw_fd());
        [magic.as_bytes(), name].concat()
    }

    fn list(&self) -> Result<Vec<u8>, Errno> {
        let read = |buffer: &mut [u8]| match self {
            Self::Open(file) => flistxattr(file, buffer),
            Self::Named(at, name) => llistxattr(&Self::path(*at, name)[..], buffer),
        };
        match grow(read) {
            Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
            result => result,
        }
    }

    fn get(&self, attribute: &[u8]) -> Result<Vec<u8>, Errno> {
        grow(|buffer| match self {
            Self::Open(file) => fgetxattr(file, attribute, buffer),
            Self::Named(at, name) => lgetxattr(&Self::path(*at, name)[..], attribute, buffer),
        })
    }
}

/// Reads into a buffer that is large enough: the kernel's limit is 64 KiB.
fn grow(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; 256];
    match read(&mut small) {
        Ok(length) => Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; 64 << 10];
            let length = read(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(error) => Err(error),
    }
}
