//! The kernel's mount interface with descriptors instead of paths.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::super::sys;
use super::super::wire::{During, Failure};

pub(in super::super) const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
pub(in super::super) const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
pub(in super::super) const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
pub(in super::super) const RDONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;
/// What suits every file system that only holds data.
pub(in super::super) const HARMLESS: MountAttrFlags = NOSUID.union(NODEV).union(NOEXEC);

/// A new file system, not attached yet.
pub(in super::super) fn new_mount(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A new mount of what is at a path, not attached yet; links in the last component are not followed.
pub(in super::super) fn clone_tree(
    at: BorrowedFd<'_>,
    path: impl rustix::path::Arg,
    recursive: bool,
) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(at, path, flags)
}

/// Attaches a mount over what a descriptor refers to.
pub(in super::super) fn attach_to(
    mount: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
) -> Result<(), Errno> {
    move_mount(
        mount,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// Attaches a mount over a name in a directory.
pub(in super::super) fn attach_below(
    mount: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &str,
) -> Result<(), Errno> {
    move_mount(
        mount,
        "",
        parent,
        name,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

/// Attaches a mount at a path of the host.
pub(in super::super) fn attach_at(mount: BorrowedFd<'_>, path: &Path) -> Result<(), Failure> {
    move_mount(
        mount,
        "",
        CWD,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .during(|| format!("mounting at `{}`", path.display()))
}

/// Sets attributes of a mount, or of it and all below it.
pub(in super::super) fn restrict(
    mount: BorrowedFd<'_>,
    recursive: bool,
    attributes: MountAttrFlags,
) -> Result<(), Errno> {
    sys::mount_setattr(mount, recursive, attributes)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
