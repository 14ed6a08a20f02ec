//! Finding and making mount points in a root that nobody trusts.
//!
//! Where a link is on the way, paths are resolved here, component by component and without
//! following links by the kernel, so that no link of the image can lead out of its root. Mount points that are missing are made, and
//! remembered, so that [`remove_stubs`] can take them out of the upper directory again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, UTIME_OMIT,
    mkdirat, openat, openat2, readlinkat, statat, unlinkat, utimensat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::wire::{During, Failure};

/// What a mount point is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Directory,
    File,
}

/// A mount point that was made, with what making it changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stub {
    /// Components below the root, without links.
    path: Vec<String>,
    kind: Kind,
    /// The directory it is in, before and after.
    parent_before: Directory,
    parent_after: Directory,
}

/// What a layer would record about a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Directory {
    mode: u32,
    uid: u32,
    gid: u32,
    modified: (i64, i64),
}

impl Directory {
    fn of(directory: BorrowedFd<'_>) -> Result<Self, Errno> {
        let stat = statat(directory, "", AtFlags::EMPTY_PATH)?;
        Ok(Self::from(&stat))
    }
}

impl From<&Stat> for Directory {
    #[expect(
        clippy::unnecessary_cast,
        reason = "the types of `stat` fields differ between targets"
    )]
    fn from(stat: &Stat) -> Self {
        Self {
            mode: stat.st_mode as u32,
            uid: stat.st_uid,
            gid: stat.st_gid,
            modified: modified(stat),
        }
    }
}

/// Seconds and nanoseconds.
#[expect(
    clippy::unnecessary_cast,
    clippy::cast_possible_wrap,
    reason = "the types of `stat` fields differ between targets; nanoseconds are below 10^9"
)]
pub(super) fn modified(stat: &Stat) -> (i64, i64) {
    (stat.st_mtime as i64, stat.st_mtime_nsec as i64)
}

/// More links than this in one path are a loop, as for the kernel.
const MAX_LINKS: u32 = 40;

const HERE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A walk through a root.
pub(super) struct Resolver<'a> {
    root: BorrowedFd<'a>,
    /// What was made on the way.
    pub(super) stubs: Vec<Stub>,
}

/// Where a path led.
pub(super) struct Found {
    pub(super) fd: OwnedFd,
    pub(super) kind: Kind,
    /// Components below the root, without links.
    pub(super) path: Vec<String>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(root: BorrowedFd<'a>) -> Self {
        Self {
            root,
            stubs: Vec::new(),
        }
    }

    /// Finds what `path` names; `None` if it is not there.
    pub(super) fn find(&mut self, path: &str) -> Result<Option<Found>, Errno> {
        self.walk(path, None)
    }

    /// Finds what `path` names, or makes it, with all that is missing on the way.
    pub(super) fn ensure(&mut self, path: &str, kind: Kind) -> Result<Found, Errno> {
        let found = self.walk(path, Some(kind))?.ok_or(Errno::NOENT)?;
        match (kind, found.kind) {
            (Kind::Directory, Kind::File) => Err(Errno::NOTDIR),
            (Kind::File, Kind::Directory) => Err(Errno::ISDIR),
            _ => Ok(found),
        }
    }

    /// What `path` names if no link is on the way, with one system call; `None` if [`walk`](Self::walk)
    /// has to find out.
    fn find_plain(&self, path: &str) -> Option<Found> {
        let names: Vec<&str> = path
            .split('/')
            .filter(|name| !name.is_empty() && *name != ".")
            .collect();
        if names.is_empty() || names.contains(&"..") {
            return None;
        }
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let fd = openat2(self.root, names.join("/"), HERE, Mode::empty(), resolve).ok()?;
        let kind = match file_type(fd.as_fd()).ok()? {
            FileType::Symlink => return None,
            FileType::Directory => Kind::Directory,
            _ => Kind::File,
        };
        let path = names.into_iter().map(str::to_owned).collect();
        Some(Found { fd, kind, path })
    }

    fn walk(&mut self, path: &str, make: Option<Kind>) -> Result<Option<Found>, Errno> {
        if let Some(found) = self.find_plain(path) {
            return Ok(Some(found));
        }
        let mut todo: Vec<String> = components(path);
        let mut stack: Vec<(String, OwnedFd)> = Vec::new();
        let mut links = 0;
        let mut kind = Kind::Directory;
        while let Some(name) = todo.pop() {
            if name == ".." {
                stack.pop();
                kind = Kind::Directory;
                continue;
            }
            if kind == Kind::File {
                return Err(Errno::NOTDIR);
            }
            let parent = stack.last().map_or(self.root, |(_, fd)| fd.as_fd());
            let fd = match openat(parent, &*name, HERE, Mode::empty()) {
                Err(Errno::NOENT) => {
                    let Some(wanted) = make else { return Ok(None) };
                    let wanted = if todo.is_empty() {
                        wanted
                    } else {
                        Kind::Directory
                    };
                    let path = stack
                        .iter()
                        .map(|(name, _)| name.clone())
                        .chain([name.clone()])
                        .collect();
                    let (fd, stub) = make_stub(parent, &name, wanted, path)?;
                    self.stubs.push(stub);
                    fd
                }
                other => other?,
            };
            match file_type(fd.as_fd())? {
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = readlinkat(&fd, "", Vec::new())?;
                    let target = target.to_str().map_err(|_| Errno::ILSEQ)?;
                    if target.starts_with('/') {
                        stack.clear();
                    }
                    todo.extend(components(target));
                    continue;
                }
                FileType::Directory => kind = Kind::Directory,
                _ => kind = Kind::File,
            }
            stack.push((name, fd));
        }
        let path = stack.iter().map(|(name, _)| name.clone()).collect();
        let fd = match stack.pop() {
            Some((_, fd)) => fd,
            None => openat(self.root, ".", HERE | OFlags::DIRECTORY, Mode::empty())?,
        };
        Ok(Some(Found { fd, kind, path }))
    }
}

