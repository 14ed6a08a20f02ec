//! The engines our images must run on, each with private storage.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::bench::Group;
use crate::process::{Cmd, Daemon};
use crate::workspace::{Scratch, which};

/// Containers share the host's network: dockerd runs without a bridge and the registry is on loopback.
pub(crate) const HOST_NETWORK: [&str; 2] = ["--network", "host"];

/// Something that runs the images of a registry as `docker run` does.
pub(crate) trait Runner {
    /// The name in test names.
    fn name(&self) -> &'static str;
    /// Fetches the image.
    fn pull(&self, reference: &str) -> Result<()>;
    /// A command that runs `options IMAGE arguments`, removing the container afterwards.
    fn run(&self, options: &[String], reference: &str, arguments: &[String]) -> Cmd;
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

/// Fails unless `program` is installed; `package` has it.
pub(crate) fn require(program: &str, package: &str) -> Result<()> {
    if which(program).is_none() {
        bail!("`{program}` is not installed (package {package}); `cargo xtask setup` installs it");
    }
    Ok(())
}
