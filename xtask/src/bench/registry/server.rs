//! The servers that are measured, each on a directory and a free port of loopback.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::content::Content;
use super::meter::Processes;
use super::wire::Link;
use crate::process::{Cmd, Daemon};
use crate::workspace::{remove_tree, which};

/// Where everything that is read is pushed to.
pub(super) const REPOSITORY: &str = "bench/app";

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// `rbuild-registry`.
    Ours,
    /// Debian's docker-registry.
    Distribution,
    /// nginx, which serves files of the same names.
    Nginx,
}

/// How to start one of them.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) kind: Kind,
    program: PathBuf,
    pub(super) data: PathBuf,
    settings: Vec<(String, String)>,
}

/// One that runs; it ends when dropped.
pub(super) struct Server {
    /// How it was started.
    pub(super) setup: Setup,
    pub(super) address: String,
    /// From the start of the program to its first answer.
    pub(super) started_in: Duration,
    pub(super) processes: Processes,
    _daemon: Daemon,
}

impl Setup {
    /// A server on an empty directory; `registry` is our program.
    pub(super) fn new(kind: Kind, registry: &Path, data: PathBuf) -> Result<Self> {
        fs::create_dir_all(&data)?;
        let installed = |name| which(name).with_context(|| format!("`{name}` is not installed"));
        let program = match kind {
            Kind::Ours => registry.to_owned(),
            Kind::Distribution => installed("docker-registry")?,
            Kind::Nginx => installed("nginx")?,
        };
        let setup = Self {
            kind,
            program,
            data,
            settings: Vec::new(),
        };
        Ok(setup
            .with("ACCESS_LOG", "false")
            .with("VERIFY_BYTES", "0")
            .with("LIMITS_RESERVE_BYTES", "0"))
    }

    /// With a setting of ours, by the name of its variable behind the prefix.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        let name = format!("RBUILD_REGISTRY_{name}");
        self.settings.retain(|(own, _)| *own != name);
        self.settings.push((name, value.to_owned()));
        self
    }

    /// Starts it; returns when it has answered.
    pub(super) fn start(&self) -> Result<Server> {
        let address = free_address()?;
        let cmd = match self.kind {
            Kind::Ours => {
                let cmd = Cmd::new(&self.program).args(["serve", "--listen", &address, "--data"]);
                let cmd = cmd.arg(&self.data);
                self.settings
                    .iter()
                    .fold(cmd, |cmd, (name, value)| cmd.env(name, value))
            }
            Kind::Distribution => {
                fs::write(self.distribution_config(), self.distribution(&address))?;
                Cmd::new(&self.program)
                    .arg("serve")
                    .arg(self.distribution_config())
            }
            Kind::Nginx => {
                let config = self.data.join("nginx.conf");
                fs::write(&config, self.nginx(&address))?;
                Cmd::new(&self.program).arg("-c").arg(config)
            }
        };
        let log = self.data.with_extension("log");
        let begin = Instant::now();
        let mut daemon = cmd.daemon(self.kind.name(), &log)?;
        let answers = || {
            let answer = Link::new(&address).and_then(|mut l| l.request("GET", "/v2/", "", b""));
            answer.is_ok_and(|answer| answer.status() < 500)
        };
        // Asked far more often than other daemons are: the time of the start is measured.
        while !answers() {
            if begin.elapsed() > Duration::from_secs(1) {
                daemon.wait_until(answers)?;
                break;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let started_in = begin.elapsed();
        Ok(Server {
            setup: self.clone(),
            address,
            started_in,
            processes: Processes::of(daemon.pid()),
            _daemon: daemon,
        })
    }

    /// Where distribution's configuration is.
    fn distribution_config(&self) -> PathBuf {
        self.data.with_extension("yml")
    }

    /// The command that removes what nothing refers to from distribution's directory.
    pub(super) fn distribution_collect(&self) -> Cmd {
        Cmd::new(&self.program)
            .arg("garbage-collect")
            .arg(self.distribution_config())
    }

    fn distribution(&self, address: &str) -> String {
        format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: {}\n    maxthreads: 1000\n  delete:\n    enabled: true\n  cache:\n    blobdescriptor: inmemory\nhttp:\n  addr: {address}\n",
            self.data.display()
        )
    }

    fn nginx(&self, address: &str) -> String {
        let data = self.data.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {data}/temp-{name};"))
            .join(" ");
        // `tcp_nopush` holds back the end of each answer on a connection that is kept, which ruins short ranges.
        format!(
            "daemon off;\nworker_processes 2;\nuser root;\npid {data}/pid;\nerror_log {data}/error.log;\nevents {{ worker_connections 4096; }}\nhttp {{\n  access_log off;\n  sendfile on;\n  tcp_nopush off;\n  tcp_nodelay on;\n  keepalive_requests 1000000000;\n  keepalive_timeout 300;\n  default_type application/octet-stream;\n  {temporary}\n  server {{ listen {address}; root {data}; location = /v2/ {{ return 200; }} }}\n}}\n"
        )
    }

    /// Throws its directory away.
    pub(super) fn remove(&self) {
        remove_tree(&self.data);
    }
}

