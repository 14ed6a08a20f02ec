//! Puts the root of a step together, in a mount namespace of its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    mount_change, mount_move, move_mount, open_tree, unmount,
};
use rustix::process::{chdir, chroot, fchdir, pivot_root};

use super::overlay::{Layers, OverlayMount};
use super::spec::{Access, BindMount, OverlayMode, SandboxMount, StepSpec};
use super::sys;
use super::target::{Kind, Resolver, Stub};
use super::wire::{During, Failure};

const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const RDONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;
const HARMLESS: MountAttrFlags = NOSUID.union(NODEV).union(NOEXEC);

/// Paths that show nothing, from Docker's defaults (moby `daemon/pkg/oci/defaults.go`).
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that cannot be written, from the same place.
const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Device nodes of the host that a step sees. They are bound, not made: a user namespace cannot
/// make them, and so every file system of the step can be mounted without devices.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

const DEVICE_LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

/// What the step's root is made from besides its request.
pub(super) struct Plan<'a> {
    pub(super) step: &'a StepSpec,
    pub(super) overlay: OverlayMode,
    /// Contents of `/etc/hosts` and `/etc/resolv.conf`.
    pub(super) hosts: &'a [u8],
    pub(super) resolv_conf: &'a [u8],
}

/// Makes the step's root and the root of this process, which must have a mount namespace of its own.
///
/// `stubs` takes the mount points that were made, also if an error follows.
pub(super) fn enter(plan: &Plan<'_>, stubs: &mut Vec<Stub>) -> Result<(), Failure> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .during(|| "cutting mounts off from the host".into())?;
    // Opened first: what follows is attached over the path of the upper directory, a place that is
    // sure to exist, in this namespace only.
    let source = Source::open(plan.step)?;
    let stage = Stage::new(plan)?;
    let root = source.mount(plan)?;
    let mut resolver = Resolver::new(root.as_fd());
    let mounted = Mounter {
        plan,
        stage: &stage,
        resolver: &mut resolver,
    }
    .mount_all();
    stubs.append(&mut resolver.stubs);
    mounted?;
    if plan.step.read_only_root {
        sys::mount_setattr(root.as_fd(), false, RDONLY)
            .during(|| "making the root read-only".into())?;
    }
    pivot(root.as_fd())
}

/// What the root is made of.
enum Source {
    Overlay(Layers),
    Direct(OwnedFd),
}

impl Source {
    fn open(step: &StepSpec) -> Result<Self, Failure> {
        if step.lower.is_empty() {
            let root = clone_tree(CWD, &step.upper, false);
            return root
                .during(|| format!("opening `{}`", step.upper.display()))
                .map(Self::Direct);
        }
        Layers::open(&step.lower, Some((&step.upper, &step.work))).map(Self::Overlay)
    }

    fn mount(self, plan: &Plan<'_>) -> Result<OwnedFd, Failure> {
        let attributes = if plan.step.insecure {
            MountAttrFlags::empty()
        } else {
            NODEV
        };
        let root = match self {
            Self::Direct(root) => {
                sys::mount_setattr(root.as_fd(), false, attributes)
                    .during(|| "restricting the root".into())?;
                root
            }
            Self::Overlay(layers) => {
                match layers.mount(plan.overlay, attributes, &plan.step.upper)? {
                    OverlayMount::Attached(root) => return Ok(root),
                    OverlayMount::Detached(root) => root,
                }
            }
        };
        attach_at(root.as_fd(), &plan.step.upper)?;
        Ok(root)
    }
}

/// A file system in memory with the pieces that are shown in several places of the root. It is
/// attached in the old root only, which goes away.
struct Stage {
    /// Becomes `/dev`.
    dev: OwnedFd,
    /// Generated files.
    files: OwnedFd,
    /// An empty directory, to hide others.
    empty: OwnedFd,
}

