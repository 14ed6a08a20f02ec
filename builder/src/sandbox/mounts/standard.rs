//! The mounts that every step has, with Docker's options.

use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::super::target::Kind;
use super::super::wire::{During, Failure};
use super::Mounter;
use super::attach::{
    HARMLESS, NOEXEC, NOSUID, RDONLY, attach_below, attach_to, clone_tree, new_mount, restrict,
};

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

impl Mounter<'_, '_> {
    pub(super) fn proc(&mut self) -> Result<(), Failure> {
        self.refuse_link("/proc")?;
        let proc = match new_mount("proc", &[], HARMLESS) {
            // Inside a container whose `/proc` is masked the kernel gives no new one: show that one.
            Err(Errno::PERM | Errno::ACCESS) => clone_tree(CWD, "/proc", true),
            other => other,
        };
        let proc = proc.during(|| "mounting `/proc`".into())?;
        self.attach(proc.as_fd(), "/proc", Kind::Directory)
    }

    pub(super) fn sys(&mut self) -> Result<(), Failure> {
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
                restrict(sys.as_fd(), true, HARMLESS | access)
                    .during(|| "restricting `/sys`".into())?;
                (sys, false)
            }
            Err(error) => return Err(error).during(|| "mounting `/sys`".into()),
        };
        self.attach(sys.as_fd(), "/sys", Kind::Directory)?;
        if fresh && let Ok(cgroups) = clone_tree(CWD, "/sys/fs/cgroup", true) {
            // Programs read their limits there.
            restrict(cgroups.as_fd(), true, HARMLESS | access)
                .during(|| "restricting cgroups".into())?;
            self.attach(cgroups.as_fd(), "/sys/fs/cgroup", Kind::Directory)?;
        }
        Ok(())
    }

    pub(super) fn dev(&mut self) -> Result<(), Failure> {
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
    pub(super) fn cover(&mut self) -> Result<(), Failure> {
        for path in MASKED {
            let action = || format!("hiding `{path}`");
            let Some(found) = self.resolver.find(path).during(action)? else {
                continue;
            };
            let cover = match found.kind {
                Kind::File => clone_tree(CWD, "/dev/null", false),
                Kind::Directory => {
                    clone_tree(self.stage.empty.as_fd(), "", false).and_then(|cover| {
                        restrict(cover.as_fd(), false, HARMLESS | RDONLY)?;
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
            restrict(same.as_fd(), true, HARMLESS | RDONLY).during(action)?;
            attach_to(same.as_fd(), found.fd.as_fd()).during(action)?;
        }
        Ok(())
    }
}
