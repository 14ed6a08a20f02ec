//! The engines our images must run on, each with private storage, and our own two programs.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anyhow::{Context as _, Result, bail};

use crate::bench::Group;
use crate::process::{Cmd, Daemon};
use crate::setup::TEST_USER;
use crate::workspace::{Binaries, Scratch, which};

/// Containers share the host's network: dockerd runs without a bridge and the registry is on loopback.
const HOST_NETWORK: [&str; 2] = ["--network", "host"];

/// Something that runs the images of a registry as `docker run` does.
pub(crate) trait Runner {
    /// The name in test names.
    fn name(&self) -> &'static str;
    /// Fetches the image.
    fn pull(&self, reference: &str) -> Result<()>;
    /// A command that runs `options IMAGE arguments`, removing the container afterwards.
    fn run(&self, options: &[String], reference: &str, arguments: &[String]) -> Cmd;
}

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

/// Debian's dockerd with private data, execution root and socket.
pub(crate) struct Dockerd {
    _daemon: Daemon,
    client: PathBuf,
    host: String,
    config: PathBuf,
}

impl Dockerd {
    /// Starts a daemon that keeps everything below the scratch directory.
    pub(crate) fn start(scratch: &Scratch) -> Result<Self> {
        Self::start_as(scratch, |cmd| cmd)
    }

    /// Starts a daemon whose processes and containers all belong to `group`.
    pub(crate) fn start_in(scratch: &Scratch, group: &Group) -> Result<Self> {
        Self::start_as(scratch, |cmd| {
            group.enter(
                &cmd.arg("--cgroup-parent")
                    .arg(group.parent_for_containers()),
            )
        })
    }

    fn start_as(scratch: &Scratch, change: impl FnOnce(Cmd) -> Cmd) -> Result<Self> {
        let home = scratch.subdir("docker")?;
        let host = format!("unix://{}", home.join("d.sock").display());
        let mut cmd =
            Cmd::new(which("dockerd").context("dockerd is not installed (package docker.io)")?)
                .args(["--bridge=none", "--iptables=false", "--host", &host])
                .args([
                    "--data-root".as_ref(),
                    home.join("data").as_os_str(),
                    "--exec-root".as_ref(),
                    home.join("exec").as_os_str(),
                ])
                .arg("--pidfile")
                .arg(home.join("d.pid"));
        if scratch.storage_driver() == "vfs" {
            cmd = cmd.args(["--storage-driver", "vfs"]);
        }
        let mut daemon = change(cmd).daemon("dockerd", &home.join("log"))?;
        // Debian's own client: a newer one found first on PATH may lack the builder's plug-in.
        let debian = PathBuf::from("/usr/bin/docker");
        let client = if debian.is_file() {
            debian
        } else {
            PathBuf::from("docker")
        };
        daemon.wait_until(|| {
            Cmd::new(&client)
                .arg("version")
                .env("DOCKER_HOST", &host)
                .quiet()
                .is_ok()
        })?;
        Ok(Self {
            _daemon: daemon,
            client,
            host,
            config: scratch.subdir("docker-config")?,
        })
    }

    /// A command of the client.
    pub(crate) fn client_cmd(&self) -> Cmd {
        Cmd::new(&self.client)
            .env("DOCKER_HOST", &self.host)
            .env("DOCKER_CONFIG", &self.config)
            .env("DOCKER_BUILDKIT", "1")
    }
}

impl Runner for Dockerd {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn pull(&self, reference: &str) -> Result<()> {
        self.client_cmd().args(["pull", "-q", reference]).quiet()
    }

    fn run(&self, options: &[String], reference: &str, arguments: &[String]) -> Cmd {
        self.client_cmd()
            .args(["run", "--rm"])
            .args(HOST_NETWORK)
            .args(options)
            .arg(reference)
            .args(arguments)
    }
}

/// podman with private storage.
pub(crate) struct Podman {
    home: PathBuf,
    driver: &'static str,
    registries: PathBuf,
}

impl Podman {
    /// Storage below the scratch directory; there is no daemon.
    pub(crate) fn new(scratch: &Scratch) -> Result<Self> {
        let home = scratch.subdir("podman")?;
        // An empty file: only full references are used, and TLS is switched off per command.
        let registries = home.join("registries.conf");
        std::fs::write(&registries, "unqualified-search-registries = []\n")?;
        Ok(Self {
            home,
            driver: scratch.storage_driver(),
            registries,
        })
    }

