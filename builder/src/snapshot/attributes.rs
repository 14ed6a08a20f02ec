//! Owner, mode, extended attributes and times of what was laid out.
//!
//! The order matters: a change of owner clears set-user-id and capabilities, so mode and attributes come after
//! it; everything touches the times, so they come last.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rbuild_image::layer::content::is_overlay_xattr;
use rbuild_image::layer::{EntryRef, Time};
use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fsetxattr, futimens, lsetxattr, utimensat,
};
use rustix::io::Errno;

use super::error::{Doing, SnapshotError, is_foreign_owner, lossy};

/// What becomes of owners that have no id in the user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignOwners {
    /// They are errors.
    Refuse,
    /// The files belong to root instead: for namespaces that have a single id.
    Squash,
}

/// The attributes of one entry.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    path: &'a [u8],
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Time,
    xattrs: Vec<(&'a [u8], &'a [u8])>,
    foreign: ForeignOwners,
}

impl<'a> Attributes<'a> {
    pub(super) fn of(entry: EntryRef<'a>, foreign: ForeignOwners) -> Self {
        Self {
            path: entry.path(),
            mode: entry.mode(),
            uid: entry.uid(),
            gid: entry.gid(),
            mtime: entry.mtime(),
            xattrs: entry.xattrs().collect(),
            foreign,
        }
    }

    pub(super) fn of_owned(entry: &'a rbuild_image::layer::Entry, foreign: ForeignOwners) -> Self {
        let xattrs = entry.xattrs.iter();
        Self {
            path: &entry.path,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: xattrs
                .map(|(name, value)| (&name[..], &value[..]))
                .collect(),
            foreign,
        }
    }

    /// Sets all on an open file or directory.
    pub(super) fn set(&self, file: BorrowedFd<'_>) -> Result<(), SnapshotError> {
        self.owner(|uid, gid| fchown(file, uid, gid))?;
        fchmod(file, Mode::from_raw_mode(self.mode)).doing("set the mode of", self.path)?;
        for (name, value) in &self.xattrs {
            self.xattr(name, |name| {
                fsetxattr(file, name, value, XattrFlags::empty())
            })?;
        }
        futimens(file, &self.times()).doing("set the time of", self.path)
    }

    /// Sets all on what cannot be opened: links, devices, pipes.
    pub(super) fn set_at(
        &self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        is_link: bool,
    ) -> Result<(), SnapshotError> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        self.owner(|uid, gid| chownat(directory, name, uid, gid, nofollow))?;
        if !is_link {
            let mode = Mode::from_raw_mode(self.mode);
            chmodat(directory, name, mode, AtFlags::empty()).doing("set the mode of", self.path)?;
        }
        if !self.xattrs.is_empty() {
            let magic = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd());
            let path = [magic.as_bytes(), name].concat();
            for (name, value) in &self.xattrs {
                self.xattr(name, |name| {
                    lsetxattr(&path[..], name, value, XattrFlags::empty())
                })?;
            }
        }
        utimensat(directory, name, &self.times(), nofollow).doing("set the time of", self.path)
    }

    fn owner(
        &self,
        chown: impl FnOnce(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
    ) -> Result<(), SnapshotError> {
        // What root makes belongs to root.
        let is_own = self.uid == 0 && self.gid == 0 && rustix::process::geteuid().is_root();
        // All ones means "leave it" to the kernel, and is no owner.
        let is_none = self.uid == u32::MAX || self.gid == u32::MAX;
        if is_own {
            return Ok(());
        }
        let result = if is_none {
            Err(Errno::INVAL)
        } else {
            chown(Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
        };
        match result {
            Err(error) if is_foreign_owner(error) => match self.foreign {
                ForeignOwners::Squash => Ok(()),
                ForeignOwners::Refuse => Err(SnapshotError::Owner {
                    path: lossy(self.path),
                    uid: self.uid,
                    gid: self.gid,
                }),
            },
            result => result.doing("set the owner of", self.path),
        }
    }

    /// Sets an attribute; what the file system or the user namespace cannot have is left out, as in engines.
    fn xattr(
        &self,
        name: &[u8],
        set: impl FnOnce(&[u8]) -> Result<(), Errno>,
    ) -> Result<(), SnapshotError> {
        // A layer does not get to tell overlayfs what to do.
        if is_overlay_xattr(name) {
            return Ok(());
        }
        match set(name) {
            Err(Errno::OPNOTSUPP) => Ok(()),
            Err(Errno::PERM) if name != b"security.capability" => Ok(()),
            result => result.doing("set an extended attribute of", self.path),
        }
    }

    fn times(&self) -> Timestamps {
        let time = Timespec {
            tv_sec: self.mtime.seconds,
            tv_nsec: self.mtime.nanoseconds.into(),
        };
        Timestamps {
            last_access: time,
            last_modification: time,
        }
    }
}
