//! The mounts that one step asks for.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::super::overlay::{Layers, OverlayMount};
use super::super::spec::{Access, BindMount, SandboxMount};
use super::super::target::{Kind, Resolver};
use super::super::wire::{During, Failure};
use super::Mounter;
use super::attach::{NODEV, NOSUID, RDONLY, attach_at, clone_tree, new_mount, restrict};

impl Mounter<'_, '_> {
    pub(super) fn extra(&mut self, index: usize, mount: &SandboxMount) -> Result<(), Failure> {
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
                    NOSUID | NODEV | RDONLY,
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
        restrict(mount.as_fd(), true, attributes).during(action)?;
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
}