impl Stage {
    fn new(plan: &Plan<'_>) -> Result<Self, Failure> {
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
    fn file(
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
        sys::mount_setattr(mount.as_fd(), false, attributes).map_err(errno)?;
        Ok(mount)
    }
}

/// Attaches everything below the root, in order.
struct Mounter<'a, 'r> {
    plan: &'a Plan<'a>,
    stage: &'a Stage,
    resolver: &'a mut Resolver<'r>,
}

impl Mounter<'_, '_> {
    fn mount_all(&mut self) -> Result<(), Failure> {
        self.proc()?;
        self.sys()?;
        self.dev()?;
        for (name, target, content) in [
            ("hosts", "/etc/hosts", self.plan.hosts),
            ("resolv.conf", "/etc/resolv.conf", self.plan.resolv_conf),
        ] {
            let file = self
                .stage
                .file(name, content, 0o644, (0, 0), HARMLESS | RDONLY);
            let file = file.during(|| format!("writing `{target}`"))?;
            self.attach(file.as_fd(), target, Kind::File)?;
        }
        if !self.plan.step.insecure {
            self.restrict()?;
        }
        for (index, mount) in self.plan.step.mounts.iter().enumerate() {
            self.extra(index, mount)?;
        }
        Ok(())
    }

    fn proc(&mut self) -> Result<(), Failure> {
        self.refuse_link("/proc")?;
        let proc = match new_mount("proc", &[], HARMLESS) {
            // Inside a container whose `/proc` is masked the kernel gives no new one: show that one.
            Err(Errno::PERM | Errno::ACCESS) => clone_tree(CWD, "/proc", true),
            other => other,
        };
        let proc = proc.during(|| "mounting `/proc`".into())?;
        self.attach(proc.as_fd(), "/proc", Kind::Directory)
    }

    fn sys(&mut self) -> Result<(), Failure> {
        self.refuse_link("/sys")?;
        let access = if self.plan.step.insecure {
            MountAttrFlags::empty()
        } else {
            RDONLY
        };
        let (sys, fresh) = match new_mount("sysfs", &[], HARMLESS | access) {
            Ok(sys) => (sys, true),
            // Only who owns the network namespace may mount one.
            Err(Errno::PERM | Errno::ACCESS) => {
                let sys =
                    clone_tree(CWD, "/sys", true).during(|| "showing `/sys` of the host".into())?;
                sys::mount_setattr(sys.as_fd(), true, HARMLESS | access)
                    .during(|| "restricting `/sys`".into())?;
                (sys, false)
            }
            Err(error) => return Err(error).during(|| "mounting `/sys`".into()),
        };
        self.attach(sys.as_fd(), "/sys", Kind::Directory)?;
        if fresh && let Ok(cgroups) = clone_tree(CWD, "/sys/fs/cgroup", true) {
            // Programs read their limits there.
            sys::mount_setattr(cgroups.as_fd(), true, HARMLESS | access)
                .during(|| "restricting cgroups".into())?;
            self.attach(cgroups.as_fd(), "/sys/fs/cgroup", Kind::Directory)?;
        }
        Ok(())
    }

    fn dev(&mut self) -> Result<(), Failure> {
        let action = || "making `/dev`".to_owned();
        let dev = &self.stage.dev;
        for directory in ["pts", "shm", "mqueue"] {
            mkdirat(dev, directory, Mode::from_raw_mode(0o755)).during(action)?;
        }
        for (name, target) in DEVICE_LINKS {
            symlinkat(*target, dev, *name).during(action)?;
        }
        for device in DEVICES {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(dev, *device, flags, Mode::from_raw_mode(0o666)).during(action)?;
        }
        let mount = clone_tree(dev.as_fd(), "", false).during(action)?;
        self.attach(mount.as_fd(), "/dev", Kind::Directory)?;
        for device in DEVICES {
            let node = clone_tree(CWD, format!("/dev/{device}"), false)
                .during(|| format!("showing the host's `/dev/{device}`"))?;
            attach_below(node.as_fd(), mount.as_fd(), device).during(action)?;
        }
        let pts_options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
        let pts = match new_mount("devpts", &pts_options, NOSUID | NOEXEC) {
            // Group 5, the terminals', is not mapped.
            Err(Errno::INVAL) => new_mount("devpts", &pts_options[..2], NOSUID | NOEXEC),
            other => other,
        };
        let pts = pts.during(|| "mounting `/dev/pts`".into())?;
        attach_below(pts.as_fd(), mount.as_fd(), "pts").during(action)?;
        let size = self.plan.step.shm_size.to_string();
        let shm = new_mount("tmpfs", &[("mode", "1777"), ("size", &size)], HARMLESS);
        let shm = shm.during(|| "mounting `/dev/shm`".into())?;
        attach_below(shm.as_fd(), mount.as_fd(), "shm").during(action)?;
        // Not every kernel has message queues, and hardly any build uses them.
        if let Ok(mqueue) = new_mount("mqueue", &[], HARMLESS) {
            attach_below(mqueue.as_fd(), mount.as_fd(), "mqueue").during(action)?;
        }
        Ok(())
    }