impl Kind {
    /// As in the table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "rbuild-registry",
            Self::Distribution => "docker-registry",
            Self::Nginx => "nginx",
        }
    }
}

impl Server {
    /// Puts a blob there, by a push or as a file.
    pub(super) fn put_blob(&self, content: &Content) -> Result<()> {
        if self.setup.kind == Kind::Nginx {
            let path = self.setup.data.join(format!("v2/{REPOSITORY}/blobs"));
            fs::create_dir_all(&path)?;
            let mut file = fs::File::create(path.join(content.digest()))?;
            for part in content.parts() {
                std::io::Write::write_all(&mut file, part)?;
            }
            return Ok(());
        }
        let mut link = Link::new(&self.address)?;
        push_blob(&mut link, REPOSITORY, content)
    }

    /// Puts a manifest there.
    pub(super) fn put_manifest(&self, tag: &str, manifest: &[u8]) -> Result<()> {
        if self.setup.kind == Kind::Nginx {
            let path = self.setup.data.join(format!("v2/{REPOSITORY}/manifests"));
            fs::create_dir_all(&path)?;
            return Ok(fs::write(path.join(tag), manifest)?);
        }
        let mut link = Link::new(&self.address)?;
        push_manifest(&mut link, REPOSITORY, tag, manifest)
    }
}

/// Pushes a blob with POST and PUT.
pub(super) fn push_blob(link: &mut Link, repository: &str, content: &Content) -> Result<()> {
    let start = format!("/v2/{repository}/blobs/uploads/");
    let location = link.request("POST", &start, "", b"")?.expect(202)?;
    let end = with_digest(&location.location()?, content.digest());
    let octets = "Content-Type: application/octet-stream\r\n";
    link.send("PUT", &end, octets, content.length(), content.parts())?
        .expect(201)?;
    Ok(())
}

/// Pushes a blob in chunks of so many bytes, and ends the upload.
pub(super) fn push_chunks(
    link: &mut Link,
    repository: &str,
    content: &Content,
    chunk: u64,
) -> Result<()> {
    let start = format!("/v2/{repository}/blobs/uploads/");
    let answer = link.request("POST", &start, "", b"")?.expect(202)?;
    let mut location = answer.location()?;
    let mut at = 0;
    while at < content.length() {
        let end = (at + chunk).min(content.length());
        let headers = format!(
            "Content-Type: application/octet-stream\r\nContent-Range: {at}-{}\r\n",
            end - 1
        );
        let parts = content.parts_of(at, end);
        let answer = link.send("PATCH", &location, &headers, end - at, parts)?;
        location = answer.expect(202)?.location()?;
        at = end;
    }
    let end = with_digest(&location, content.digest());
    link.request("PUT", &end, "", b"")?.expect(201)?;
    Ok(())
}

/// Pushes a manifest.
pub(super) fn push_manifest(
    link: &mut Link,
    repository: &str,
    tag: &str,
    manifest: &[u8],
) -> Result<()> {
    let path = format!("/v2/{repository}/manifests/{tag}");
    let kind = format!("Content-Type: {MANIFEST}\r\n");
    link.request("PUT", &path, &kind, manifest)?.expect(201)?;
    Ok(())
}

/// The media type of all manifests here.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A manifest with this config and layer.
pub(super) fn manifest(config: &Content, layer: &Content) -> Vec<u8> {
    let descriptor = |kind: &str, content: &Content| {
        serde_json::json!({
            "mediaType": kind, "digest": content.digest(), "size": content.length(),
        })
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    });
    manifest.to_string().into_bytes()
}

fn with_digest(location: &str, digest: &str) -> String {
    let mark = if location.contains('?') { '&' } else { '?' };
    format!("{location}{mark}digest={digest}")
}

/// A port that was free a moment ago.
fn free_address() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    if address.port() == 0 {
        bail!("no free port");
    }
    Ok(address.to_string())
}