fn file_type(fd: BorrowedFd<'_>) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(
        statat(fd, "", AtFlags::EMPTY_PATH)?.st_mode,
    ))
}

/// The components of a path, the last one first.
fn components(path: &str) -> Vec<String> {
    path.split('/')
        .rev()
        .filter(|name| !name.is_empty() && *name != ".")
        .map(str::to_owned)
        .collect()
}

fn make_stub(
    parent: BorrowedFd<'_>,
    name: &str,
    kind: Kind,
    path: Vec<String>,
) -> Result<(OwnedFd, Stub), Errno> {
    let parent_before = Directory::of(parent)?;
    match kind {
        Kind::Directory => mkdirat(parent, name, Mode::from_raw_mode(0o755))?,
        Kind::File => {
            let flags =
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            drop(openat(parent, name, flags, Mode::from_raw_mode(0o644))?);
        }
    }
    let parent_after = Directory::of(parent)?;
    let fd = openat(parent, name, HERE, Mode::empty())?;
    Ok((
        fd,
        Stub {
            path,
            kind,
            parent_before,
            parent_after,
        },
    ))
}

/// Takes what [`Resolver::ensure`] made out of the upper directory, as far as the step left it as
/// it was, and gives the directories around it the times they had.
///
/// `overlay`: the upper directory belongs to an overlay, where making a stub also copied the
/// directories above it up; those that nothing else happened to are removed as well.
pub(super) fn remove_stubs(upper: &Path, stubs: &[Stub], overlay: bool) -> Result<(), Failure> {
    let action = || format!("removing mount points from `{}`", upper.display());
    let root = openat(
        CWD,
        upper,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .during(action)?;
    for stub in stubs.iter().rev() {
        match remove_stub(root.as_fd(), stub, stubs, overlay) {
            // The step removed, moved or filled it: then it is the step's.
            Ok(())
            | Err(
                Errno::NOENT
                | Errno::NOTDIR
                | Errno::NOTEMPTY
                | Errno::EXIST
                | Errno::LOOP
                | Errno::ISDIR,
            ) => {}
            Err(error) => return Err(error).during(action),
        }
    }
    Ok(())
}

fn remove_stub(
    root: BorrowedFd<'_>,
    stub: &Stub,
    stubs: &[Stub],
    overlay: bool,
) -> Result<(), Errno> {
    let Some((name, above)) = stub.path.split_last() else {
        return Ok(());
    };
    let mut parents: Vec<OwnedFd> = Vec::new();
    for component in above {
        let parent = parents.last().map_or(root, AsFd::as_fd);
        parents.push(openat(
            parent,
            &**component,
            HERE | OFlags::DIRECTORY,
            Mode::empty(),
        )?);
    }
    let parent = parents.last().map_or(root, AsFd::as_fd);
    let now = Directory::of(parent)?;
    match stub.kind {
        Kind::Directory => unlinkat(parent, &**name, AtFlags::REMOVEDIR)?,
        Kind::File => {
            let stat = statat(parent, &**name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_size != 0 {
                return Ok(());
            }
            unlinkat(parent, &**name, AtFlags::empty())?;
        }
    }
    let modified = if now.modified == stub.parent_after.modified {
        stub.parent_before.modified
    } else {
        now.modified
    };
    set_modified(parent, modified)?;
    if overlay && now == stub.parent_after {
        prune(root, &parents, above, stubs)?;
    }
    Ok(())
}

/// Removes directories that are in the upper directory only because a stub was made below them.
fn prune(
    root: BorrowedFd<'_>,
    parents: &[OwnedFd],
    names: &[String],
    stubs: &[Stub],
) -> Result<(), Errno> {
    for (index, name) in names.iter().enumerate().rev() {
        let parent = index
            .checked_sub(1)
            .and_then(|above| parents.get(above))
            .map_or(root, AsFd::as_fd);
        let Some(directory) = parents.get(index) else {
            return Ok(());
        };
        let is_stub = stubs.iter().any(|stub| stub.path == names[..=index]);
        if is_stub || !is_plain_copy(directory.as_fd())? {
            return Ok(());
        }
        let before = Directory::of(parent)?;
        match unlinkat(parent, &**name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
            other => other?,
        }
        set_modified(parent, before.modified)?;
    }
    Ok(())
}

/// Whether overlayfs copied this directory up with nothing of its own: an opaque one hides lower
/// files, and any other attribute may be the step's work.
fn is_plain_copy(directory: BorrowedFd<'_>) -> Result<bool, Errno> {
    let readable = openat(
        directory,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut names = vec![0; 4096];
    let length = match rustix::fs::flistxattr(&readable, &mut names[..]) {
        Err(Errno::RANGE) => return Ok(false),
        Err(Errno::NOTSUP) => 0,
        other => other?,
    };
    Ok(names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .all(|name| {
            [&b"trusted.overlay."[..], b"user.overlay."]
                .iter()
                .any(|prefix| name.starts_with(prefix))
                && !name.ends_with(b".opaque")
        }))
}

/// Sets the modification time of a directory, and no other.
pub(super) fn set_modified(directory: BorrowedFd<'_>, modified: (i64, i64)) -> Result<(), Errno> {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: modified.0,
            tv_nsec: modified.1,
        },
    };
    // Not by the empty path: kernels before 5.8 refuse that for descriptors opened with `O_PATH`.
    utimensat(directory, ".", &times, AtFlags::empty())
}
