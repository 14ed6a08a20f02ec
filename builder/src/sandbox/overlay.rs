//! Overlay mounts with any number of layers.

use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount,
};

use super::spec::OverlayMode;
use super::wire::{During, Failure};

/// What overlayfs takes at most, in every kernel so far.
const MAX_LOWER: usize = 500;

/// The layers of an overlay mount, opened.
///
/// Overlayfs is given `/proc/self/fd/N` for every directory: no path is too long for an option, no
/// character needs escaping, and the step cannot read the host's paths in its mount table.
pub(super) struct Layers {
    lower: Vec<OwnedFd>,
    changes: Option<(OwnedFd, OwnedFd)>,
}

impl Layers {
    /// `lower` has the topmost first. `changes`: the upper and the work directory.
    pub(super) fn open(
        lower: &[PathBuf],
        changes: Option<(&Path, &Path)>,
    ) -> Result<Self, Failure> {
        if lower.len() > MAX_LOWER {
            let reason = format!(
                "{} layers below a step, and overlayfs takes at most {MAX_LOWER}",
                lower.len()
            );
            return Err(Failure::Invalid { reason });
        }
        let lower = lower
            .iter()
            .map(|path| open_directory(path))
            .collect::<Result<_, _>>()?;
        let changes = match changes {
            Some((upper, work)) => Some((open_directory(upper)?, open_directory(work)?)),
            None => None,
        };
        Ok(Self { lower, changes })
    }

    /// Mounts them. With the old interface of the kernel the mount appears on top of `place`, with
    /// the new one it is not attached yet.
    pub(super) fn mount(
        &self,
        mode: OverlayMode,
        attributes: MountAttrFlags,
        place: &Path,
    ) -> Result<OverlayMount, Failure> {
        match self.mount_new(mode, attributes) {
            Ok(mount) => Ok(OverlayMount::Detached(mount)),
            // Kernels before 6.7 do not know `lowerdir+`, before 5.2 or behind filters there is no `fsopen`.
            Err(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP) => {
                self.mount_old(mode, attributes, place)
                    .during(|| self.describe(mode))?;
                open_directory(place).map(OverlayMount::Attached)
            }
            Err(error) => Err(error).during(|| self.describe(mode)),
        }
    }

    fn mount_new(&self, mode: OverlayMode, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let context = context.as_fd();
        fsconfig_set_string(context, "source", "overlay")?;
        for lower in &self.lower {
            fsconfig_set_string(context, "lowerdir+", magic_path(lower))?;
        }
        if let Some((upper, work)) = &self.changes {
            fsconfig_set_string(context, "upperdir", magic_path(upper))?;
            fsconfig_set_string(context, "workdir", magic_path(work))?;
        }
        for (key, value) in options(mode, self.changes.is_some()) {
            match value {
                Some(value) => fsconfig_set_string(context, key, value)?,
                None => fsconfig_set_flag(context, key)?,
            }
        }
        fsconfig_create(context)?;
        fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    }

    fn mount_old(
        &self,
        mode: OverlayMode,
        attributes: MountAttrFlags,
        place: &Path,
    ) -> Result<(), Errno> {
        // All options share one page, so the layers are named relative to the directory of descriptors.
        let place = openat(
            CWD,
            place,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let before = openat(
            CWD,
            ".",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        rustix::process::chdir("/proc/self/fd")?;
        let mut data = String::from("lowerdir=");
        for (index, lower) in self.lower.iter().enumerate() {
            let _ = write!(
                data,
                "{}{}",
                if index == 0 { "" } else { ":" },
                lower.as_raw_fd()
            );
        }
        if let Some((upper, work)) = &self.changes {
            let _ = write!(
                data,
                ",upperdir={},workdir={}",
                upper.as_raw_fd(),
                work.as_raw_fd()
            );
        }
        for (key, value) in options(mode, self.changes.is_some()) {
            let _ = write!(data, ",{key}");
            if let Some(value) = value {
                let _ = write!(data, "={value}");
            }
        }
        let data = std::ffi::CString::new(data).map_err(|_| Errno::INVAL)?;
        let mut flags = MountFlags::empty();
        for (attribute, flag) in [
            (MountAttrFlags::MOUNT_ATTR_NODEV, MountFlags::NODEV),
            (MountAttrFlags::MOUNT_ATTR_RDONLY, MountFlags::RDONLY),
        ] {
            if attributes.contains(attribute) {
                flags |= flag;
            }
        }
        let mounted = mount(
            "overlay",
            magic_path(&place),
            "overlay",
            flags,
            data.as_c_str(),
        );
        rustix::process::fchdir(before)?;
        mounted
    }

    fn describe(&self, mode: OverlayMode) -> String {
        let xattrs = if mode == OverlayMode::User {
            " with `userxattr` (kernel 5.11 or newer)"
        } else {
            ""
        };
        format!("mounting an overlay of {} layers{xattrs}", self.lower.len())
    }
}

/// An overlay mount and where it is.
pub(super) enum OverlayMount {
    Detached(OwnedFd),
    Attached(OwnedFd),
}

/// `volatile`: nothing is synced to the disk, neither by the step's `fsync` nor at the end. A step
/// that a crash interrupts is thrown away anyway, and what is kept is synced by the store. The
/// other options make sure that the upper directory is complete without the lower ones.
fn options(mode: OverlayMode, writable: bool) -> Vec<(&'static str, Option<&'static str>)> {
    let mut options = Vec::new();
    match mode {
        OverlayMode::Trusted => {
            options.extend([("redirect_dir", Some("off")), ("metacopy", Some("off"))])
        }
        // With `userxattr` both are off, and naming them is refused.
        OverlayMode::User => options.push(("userxattr", None)),
    }
    if writable {
        options.extend([("index", Some("off")), ("volatile", None)]);
    }
    options
}

fn magic_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn open_directory(path: &Path) -> Result<OwnedFd, Failure> {
    open(CWD, path)
}

fn open(at: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Failure> {
    openat(
        at,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .during(|| format!("opening `{}`", path.display()))
}
