//! The pieces that are shown in the step's root and belong to no image.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::super::root::Plan;
use super::super::wire::{During, Failure};
use super::attach::{NODEV, NOSUID, attach_at, clone_tree, new_mount, restrict};

/// A file system in memory with the pieces that are shown in several places of the root. It is
/// attached in the old root only, which goes away.
pub(in super::super) struct Stage {
    /// Becomes `/dev`.
    pub(super) dev: OwnedFd,
    /// Generated files.
    files: OwnedFd,
    /// An empty directory, to hide others.
    pub(super) empty: OwnedFd,
}

impl Stage {
    pub(in super::super) fn new(plan: &Plan<'_>) -> Result<Self, Failure> {
        let action = || "making the staging file system".to_owned();
        let stage = new_mount(
            "tmpfs",
            &[("mode", "755"), ("size", "65536k")],
            NOSUID | NODEV,
        )
        .during(action)?;
        // Bind mounts can only be taken from a mount that is attached.
        attach_at(stage.as_fd(), &plan.step.upper)?;
        let directory = |name: &str| -> Result<OwnedFd, Errno> {
            mkdirat(&stage, name, Mode::from_raw_mode(0o755))?;
            openat(
                &stage,
                name,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
        };
        Ok(Self {
            dev: directory("dev").during(action)?,
            files: directory("files").during(action)?,
            empty: directory("empty").during(action)?,
        })
    }

    /// A new mount that shows one file with this content.
    pub(super) fn file(
        &self,
        name: &str,
        content: &[u8],
        mode: u32,
        owner: (u32, u32),
        attributes: MountAttrFlags,
    ) -> Result<OwnedFd, Errno> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&self.files, name, flags, Mode::from_raw_mode(0o600))?;
        let mut rest = content;
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(&file, rest)?..];
        }
        if owner != (0, 0) {
            fchown(
                &file,
                Some(Uid::from_raw(owner.0)),
                Some(Gid::from_raw(owner.1)),
            )?;
        }
        fchmod(&file, Mode::from_raw_mode(mode))?;
        let mount = clone_tree(self.files.as_fd(), name, false)?;
        restrict(mount.as_fd(), false, attributes)?;
        Ok(mount)
    }
}
