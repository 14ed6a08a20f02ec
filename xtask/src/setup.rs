//! What a bare Debian 12 machine with Rust needs: Debian's packages, and for two clients Go modules.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::peers;
use crate::process::Cmd;
use crate::workspace;

/// What the machine is to be made ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Purpose {
    /// Compiling rbuild.
    Build,
    /// `cargo xtask demo`.
    Demo,
    /// `cargo xtask test`, `peers` and `compare`.
    Test,
    /// `cargo xtask bench`.
    Bench,
    /// `cargo xtask bench registry`.
    BenchRegistry,
    /// `cargo xtask faults`.
    Faults,
    /// The clients of `cargo xtask peers` that are compiled from Go modules; needs Go.
    Clients,
}

/// One package and why it is needed.
struct Package {
    name: &'static str,
    why: &'static str,
    purposes: &'static [Purpose],
}

use Purpose::{Bench, BenchRegistry, Build, Clients, Demo, Faults, Test};

const PACKAGES: &[Package] = &[
    Package {
        name: "gcc",
        why: "links Rust programs, compiles the embedded database",
        purposes: &[Build],
    },
    Package {
        name: "libc6-dev",
        why: "headers for gcc",
        purposes: &[Build],
    },
    Package {
        name: "uidmap",
        why: "newuidmap and newgidmap, for building as an ordinary user",
        purposes: &[Demo, Test],
    },
    Package {
        name: "busybox-static",
        why: "the small base image",
        purposes: &[Demo, Test, Bench],
    },
    Package {
        name: "mmdebstrap",
        why: "makes the Python base image",
        purposes: &[Demo, Test],
    },
    Package {
        name: "docker.io",
        why: "dockerd, pulls and runs what we built; BuildKit to compare with",
        purposes: &[Test, Bench],
    },
    Package {
        name: "containerd",
        why: "ctr, pulls and runs what we built",
        purposes: &[Test],
    },
    Package {
        name: "runc",
        why: "the runtime all engines share",
        purposes: &[Test, Bench],
    },
    Package {
        name: "podman",
        why: "pulls and runs what we built",
        purposes: &[Test],
    },
    Package {
        name: "buildah",
        why: "builds the same Dockerfiles to compare with",
        purposes: &[Test, Bench],
    },
    Package {
        name: "skopeo",
        why: "copies and inspects images and archives",
        purposes: &[Test],
    },
    Package {
        name: "umoci",
        why: "unpacks image layouts",
        purposes: &[Test],
    },
    Package {
        name: "bzip2",
        why: "packs an archive for ADD",
        purposes: &[Test],
    },
    Package {
        name: "xz-utils",
        why: "packs an archive for ADD",
        purposes: &[Test],
    },
    Package {
        name: "docker-registry",
        why: "the reference registry for our client, to compare with",
        purposes: &[Test, BenchRegistry],
    },
    Package {
        name: "nginx",
        why: "serves files as fast as a machine can; the proxy that `doctor` is tried with",
        purposes: &[Test, BenchRegistry],
    },
    Package {
        name: "openssl",
        why: "makes certificates, good and bad ones",
        purposes: &[Test],
    },
    Package {
        name: "strace",
        why: "lets system calls of the registry fail",
        purposes: &[Faults],
    },
    Package {
        name: "e2fsprogs",
        why: "makes the small file system that runs full",
        purposes: &[Faults],
    },
];

/// The ordinary user as whom root runs the tests of rootless building.
pub(crate) const TEST_USER: &str = "rbuild-test";

/// Installs what is missing for `purpose`; says what it does.
pub(crate) fn run(purpose: Purpose) -> Result<()> {
    packages(purpose)?;
    match purpose {
        Test if workspace::is_root() => test_user(),
        Clients => peers::install(),
        _ => Ok(()),
    }
}

fn packages(purpose: Purpose) -> Result<()> {
    let missing = missing(purpose)?;
    if missing.is_empty() {
        println!("setup: everything for `{}` is installed", name(purpose));
        return Ok(());
    }
    println!("setup: missing Debian packages:");
    for package in &missing {
        println!("  {:<16} {}", package.name, package.why);
    }
    let root = workspace::is_root();
    let policy = root && forbid_service_starts()?;
    let installed = install(&missing, root);
    if policy {
        fs::remove_file(POLICY).with_context(|| format!("cannot remove `{POLICY}`"))?;
    }
    installed
}

/// Makes the user with subordinate ids, which Debian's `useradd` assigns.
fn test_user() -> Result<()> {
    let users = fs::read_to_string("/etc/passwd").context("cannot read `/etc/passwd`")?;
    if users
        .lines()
        .any(|line| line.split(':').next() == Some(TEST_USER))
    {
        return Ok(());
    }
    println!("setup: a user for the tests of building without root");
    Cmd::new("/usr/sbin/useradd")
        .args(["--create-home", "--shell", "/bin/sh", TEST_USER])
        .show_and_run()
}

fn install(missing: &[&Package], root: bool) -> Result<()> {
    let apt = || {
        if root {
            Cmd::new("apt-get")
        } else {
            Cmd::new("sudo").args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
        }
    };
    apt()
        .args(["update", "-qq"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .show_and_run()?;
    apt()
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(missing.iter().map(|package| package.name))
        .env("DEBIAN_FRONTEND", "noninteractive")
        .show_and_run()
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Tells Debian's scripts not to start the daemons they install: our checks start their own.
///
/// Returns whether the file was written; one that is there already is left as it is.
fn forbid_service_starts() -> Result<bool> {
    if Path::new(POLICY).exists() {
        return Ok(false);
    }
    fs::write(POLICY, "#!/bin/sh\nexit 101\n")
        .with_context(|| format!("cannot write `{POLICY}`"))?;
    fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
    Ok(true)
}

fn missing(purpose: Purpose) -> Result<Vec<&'static Package>> {
    let wanted: Vec<&Package> = PACKAGES
        .iter()
        .filter(|package| package.purposes.contains(&purpose) || package.purposes.contains(&Build))
        .collect();
    // dpkg-query exits with 1 when it does not know one of the names; what it knows it prints.
    let output = Cmd::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Package}\\n"])
        .args(wanted.iter().map(|package| package.name))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let installed: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .collect();
    Ok(wanted
        .into_iter()
        .filter(|package| !installed.contains(package.name))
        .collect())
}

fn name(purpose: Purpose) -> &'static str {
    match purpose {
        Build => "build",
        Demo => "demo",
        Test => "test",
        Bench => "bench",
        Faults => "faults",
        Clients => "clients",
        BenchRegistry => "bench-registry",
    }
}