    /// A command with the private storage.
    pub(crate) fn cmd(&self) -> Cmd {
        let mut cmd = Cmd::new("podman").env("CONTAINERS_REGISTRIES_CONF", &self.registries);
        for (option, directory) in [
            ("--root", "root"),
            ("--runroot", "run"),
            ("--tmpdir", "tmp"),
        ] {
            cmd = cmd.arg(option).arg(self.home.join(directory));
        }
        // runc and cgroupfs: crun refuses machines that mount both kinds of control groups.
        cmd.args([
            "--storage-driver",
            self.driver,
            "--runtime",
            "runc",
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "none",
        ])
    }
}

impl Runner for Podman {
    fn name(&self) -> &'static str {
        "podman"
    }

    fn pull(&self, reference: &str) -> Result<()> {
        self.cmd()
            .args(["pull", "-q", "--tls-verify=false", reference])
            .quiet()
    }

    fn run(&self, options: &[String], reference: &str, arguments: &[String]) -> Cmd {
        // podman's own limits exceed what a machine without CAP_SYS_RESOURCE may set.
        let limits = [
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1024:1024",
        ];
        self.cmd()
            .args(["run", "--rm"])
            .args(HOST_NETWORK)
            .args(limits)
            .args(options)
            .arg(reference)
            .args(arguments)
    }
}

/// containerd with private root, state and socket, driven by `ctr`.
pub(crate) struct Containerd {
    _daemon: Daemon,
    socket: PathBuf,
    snapshotter: &'static str,
}

impl Containerd {
    /// Starts a daemon that keeps everything below the scratch directory.
    pub(crate) fn start(scratch: &Scratch) -> Result<Self> {
        let home = scratch.subdir("containerd")?;
        let socket = home.join("c.sock");
        let config = home.join("config.toml");
        let (root, state, ttrpc) = (home.join("root"), home.join("state"), home.join("t.sock"));
        let text = format!(
            "version = 2\nroot = '{}'\nstate = '{}'\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n\
             [grpc]\naddress = '{}'\n[ttrpc]\naddress = '{}'\n",
            root.display(),
            state.display(),
            socket.display(),
            ttrpc.display()
        );
        std::fs::write(&config, text)?;
        let program =
            which("containerd").context("containerd is not installed (package containerd)")?;
        let mut daemon = Cmd::new(program)
            .arg("--config")
            .arg(&config)
            .daemon("containerd", &home.join("log"))?;
        daemon.wait_until(|| {
            Cmd::new("ctr")
                .arg("--address")
                .arg(&socket)
                .arg("version")
                .quiet()
                .is_ok()
        })?;
        let snapshotter = if scratch.storage_driver() == "vfs" {
            "native"
        } else {
            "overlayfs"
        };
        Ok(Self {
            _daemon: daemon,
            socket,
            snapshotter,
        })
    }

    /// A `ctr` command.
    pub(crate) fn cmd(&self) -> Cmd {
        Cmd::new("ctr").arg("--address").arg(&self.socket)
    }
}

impl Runner for Containerd {
    fn name(&self) -> &'static str {
        "ctr"
    }

    fn pull(&self, reference: &str) -> Result<()> {
        self.cmd()
            .args([
                "images",
                "pull",
                "--plain-http",
                "--snapshotter",
                self.snapshotter,
                reference,
            ])
            .quiet()
    }

    fn run(&self, options: &[String], reference: &str, arguments: &[String]) -> Cmd {
        self.cmd()
            .args([
                "run",
                "--rm",
                "--net-host",
                "--snapshotter",
                self.snapshotter,
            ])
            .args(options)
            .args([reference, "xtask"])
            .args(arguments)
    }
}

/// buildah with private storage.
pub(crate) struct Buildah {
    home: PathBuf,
    driver: &'static str,
}

impl Buildah {
    /// Storage in `home`; there is no daemon.
    pub(crate) fn new(home: PathBuf, driver: &'static str) -> Self {
        Self { home, driver }
    }

    /// A command with the private storage.
    pub(crate) fn cmd(&self) -> Cmd {
        let cmd = Cmd::new("buildah")
            .arg("--root")
            .arg(self.home.join("root"))
            .arg("--runroot")
            .arg(self.home.join("run"));
        cmd.args(["--storage-driver", self.driver])
    }
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

/// Fails unless `program` is installed; `package` has it.
pub(crate) fn require(program: &str, package: &str) -> Result<()> {
    if which(program).is_none() {
        bail!("`{program}` is not installed (package {package}); `cargo xtask setup` installs it");
    }
    Ok(())
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
