//! Push to and pull from a registry that we did not write: Debian's `docker-registry`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rbuild_image::{Digest, MediaType, Platform, RepositoryName};
use rbuild_registry_client::{
    Anonymous, ClientError, HostRule, HostRules, Silent, TlsProblem, TransferEvent,
};
use tempfile::TempDir;

use crate::cut::{Limit, Wire};
use crate::support::{Image, Notes, client, client_with, noise, reference, store};

/// A registry of the test's own; it ends with the value.
struct Peer {
    process: Child,
    address: String,
    directory: TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A program of this machine; without it the test is skipped, or fails if it is required.
fn installed(name: &str) -> Option<PathBuf> {
    let path = Path::new("/usr/bin").join(name);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|own| own == name),
        "{name} is required and not installed"
    );
    eprintln!("skipped: {name} is not installed");
    None
}

impl Peer {
    fn start() -> Option<Self> {
        Self::start_with(tempfile::tempdir().unwrap(), "")
    }

    /// The certificate is `server.pem`, its key `server.key`.
    fn start_with_tls(directory: TempDir) -> Option<Self> {
        let path = directory.path().display().to_string();
        let tls =
            format!("  tls:\n    certificate: {path}/server.pem\n    key: {path}/server.key\n");
        Self::start_with(directory, &tls)
    }

    fn start_with(directory: TempDir, tls: &str) -> Option<Self> {
        let program = installed("docker-registry")?;
        let file = directory.path().join("config.yml");
        let data = directory.path().join("data");
        // Port 0: the registry chooses and says which in its log.
        let text = format!(
            "version: 0.1\nlog:\n  formatter: text\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n{tls}",
            data.display()
        );
        std::fs::write(&file, text).unwrap();
        let mut process = Command::new(program)
            .arg("serve")
            .arg(&file)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let mut lines = log.lines();
        let mut seen = String::new();
        let address = loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("docker-registry ended: {seen}"))
                .unwrap();
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest
                    .find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')
                    .unwrap_or(rest.len());
                break rest[..end].to_owned();
            }
            seen.push_str(&line);
        };
        // It blocks when nobody reads its log.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self {
            process,
            address,
            directory,
        })
    }
}

#[tokio::test]
async fn what_is_pushed_comes_back() {
    let Some(peer) = Peer::start() else { return };
    let client = client();
    let image = Image::new(vec![
        noise(1, 3 << 20),
        noise(2, 10),
        noise(3, 0),
        noise(1, 3 << 20),
    ]);
    let name = reference(&peer.address, "team/app:1");

    let notes = Notes::default();
    let pushed = client
        .push_image(
            &name,
            image.manifest.bytes(),
            &MediaType::MANIFEST,
            image.sources(),
            &notes,
        )
        .await
        .unwrap();
    assert_eq!(pushed.descriptor.digest, image.manifest.digest());
    assert_eq!(
        notes.count("done"),
        4,
        "three different layers and the config"
    );

    let store = store();
    let pulled = client
        .pull_image(&name, &Platform::host(), &store, &Silent)
        .await
        .unwrap();
    assert_eq!(pulled.top.bytes, image.manifest.bytes());
    assert_eq!(pulled.config.bytes(), image.config.bytes());
    image.check_is_in(&store);

    // Again: nothing travels in either direction.
    let notes = Notes::default();
    client
        .push_blobs(&name, image.sources(), &notes)
        .await
        .unwrap();
    client
        .pull_image(&name, &Platform::host(), &store, &notes)
        .await
        .unwrap();
    assert_eq!((notes.count("started"), notes.count("done")), (0, 0));

    // Into another repository: mounted.
    let notes = Notes::default();
    let from: RepositoryName = "team/app".parse().unwrap();
    let sources = image.sources();
    let sources = sources
        .into_iter()
        .map(|source| source.mount_from(vec![from.clone()]));
    client
        .push_image(
            &reference(&peer.address, "other/app:2"),
            image.manifest.bytes(),
            &MediaType::MANIFEST,
            sources.collect(),
            &notes,
        )
        .await
        .unwrap();
    assert_eq!((notes.count("mounted"), notes.count("started")), (4, 0));

    let tags = client.tags(&name).await.unwrap();
    assert_eq!(tags, ["1".parse().unwrap()]);
    client.ping(&peer.address).await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let Some(peer) = Peer::start() else { return };
    let client = client();
    let missing = reference(&peer.address, "no/such:thing");
    let error = client.resolve(&missing).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().contains("no/such:thing"), "{error}");
    let by_digest = missing.with_digest(Digest::sha256("x"));
    assert!(
        client
            .manifest(&by_digest)
            .await
            .unwrap_err()
            .is_not_found()
    );
}

