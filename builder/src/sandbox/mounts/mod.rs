//! Everything that is mounted in the step's root.

mod attach;
mod extra;
mod stage;
mod standard;

use std::os::fd::{AsFd, BorrowedFd};

use attach::{HARMLESS, attach_to};
pub(super) use attach::{NODEV, RDONLY, attach_at, clone_tree, restrict};
pub(super) use stage::Stage;

use super::root::Plan;
use super::target::{Kind, Resolver};
use super::wire::{During, Failure};

/// Attaches everything below the root, in order.
pub(super) struct Mounter<'a, 'r> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) stage: &'a Stage,
    pub(super) resolver: &'a mut Resolver<'r>,
}

impl Mounter<'_, '_> {
    pub(super) fn mount_all(&mut self) -> Result<(), Failure> {
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
            self.cover()?;
        }
        for (index, mount) in self.plan.step.mounts.iter().enumerate() {
            self.extra(index, mount)?;
        }
        Ok(())
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
