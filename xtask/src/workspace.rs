//! Where things are: the checkout, the target directory, scratch space, our own binaries.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::process::Cmd;

/// The prefix of every scratch directory; the pid of its owner follows.
const SCRATCH_PREFIX: &str = "rbuild-xtask-";

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .map_or_else(|| manifest.to_owned(), Path::to_owned)
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// The path of `program` on `PATH`, if it is there.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian puts some daemons where an ordinary user's PATH does not look.
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// Runs a task of this program through sudo, for tasks that drive daemons.
///
/// The binaries are handed over, because root need not have cargo.
pub(crate) fn run_as_root(binaries: &Binaries, task: &[OsString]) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program")?;
    println!("dockerd and containerd need root: going on through sudo");
    Cmd::new("sudo")
        .arg("env")
        .arg(format!(
            "PATH={}",
            std::env::var("PATH").unwrap_or_default()
        ))
        .arg(format!("CARGO_TARGET_DIR={}", target().display()))
        .arg(format!(
            "RBUILD_REQUIRE={}",
            std::env::var("RBUILD_REQUIRE").unwrap_or_default()
        ))
        .arg(format!("XTASK_RBUILD={}", binaries.rbuild.display()))
        .arg(format!("XTASK_REGISTRY={}", binaries.registry.display()))
        .arg(program)
        .args(task)
        .run()
}

/// The two programs under test.
pub(crate) struct Binaries {
    /// `rbuild`.
    pub(crate) rbuild: PathBuf,
    /// `rbuild-registry`.
    pub(crate) registry: PathBuf,
}

/// How the programs are compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As `cargo test` compiles them.
    Debug,
    /// As users run them.
    Release,
}

impl Binaries {
    /// Compiles both programs, unless `XTASK_RBUILD` and `XTASK_REGISTRY` name them.
    pub(crate) fn build(profile: Profile) -> Result<Self> {
        if let (Some(rbuild), Some(registry)) = (
            std::env::var_os("XTASK_RBUILD"),
            std::env::var_os("XTASK_REGISTRY"),
        ) {
            return Ok(Self {
                rbuild: rbuild.into(),
                registry: registry.into(),
            });
        }
        let mut cargo = Cmd::new(cargo()).args([
            "build",
            "--locked",
            "-p",
            "rbuild",
            "-p",
            "rbuild-registry-server",
        ]);
        if profile == Profile::Release {
            cargo = cargo.arg("--release");
        }
        cargo.dir(&root()).show_and_run()?;
        Self::built(profile)
    }

    /// Both programs as an earlier command has left them.
    pub(crate) fn built(profile: Profile) -> Result<Self> {
        let directory = target().join(if profile == Profile::Release {
            "release"
        } else {
            "debug"
        });
        let binaries = Self {
            rbuild: directory.join("rbuild"),
            registry: directory.join("rbuild-registry"),
        };
        for binary in [&binaries.rbuild, &binaries.registry] {
            if !binary.is_file() {
                bail!("cargo built no `{}`", binary.display());
            }
        }
        Ok(binaries)
    }
}

/// The cargo that runs us.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// A directory for daemons and their data, gone when dropped.
///
/// It lies outside the checkout because the path of a socket has at most 107 bytes.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A fresh directory; those of processes that no longer live are removed first.
    pub(crate) fn new() -> Result<Self> {
        let parent =
            std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        remove_stale(&parent);
        let path = parent.join(format!("{SCRATCH_PREFIX}{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
        Ok(Self(path))
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A new directory inside.
    pub(crate) fn subdir(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
        Ok(path)
    }

    /// `overlay` where the file system can carry it, else `vfs`.
    pub(crate) fn storage_driver(&self) -> &'static str {
        let kind = Cmd::new("stat")
            .args(["-f", "-c", "%T"])
            .arg(&self.0)
            .text()
            .unwrap_or_default();
        if kind.trim() == "overlayfs" {
            "vfs"
        } else {
            "overlay"
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("XTASK_KEEP").is_some() {
            eprintln!("kept: {}", self.0.display());
        } else {
            remove_tree(&self.0);
        }
    }
}

fn remove_stale(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(SCRATCH_PREFIX));
        if owner
            .is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists())
        {
            remove_tree(&entry.path());
        }
    }
}

/// Removes a tree in which daemons may have left mounts behind, and rootless builds files of subordinate ids.
pub(crate) fn remove_tree(path: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let mut inside: Vec<&str> = points
        .filter(|point| Path::new(point).starts_with(path))
        .collect();
    inside.reverse();
    for point in inside {
        if let Err(error) = Cmd::new("umount").args(["--lazy", point]).quiet() {
            eprintln!("{error:#}");
        }
    }
    if !path.exists() || fs::remove_dir_all(path).is_ok() {
        return;
    }
    // Only the root of a user namespace that maps those ids may remove what belongs to them.
    let mapped = ["--user", "--map-root-user", "--map-auto", "rm", "-rf", "--"];
    if let Err(error) = Cmd::new("unshare").args(mapped).arg(path).quiet() {
        eprintln!("cannot remove `{}`: {error:#}", path.display());
    }
}