    /// Docker's masked and read-only paths.
    fn restrict(&mut self) -> Result<(), Failure> {
        for path in MASKED {
            let action = || format!("hiding `{path}`");
            let Some(found) = self.resolver.find(path).during(action)? else {
                continue;
            };
            let cover = match found.kind {
                Kind::File => clone_tree(CWD, "/dev/null", false),
                Kind::Directory => {
                    clone_tree(self.stage.empty.as_fd(), "", false).and_then(|cover| {
                        sys::mount_setattr(cover.as_fd(), false, HARMLESS | RDONLY)
                            .map_err(errno)?;
                        Ok(cover)
                    })
                }
            };
            attach_to(cover.during(action)?.as_fd(), found.fd.as_fd()).during(action)?;
        }
        for path in READ_ONLY {
            let action = || format!("write-protecting `{path}`");
            let Some(found) = self.resolver.find(path).during(action)? else {
                continue;
            };
            let same = clone_tree(found.fd.as_fd(), "", true).during(action)?;
            sys::mount_setattr(same.as_fd(), true, HARMLESS | RDONLY).during(action)?;
            attach_to(same.as_fd(), found.fd.as_fd()).during(action)?;
        }
        Ok(())
    }

    fn extra(&mut self, index: usize, mount: &SandboxMount) -> Result<(), Failure> {
        match mount {
            SandboxMount::Tmpfs { target, size, mode } => {
                let mode = format!("{mode:o}");
                let size = size.map(|bytes| bytes.to_string());
                let mut options = vec![("mode", mode.as_str())];
                options.extend(size.as_deref().map(|size| ("size", size)));
                let tmpfs = new_mount("tmpfs", &options, NOSUID | NODEV);
                self.attach(
                    tmpfs
                        .during(|| format!("mounting a tmpfs at `{target}`"))?
                        .as_fd(),
                    target,
                    Kind::Directory,
                )
            }
            SandboxMount::File {
                target,
                content,
                mode,
                uid,
                gid,
            } => {
                let file = self.stage.file(
                    &index.to_string(),
                    content,
                    *mode,
                    (*uid, *gid),
                    HARMLESS | RDONLY,
                );
                self.attach(
                    file.during(|| format!("making the file `{target}`"))?
                        .as_fd(),
                    target,
                    Kind::File,
                )
            }
            SandboxMount::Bind(bind) => self.bind(bind),
        }
    }

    fn bind(&mut self, bind: &BindMount) -> Result<(), Failure> {
        let action = || format!("binding `{}` at `{}`", bind.source, bind.target);
        let tree = self.source_tree(bind)?;
        let source = Resolver::new(tree.as_fd())
            .find(&bind.source)
            .during(action)?;
        let Some(source) = source else {
            return Err(Failure::setup(action(), Errno::NOENT));
        };
        let mount = clone_tree(source.fd.as_fd(), "", true).during(action)?;
        let mut attributes = if self.plan.step.insecure {
            MountAttrFlags::empty()
        } else {
            NODEV
        };
        if bind.access == Access::ReadOnly {
            attributes |= RDONLY;
        }
        sys::mount_setattr(mount.as_fd(), true, attributes).during(action)?;
        self.attach(mount.as_fd(), &bind.target, source.kind)
    }

