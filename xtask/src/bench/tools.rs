//! The builders that are measured, each told to build a directory cold or with its cache.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::meter::{Group, Measurement};
use crate::engine::{Buildah, Dockerd};
use crate::process::Cmd;
use crate::workspace::{Binaries, Scratch, remove_tree};

/// The name of what is built.
const IMAGE: &str = "localhost/bench/image:1";

/// A builder with its group and its storage.
pub(super) struct Tool {
    /// As in the table.
    pub(super) name: &'static str,
    /// Before the group: a daemon must have ended when its group is removed.
    kind: Kind,
    group: Group,
    base: PathBuf,
}

enum Kind {
    Rbuild { binary: PathBuf, root: PathBuf },
    Docker(Dockerd),
    Buildah { home: PathBuf, driver: &'static str },
}

impl Tool {
    /// Ours.
    pub(super) fn rbuild(binaries: &Binaries, scratch: &Scratch, base: &Path) -> Result<Self> {
        let kind = Kind::Rbuild {
            binary: binaries.rbuild.clone(),
            root: scratch.path().join("bench-rbuild"),
        };
        Ok(Self {
            name: "rbuild",
            group: Group::new("rbuild")?,
            kind,
            base: base.to_owned(),
        })
    }

    /// docker.io with its embedded BuildKit.
    pub(super) fn docker(scratch: &Scratch, base: &Path) -> Result<Self> {
        let group = Group::new("docker")?;
        let dockerd = Dockerd::start_in(scratch, &group)?;
        Ok(Self {
            name: "BuildKit",
            group,
            kind: Kind::Docker(dockerd),
            base: base.to_owned(),
        })
    }

    /// buildah.
    pub(super) fn buildah(scratch: &Scratch, base: &Path) -> Result<Self> {
        let kind = Kind::Buildah {
            home: scratch.path().join("bench-buildah"),
            driver: scratch.storage_driver(),
        };
        Ok(Self {
            name: "buildah",
            group: Group::new("buildah")?,
            kind,
            base: base.to_owned(),
        })
    }

    /// Throws everything away but the base image.
    pub(super) fn forget(&self) -> Result<()> {
        match &self.kind {
            Kind::Rbuild { binary, root } => {
                remove_tree(root);
                Cmd::new(binary)
                    .env("RBUILD_ROOT", root)
                    .args(["load", "-i"])
                    .arg(&self.base)
                    .quiet()
            }
            Kind::Docker(dockerd) => {
                dockerd
                    .client_cmd()
                    .args(["system", "prune", "--all", "--force"])
                    .quiet()?;
                dockerd
                    .client_cmd()
                    .args(["builder", "prune", "--all", "--force"])
                    .quiet()?;
                dockerd
                    .client_cmd()
                    .args(["load", "-q", "-i"])
                    .arg(&self.base)
                    .quiet()
            }
            Kind::Buildah { home, driver } => {
                remove_tree(home);
                std::fs::create_dir_all(home)?;
                Buildah::new(home.clone(), driver)
                    .cmd()
                    .args([
                        "pull",
                        "-q",
                        &format!("docker-archive:{}", self.base.display()),
                    ])
                    .quiet()
            }
        }
    }

    /// Builds `directory` and measures it.
    pub(super) fn build(&self, directory: &Path) -> Result<Measurement> {
        let cmd = match &self.kind {
            Kind::Rbuild { binary, root } => Cmd::new(binary).env("RBUILD_ROOT", root).args([
                "build",
                "--progress=plain",
                "-t",
                IMAGE,
            ]),
            Kind::Docker(dockerd) => dockerd.client_cmd().args([
                "build",
                "--progress=plain",
                "--network",
                "host",
                "-t",
                IMAGE,
            ]),
            Kind::Buildah { home, driver } => Buildah::new(home.clone(), driver).cmd().args([
                "bud",
                "--isolation",
                "chroot",
                "--layers",
                "--network",
                "host",
                "-t",
                IMAGE,
            ]),
        };
        self.group.measure(&cmd.arg(directory))
    }
}