#[tokio::test]
async fn progress_counts_every_byte() {
    let Some(peer) = Peer::start() else { return };
    let client = client();
    let image = Image::new(vec![noise(4, 2 << 20)]);
    let most = std::sync::atomic::AtomicU64::new(0);
    let observer = |event: &TransferEvent<'_>| {
        if let TransferEvent::Progress { done, .. } = event {
            most.fetch_max(*done, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let name = reference(&peer.address, "a:1");
    client
        .push_blobs(&name, image.sources(), &observer)
        .await
        .unwrap();
    assert_eq!(most.into_inner(), 2 << 20);
}

#[tokio::test]
async fn a_broken_connection_costs_only_what_was_lost() {
    let Some(peer) = Peer::start() else { return };
    let image = Image::new(vec![noise(6, 12 << 20)]);
    let cuts = [Limit::up(4 << 20), Limit::up(3 << 20)];
    let wire = Wire::to(peer.address.parse().unwrap(), &cuts).await;
    let name = reference(wire.address, "a:1");
    let notes = Notes::default();
    let manifest = image.manifest.bytes();
    client()
        .push_image(
            &name,
            manifest,
            &MediaType::MANIFEST,
            image.sources(),
            &notes,
        )
        .await
        .unwrap();
    assert!(notes.count("retrying") >= 1);

    let cuts = [Limit::down(4 << 20), Limit::down(3 << 20)];
    let wire = Wire::to(peer.address.parse().unwrap(), &cuts).await;
    let name = reference(wire.address, "a:1");
    let store = store();
    client()
        .pull_image(&name, &Platform::host(), &store, &Silent)
        .await
        .unwrap();
    image.check_is_in(&store);
}

/// A certificate for `localhost`, signed by nobody but itself, as `server.pem` and `server.key`.
fn certificate(openssl: &Path) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(openssl)
        .current_dir(directory.path())
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=test"])
        .args(["-keyout", "server.key", "-out", "server.pem"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    directory
}

#[tokio::test]
async fn certificates_are_checked_as_the_rules_say() {
    let Some(openssl) = installed("openssl") else {
        return;
    };
    let Some(peer) = Peer::start_with_tls(certificate(&openssl)) else {
        return;
    };
    let port = peer.address.rsplit(':').next().unwrap();
    let (by_name, by_address) = (format!("localhost:{port}"), format!("127.0.0.1:{port}"));
    let trusted = || HostRule {
        ca: vec![peer.directory.path().join("server.pem")],
        ..HostRule::default()
    };
    // A file of another authority, so that the loopback rule of "anything goes" is off.
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(
        certificate(&openssl).path().join("server.pem"),
        other.path().join("o.pem"),
    )
    .unwrap();
    let distrusted = HostRule {
        ca: vec![other.path().join("o.pem")],
        ..HostRule::default()
    };
    let hosts = HostRules::default();
    for (host, hosts, want) in [
        // On this machine a registry may use any certificate, and plain HTTP is tried first.
        (&by_name, hosts.clone(), None),
        (&by_name, hosts.clone().with(&by_name, trusted()), None),
        (
            &by_name,
            hosts.clone().with(&by_name, distrusted.clone()),
            Some(TlsProblem::UnknownIssuer),
        ),
        (
            &by_address,
            hosts.clone().with(&by_address, trusted()),
            Some(TlsProblem::WrongName),
        ),
        (
            &by_name,
            hosts.with(&by_name, distrusted).insecure_everywhere(),
            None,
        ),
    ] {
        let case = format!("{host} {hosts:?}");
        let outcome = client_with(Arc::new(Anonymous), hosts).ping(host).await;
        match (outcome, want) {
            (Ok(()), None) => {}
            (Err(ClientError::Tls { problem, .. }), Some(want)) => {
                assert_eq!(problem, want, "{case}");
            }
            (outcome, _) => panic!("{case}: {outcome:?}"),
        }
    }

    // The other way round: TLS is wanted, and the registry speaks plain HTTP.
    let Some(plain) = Peer::start() else { return };
    let port = plain.address.rsplit(':').next().unwrap();
    let host = format!("localhost:{port}");
    let hosts = HostRules::default().with(&host, trusted());
    let error = client_with(Arc::new(Anonymous), hosts)
        .ping(&host)
        .await
        .unwrap_err();
    let ClientError::Tls { problem, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*problem, TlsProblem::NotTls);
    assert!(error.hint().unwrap().contains("plain-http"));
}