    /// The root of the tree that a bind mount's source is looked up in.
    fn source_tree(&self, bind: &BindMount) -> Result<OwnedFd, Failure> {
        let action = || format!("opening the tree that is bound at `{}`", bind.target);
        let stack = |changes: Option<(&Path, &Path)>| {
            let place = &self.plan.step.work;
            match Layers::open(&bind.tree, changes)?.mount(
                self.plan.overlay,
                MountAttrFlags::empty(),
                place,
            )? {
                OverlayMount::Attached(tree) => Ok(tree),
                OverlayMount::Detached(tree) => {
                    attach_at(tree.as_fd(), place)?;
                    Ok(tree)
                }
            }
        };
        match (&bind.access, bind.tree.as_slice()) {
            (_, []) => Err(Failure::Invalid {
                reason: format!("nothing to bind at `{}`", bind.target),
            }),
            (Access::Discard { scratch }, _) => {
                let (upper, work) = (scratch.join("upper"), scratch.join("work"));
                for directory in [&upper, &work] {
                    mkdirat(CWD, directory, Mode::from_raw_mode(0o755)).during(action)?;
                }
                stack(Some((&upper, &work)))
            }
            (_, [directory]) => openat(
                CWD,
                directory,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .during(action),
            (Access::ReadOnly, _) => stack(None),
            (Access::ReadWrite, _) => {
                let reason = format!("layers cannot be bound for writing at `{}`", bind.target);
                Err(Failure::Invalid { reason })
            }
        }
    }

    /// Attaches a mount at a path of the root, which is made if it is missing.
    fn attach(&mut self, mount: BorrowedFd<'_>, target: &str, kind: Kind) -> Result<(), Failure> {
        let action = || format!("mounting at `{target}`");
        let found = self.resolver.ensure(target, kind).during(action)?;
        if found.path.is_empty() {
            return Err(Failure::Invalid {
                reason: format!("the mount target `{target}` is the root directory"),
            });
        }
        attach_to(mount, found.fd.as_fd()).during(action)
    }

    /// An image whose `/proc` leads elsewhere would get the kernel's files in a place of its choice.
    fn refuse_link(&mut self, path: &str) -> Result<(), Failure> {
        match self
            .resolver
            .find(path)
            .during(|| format!("looking at `{path}`"))?
        {
            Some(found) if found.path != [path.trim_start_matches('/')] => Err(Failure::Invalid {
                reason: format!("`{path}` of the image is a symbolic link"),
            }),
            _ => Ok(()),
        }
    }
}

/// Makes `root` the root of this process and lets go of the old one.
fn pivot(root: BorrowedFd<'_>) -> Result<(), Failure> {
    let action = || "changing the root".to_owned();
    fchdir(root).during(action)?;
    match pivot_root(".", ".") {
        // The new root now lies on top of the old one, which is the current directory.
        Ok(()) => unmount(".", UnmountFlags::DETACH).during(action)?,
        // The host runs from an initial ramdisk, or a filter forbids it.
        Err(Errno::INVAL | Errno::PERM | Errno::NOSYS) => {
            mount_move(".", "/").during(action)?;
            chroot(".").during(action)?;
        }
        Err(error) => return Err(error).during(action),
    }
    chdir("/").during(action)
}

/// A new file system, not attached yet.
fn new_mount(
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
fn clone_tree(
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

fn attach_to(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    move_mount(
        mount,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

fn attach_below(mount: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    move_mount(
        mount,
        "",
        parent,
        name,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

fn attach_at(mount: BorrowedFd<'_>, path: &Path) -> Result<(), Failure> {
    move_mount(
        mount,
        "",
        CWD,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .during(|| format!("mounting at `{}`", path.display()))
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
