//! Overlay mounts with any number of layers.

use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FsWord, Gid, Mode, OFlags, Uid, chmodat, chownat, fstatfs, openat, statat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount,
};

use super::spec::OverlayMode;
use super::target::{modified, set_modified};
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
        let layers = Self { lower, changes };
        layers
            .adopt_root()
            .during(|| "giving the upper directory the attributes of the root".into())?;
        Ok(layers)
    }

    /// The root directory of an overlay has the attributes of the upper directory, so that one gets
    /// those of the topmost layer.
    fn adopt_root(&self) -> Result<(), Errno> {
        let (Some((upper, _)), Some(top)) = (&self.changes, self.lower.first()) else {
            return Ok(());
        };
        let wanted = statat(top, "", AtFlags::EMPTY_PATH)?;
        let owner = (Uid::from_raw(wanted.st_uid), Gid::from_raw(wanted.st_gid));
        // An owner that is not mapped cannot be given.
        let _ = chownat(upper, "", Some(owner.0), Some(owner.1), AtFlags::EMPTY_PATH);
        chmodat(
            upper,
            ".",
            Mode::from_raw_mode(wanted.st_mode),
            AtFlags::empty(),
        )?;
        set_modified(upper.as_fd(), modified(&wanted))
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
                match self.mount_old(mode, attributes, place) {
                    Ok(()) => open_directory(place).map(OverlayMount::Attached),
                    Err(error) => Err(self.explain(mode, error)),
                }
            }
            Err(error) => Err(self.explain(mode, error)),
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

    /// The kernel says no more than "invalid argument"; the usual reasons can be looked up.
    fn explain(&self, mode: OverlayMode, error: Errno) -> Failure {
        let xattrs = match mode {
            OverlayMode::User => " with `userxattr`",
            OverlayMode::Trusted => "",
        };
        let action = format!("mounting an overlay of {} layers{xattrs}", self.lower.len());
        let mut reason = error.to_string();
        if let Some((upper, work)) = &self.changes {
            if let Some(kind) = fstatfs(upper).ok().and_then(|stat| unsuitable(stat.f_type)) {
                reason.push_str(": the store is on ");
                reason.push_str(kind);
                reason.push_str(", which cannot hold the changes of an overlay; ");
                reason.push_str("put it on a local file system or a volume");
            } else if statat(work, "work/incompat", AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                reason.push_str(": its directories were used before");
            }
        }
        Failure::setup(action, reason)
    }
}

/// Names of file systems that overlayfs refuses for an upper directory.
fn unsuitable(kind: FsWord) -> Option<&'static str> {
    match kind {
        0x794c_7630 => Some("overlayfs (the root of a container)"),
        0x6969 => Some("NFS"),
        0x6573_5546 => Some("FUSE"),
        0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x0102_1997 => Some("9p"),
        _ => None,
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
            options.extend([("redirect_dir", Some("off")), ("metacopy", Some("off"))]);
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
