//! Push to and pull from a registry that we did not write: Debian's `docker-registry`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rbuild_image::{Digest, MediaType, Platform, RepositoryName};
use rbuild_registry_client::{Silent, TransferEvent};

use crate::support::{Image, Notes, client, noise, reference, store};

/// A registry of the test's own; it ends with the value.
struct Peer {
    process: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Peer {
    fn start() -> Option<Self> {
        let program = Path::new("/usr/bin/docker-registry");
        if !program.exists() {
            let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
            assert!(
                !required.split(',').any(|name| name == "docker-registry"),
                "docker-registry is required and not installed"
            );
            eprintln!("skipped: docker-registry is not installed");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.yml");
        let data = directory.path().join("data");
        // Port 0: the registry chooses and says which in its log.
        let text = format!(
            "version: 0.1\nlog:\n  formatter: text\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n",
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
            _directory: directory,
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
