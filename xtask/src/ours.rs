//! Our own two programs, with stores and data of their own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anyhow::{Context as _, Result};

use crate::engine::{HOST_NETWORK, Runner};
use crate::process::{Cmd, Daemon};
use crate::setup::TEST_USER;
use crate::workspace::{Binaries, Scratch};

/// Our command line, with a store of its own.
pub(crate) struct Rbuild {
    binary: PathBuf,
    /// A directory that belongs to the caller; the store is inside.
    home: PathBuf,
    /// As whom it runs, if not as ourselves.
    user: Option<String>,
}

impl Rbuild {
    /// Run as ourselves, everything in the directory `name` of the scratch directory.
    pub(crate) fn new(binaries: &Binaries, scratch: &Scratch, name: &str) -> Result<Self> {
        Ok(Self {
            binary: binaries.rbuild.clone(),
            home: scratch.subdir(name)?,
            user: None,
        })
    }

    /// Run as an ordinary user, who gets a copy of the program: it may lie where only root can go.
    pub(crate) fn ordinary(binaries: &Binaries, scratch: &Scratch, user: &User) -> Result<Self> {
        let home = scratch.subdir("ordinary")?;
        let binary = home.join("rbuild");
        std::fs::copy(&binaries.rbuild, &binary)
            .with_context(|| format!("cannot copy `{}`", binaries.rbuild.display()))?;
        std::os::unix::fs::chown(&home, Some(user.uid), Some(user.gid))?;
        Ok(Self {
            binary,
            home,
            user: Some(user.name.clone()),
        })
    }

    /// A command of ours.
    pub(crate) fn cmd(&self) -> Cmd {
        self.as_caller(&Cmd::new(&self.binary))
            .env("RBUILD_ROOT", self.home.join("store"))
            .env("DOCKER_CONFIG", self.home.join("docker-config"))
    }

    /// Any command, run as the user who runs rbuild.
    pub(crate) fn as_caller(&self, cmd: &Cmd) -> Cmd {
        let Some(user) = &self.user else {
            return cmd.wrapped_in(&[]);
        };
        let change = [
            "setpriv",
            "--reuid",
            user,
            "--regid",
            user,
            "--init-groups",
            "--inh-caps=-all",
        ];
        cmd.wrapped_in(&change).env("HOME", &self.home)
    }

    /// A directory that the user who runs rbuild may write to.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// What to add to the name of a check.
    pub(crate) fn remark(&self) -> &'static str {
        if self.user.is_some() {
            ", without root"
        } else {
            ""
        }
    }

    /// Imports an image archive.
    pub(crate) fn load(&self, archive: &Path) -> Result<()> {
        self.cmd().args(["load", "-i"]).arg(archive).quiet()
    }

    /// Writes `reference` as an archive.
    pub(crate) fn save(
        &self,
        format: ArchiveFormat,
        reference: &str,
        archive: &Path,
    ) -> Result<()> {
        let format = match format {
            ArchiveFormat::Docker => "docker",
            ArchiveFormat::Oci => "oci",
        };
        self.cmd()
            .args(["save", "--format", format, "-o"])
            .arg(archive)
            .arg(reference)
            .quiet()
    }
}

/// The two kinds of image archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArchiveFormat {
    /// `docker save`.
    Docker,
    /// An OCI image layout in a tar.
    Oci,
}

impl Runner for Rbuild {
    fn name(&self) -> &'static str {
        "rbuild"
    }

    fn pull(&self, reference: &str) -> Result<()> {
        self.cmd().args(["pull", "-q", reference]).quiet()
    }

    fn run(&self, options: &[String], reference: &str, arguments: &[String]) -> Cmd {
        self.cmd()
            .arg("run")
            .args(HOST_NETWORK)
            .args(options)
            .arg(reference)
            .args(arguments)
    }
}

/// `rbuild-registry` on a free port of loopback.
pub(crate) struct Registry {
    _daemon: Daemon,
    address: String,
}

impl Registry {
    /// Starts it with fresh data in the scratch directory.
    pub(crate) fn start(binaries: &Binaries, scratch: &Scratch) -> Result<Self> {
        let cmd = Cmd::new(&binaries.registry)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(scratch.subdir("registry")?);
        Self::start_with(cmd, &scratch.path().join("registry.log"))
    }

    /// Starts the given command line, which must print its address.
    pub(crate) fn start_with(cmd: Cmd, log: &Path) -> Result<Self> {
        let (mut daemon, stdout) = cmd.daemon_with_stdout("rbuild-registry", log)?;
        let (sender, receiver) = mpsc::channel();
        // The thread reads on to the end, so that the registry never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(address) = loopback_address(&line) {
                    let _ = sender.send(address);
                }
            }
        });
        let mut address = None;
        daemon.wait_until(|| {
            address = address.take().or_else(|| receiver.try_recv().ok());
            address.is_some()
        })?;
        let address = address.context("the registry printed no address")?;
        Ok(Self {
            _daemon: daemon,
            address,
        })
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

/// The first `127.0.0.1:PORT` of a line.
fn loopback_address(line: &str) -> Option<String> {
    let start = line.find("127.0.0.1:")?;
    let rest = &line[start + "127.0.0.1:".len()..];
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!port.is_empty() && port != "0").then(|| format!("127.0.0.1:{port}"))
}

/// An account of this machine.
pub(crate) struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// The user who called sudo, or else the one that the set-up makes.
    pub(crate) fn ordinary() -> Result<Option<Self>> {
        let wanted = std::env::var("SUDO_USER").unwrap_or_else(|_| TEST_USER.to_owned());
        let users = std::fs::read_to_string("/etc/passwd").context("cannot read `/etc/passwd`")?;
        let fields = users
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>());
        let mut found = fields.filter_map(|fields| match fields.as_slice() {
            [name, _, uid, gid, ..] if *name == wanted => Some(Self {
                name: wanted.clone(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
            }),
            _ => None,
        });
        Ok(found.next())
    }
}

#[cfg(test)]
mod tests {
    use super::loopback_address;

    #[test]
    fn the_address_is_found_in_whatever_line_names_it() {
        assert_eq!(
            loopback_address("listening on http://127.0.0.1:4711/v2/").as_deref(),
            Some("127.0.0.1:4711")
        );
        assert_eq!(
            loopback_address("127.0.0.1:80").as_deref(),
            Some("127.0.0.1:80")
        );
        assert_eq!(loopback_address("asked for 127.0.0.1:0"), None);
    }
}
