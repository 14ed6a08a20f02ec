//! Puts the root of a step together, in a mount namespace of its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    MountAttrFlags, MountPropagationFlags, UnmountFlags, mount_change, mount_move, unmount,
};
use rustix::process::{chdir, chroot, fchdir, pivot_root};

use super::mounts::{Mounter, NODEV, RDONLY, Stage, attach_at, clone_tree, restrict};
use super::overlay::{Layers, OverlayMount};
use super::spec::{OverlayMode, StepSpec};
use super::target::{Resolver, Stub};
use super::wire::{During, Failure};

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
        restrict(root.as_fd(), false, RDONLY).during(|| "making the root read-only".into())?;
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
                restrict(root.as_fd(), false, attributes)
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
