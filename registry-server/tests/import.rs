//! Taking over images from registries that serve: ours, Debian's, and one whose connections break.
#![expect(clippy::print_stderr, reason = "a test that lacks a program says so")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rbuild_image::{Descriptor, Digest, MediaType, Reference, RepositoryName};
use rbuild_registry_client::{
    Anonymous, BlobSource, Blocking, Client, ClientConfig, RetryPolicy, Silent,
};
use rbuild_registry_server::admin::{self, AdminError, Imported, Origin};
use rbuild_registry_server::config::Config;
use rbuild_registry_server::serve;
use serde_json::{Value, json};
use support::program::{PROGRAM, terminate};
use support::{Fixture, IMAGE, INDEX, bytes, descriptor, image};

const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn client(attempts: u32) -> Blocking {
    let client = Client::new(ClientConfig {
        retry: RetryPolicy {
            attempts,
            first_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(5),
            max_retry_after: Duration::from_secs(2),
        },
        ..ClientConfig::new(Arc::new(Anonymous))
    });
    Blocking::new(client).expect("a client")
}

/// Imports into the directory of a registry that does not serve.
fn import(
    config: &Config,
    client: &Blocking,
    source: &str,
    repository: Option<&str>,
) -> Result<Imported, AdminError> {
    let opened = serve::open(config).expect("opens");
    let origin: Origin = source.parse().expect("a source");
    let repository: Option<RepositoryName> =
        repository.map(|name| name.parse().expect("a repository"));
    admin::import_remote(
        &opened.registry,
        client,
        &origin,
        repository.as_ref(),
        None,
        &|_| {},
    )
}

/// A registry that can be stopped, imported into, and started again.
struct Target(Fixture);

impl Target {
    fn new() -> Self {
        let mut registry = Fixture::new();
        drop(registry.running.take());
        Self(registry)
    }

    fn import(&self, source: &str, repository: Option<&str>) -> Imported {
        import(&self.0.config, &client(3), source, repository).expect("imported")
    }

    fn serve(mut self) -> Fixture {
        self.0.restart();
        self.0
    }
}

/// An index of two images with an SBOM for one of them, an image in Docker's form, and their tags.
fn fill(registry: &Fixture, repository: &str) -> Value {
    let amd = registry.push_image(repository, "amd", b"amd layer");
    registry.push_image(repository, "arm", b"arm layer");
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            descriptor(IMAGE, image(b"amd layer").to_string().as_bytes()),
            descriptor(IMAGE, image(b"arm layer").to_string().as_bytes()),
        ],
    });
    registry
        .put_manifest(repository, "all", &index)
        .expect_status(201);
    let mut docker = image(b"amd layer");
    docker["mediaType"] = DOCKER.into();
    registry
        .put_manifest(repository, "docker", &docker)
        .expect_status(201);
    registry.push_blob(repository, b"a list");
    let mut sbom = image(b"a list");
    sbom["artifactType"] = "application/spdx+json".into();
    sbom["subject"] = descriptor(IMAGE, image(b"amd layer").to_string().as_bytes());
    let sbom_digest = Digest::sha256(sbom.to_string());
    registry
        .put_manifest(repository, &sbom_digest.to_string(), &sbom)
        .expect_status(201);
    // What is referred to by nothing but a subject, one more level up.
    let mut signature = image(b"a list");
    signature["artifactType"] = "application/signature".into();
    signature["subject"] = descriptor(IMAGE, sbom.to_string().as_bytes());
    let signature_digest = Digest::sha256(signature.to_string());
    registry
        .put_manifest(repository, &signature_digest.to_string(), &signature)
        .expect_status(201);
    json!({ "amd": amd.to_string(), "sbom": sbom_digest.to_string() })
}

/// Everything that [`fill`] made is here, byte for byte.
fn same(source: &Fixture, from: &str, target: &Fixture, to: &str, digests: &Value) {
    for rest in ["manifests/all", "manifests/arm", "manifests/docker"] {
        let (want, got) = (
            source.get(&format!("/v2/{from}/{rest}")),
            target.get(&format!("/v2/{to}/{rest}")),
        );
        got.expect_status(200);
        assert!(got.body == want.body, "{rest}");
        assert_eq!(
            got.header("content-type"),
            want.header("content-type"),
            "{rest}"
        );
    }
    for subject in ["amd", "sbom"] {
        let digest = digests[subject].as_str().expect("a digest");
        let rest = format!("referrers/{digest}");
        let (want, got) = (
            source.get(&format!("/v2/{from}/{rest}")),
            target.get(&format!("/v2/{to}/{rest}")),
        );
        assert_eq!(got.json(), want.json());
        assert_eq!(
            got.json()["manifests"].as_array().map(Vec::len),
            Some(1),
            "{}",
            got.text()
        );
    }
    for layer in [&b"amd layer"[..], b"arm layer", b"a list"] {
        let path = format!("/v2/{to}/blobs/{}", Digest::sha256(layer));
        assert_eq!(target.get(&path).expect_status(200).body, layer);
    }
}

#[test]
fn a_repository_comes_with_indexes_and_referrers_and_a_second_time_costs_nothing() {
    let source = Fixture::new();
    let digests = fill(&source, "team/app");
    let target = Target::new();
    let from = format!("docker://{}/team/app", source.address);
    let first = target.import(&from, Some("mirror/app"));
    assert_eq!((first.manifests, first.blobs, first.failed), (6, 4, 0));
    let mut tags: Vec<_> = first.tags.iter().map(ToString::to_string).collect();
    tags.sort();
    assert_eq!(tags, ["all", "amd", "arm", "docker"]);
    let second = target.import(&from, Some("mirror/app"));
    assert_eq!(second, Imported::default());
    // A tag that moved is moved, and one that was deleted stays.
    source.push_image("team/app", "arm", b"newer layer");
    source
        .delete("/v2/team/app/manifests/docker")
        .expect_status(202);
    let third = target.import(&from, Some("mirror/app"));
    assert_eq!((third.manifests, third.blobs, third.tags.len()), (1, 1, 1));
    let target = target.serve();
    source
        .put_manifest("team/app", "arm", &image(b"arm layer"))
        .expect_status(201);
    target
        .put_manifest("mirror/app", "arm", &image(b"arm layer"))
        .expect_status(201);
    let mut docker = image(b"amd layer");
    docker["mediaType"] = DOCKER.into();
    source
        .put_manifest("team/app", "docker", &docker)
        .expect_status(201);
    same(&source, "team/app", &target, "mirror/app", &digests);
}

#[test]
fn an_image_by_tag_or_digest_comes_with_what_belongs_to_it_alone() {
    let source = Fixture::new();
    let digests = fill(&source, "app");
    let target = Target::new();
    let address = source.address;
    let tag = target.import(&format!("docker://{address}/app:all"), None);
    assert_eq!((tag.manifests, tag.blobs, tag.tags.len()), (5, 4, 1));
    let amd = digests["amd"].as_str().expect("a digest");
    let digest = target.import(&format!("docker://{address}/app@{amd}"), Some("other"));
    // The blobs are mounted, as another repository has them.
    assert_eq!(
        (digest.manifests, digest.blobs, digest.tags.len()),
        (3, 0, 0)
    );
    let target = target.serve();
    target.get("/v2/app/manifests/arm").expect_status(404);
    target
        .get(&format!("/v2/other/manifests/{amd}"))
        .expect_status(200);
    let listed = target.get(&format!("/v2/other/referrers/{amd}"));
    assert!(listed.text().contains("spdx"), "{}", listed.text());
}

#[test]
fn a_whole_registry_comes_by_its_catalogue() {
    let source = Fixture::new();
    let digests = fill(&source, "a/one");
    fill(&source, "b");
    let target = Target::new();
    let from = format!("docker://{}", source.address);
    let imported = target.import(&from, Some("copy"));
    // Each blob is fetched once, and held by both.
    assert_eq!((imported.manifests, imported.blobs), (12, 4));
    assert_eq!(target.import(&from, Some("copy")), Imported::default());
    let target = target.serve();
    same(&source, "a/one", &target, "copy/a/one", &digests);
    same(&source, "b", &target, "copy/b", &digests);
}

#[test]
fn what_fails_is_counted_and_the_rest_comes() {
    let source = Fixture::new();
    let layer = bytes(200_000);
    source.push_image("app", "broken", &layer);
    source.push_image("app", "whole", b"layer");
    let running = source.running.as_ref().expect("runs");
    let file = running.registry().blobs().path_of(&Digest::sha256(&layer));
    fs::remove_file(file).expect("remove");
    let target = Target::new();
    let from = format!("docker://{}/app", source.address);
    let imported = target.import(&from, None);
    assert_eq!((imported.failed, imported.tags.len()), (1, 1));
    let absent = format!("docker://{}/app:absent", source.address);
    let error = import(&target.0.config, &client(1), &absent, None);
    assert!(matches!(error, Err(AdminError::Remote { .. })), "{error:?}");
}

/// Passes bytes on to a registry, and cuts the answers of a connection off after so many bytes.
struct Cutter {
    address: SocketAddr,
    way: Arc<Way>,
}

struct Way {
    limit: AtomicU64,
    /// Says nothing any more at the limit, instead of closing.
    stalls: AtomicBool,
    /// Changes what passes.
    flips: AtomicBool,
    passed: AtomicU64,
}

impl Cutter {
    fn start(registry: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let way = Arc::new(Way {
            limit: AtomicU64::new(u64::MAX),
            stalls: AtomicBool::new(false),
            flips: AtomicBool::new(false),
            passed: AtomicU64::new(0),
        });
        let shared = Arc::clone(&way);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(registry)) else {
                    continue;
                };
                let (mut from, mut to) = (
                    client.try_clone().expect("clones"),
                    server.try_clone().expect("clones"),
                );
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
                let way = Arc::clone(&shared);
                std::thread::spawn(move || pass(server, client, &way));
            }
        });
        Self { address, way }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, way: &Way) {
    let mut buffer = vec![0; 64 << 10];
    let mut sent = 0_u64;
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 {
            break;
        }
        sent += count as u64;
        if way.flips.load(Ordering::Relaxed) && sent > 1 << 20 {
            buffer[count - 1] ^= 1;
        }
        let written = to.write_all(&buffer[..count]);
        way.passed.fetch_add(count as u64, Ordering::Relaxed);
        if written.is_err() {
            break;
        }
        if sent >= way.limit.load(Ordering::Relaxed) {
            if way.stalls.load(Ordering::Relaxed) {
                // Until the client goes.
                while to.peek(&mut [0]).is_ok_and(|count| count > 0) {}
            }
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

#[test]
fn a_blob_that_was_broken_off_goes_on_where_it_was() {
    const SIZE: usize = 8 << 20;
    for damaged in [false, true] {
        let source = Fixture::new();
        let layer = bytes(SIZE);
        source.push_image("app", "v1", &layer);
        let cutter = Cutter::start(source.address);
        let from = format!("docker://{}/app", cutter.address);
        let target = Target::new();
        // What came before the cut is kept, whatever it is.
        cutter.way.limit.store(5 << 20, Ordering::Relaxed);
        cutter.way.flips.store(damaged, Ordering::Relaxed);
        let first = import(&target.0.config, &client(1), &from, None).expect("goes on");
        assert_eq!((first.failed, first.manifests), (1, 0));
        cutter.way.limit.store(u64::MAX, Ordering::Relaxed);
        cutter.way.flips.store(false, Ordering::Relaxed);
        cutter.way.passed.store(0, Ordering::Relaxed);
        let second = import(&target.0.config, &client(1), &from, None).expect("goes on");
        assert_eq!((second.failed, second.manifests), (0, 1));
        let passed = cutter.way.passed.load(Ordering::Relaxed);
        if damaged {
            assert!(passed > SIZE as u64, "{passed}");
        } else {
            assert!(passed < SIZE as u64 / 2, "{passed}");
        }
        let target = target.serve();
        let got = target.get(&format!("/v2/app/blobs/{}", Digest::sha256(&layer)));
        assert!(got.expect_status(200).body == layer);
    }
}

#[test]
fn an_import_that_is_stopped_goes_on_where_it_was() {
    const SIZE: u64 = 32 << 20;
    let source = Fixture::new();
    let layer = bytes(usize::try_from(SIZE).expect("fits"));
    source.push_image("app", "v1", &layer);
    let cutter = Cutter::start(source.address);
    cutter.way.limit.store(24 << 20, Ordering::Relaxed);
    cutter.way.stalls.store(true, Ordering::Relaxed);
    let directory = tempfile::tempdir().expect("temporary directory");
    let from = format!("docker://{}/app", cutter.address);
    let child = Command::new(PROGRAM)
        .args(["import", &from, "--data"])
        .arg(directory.path())
        .env("DOCKER_CONFIG", directory.path())
        .env("RBUILD_REGISTRY_LIMITS_RESERVE_BYTES", "0")
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let deadline = Instant::now() + Duration::from_mins(1);
    while cutter.way.passed.load(Ordering::Relaxed) < 24 << 20 {
        assert!(Instant::now() < deadline, "nothing comes");
        std::thread::yield_now();
    }
    terminate(&child);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("goes on"),
        "{output:?}"
    );
    cutter.way.limit.store(u64::MAX, Ordering::Relaxed);
    cutter.way.passed.store(0, Ordering::Relaxed);
    let output = program(directory.path(), &[&from]);
    assert!(output.status.success(), "{output:?}");
    let passed = cutter.way.passed.load(Ordering::Relaxed);
    assert!(passed < SIZE, "{passed}");
}

#[test]
fn connections_that_break_again_and_again_are_made_again() {
    let source = Fixture::new();
    let layer = bytes(6 << 20);
    source.push_image("app", "v1", &layer);
    let cutter = Cutter::start(source.address);
    cutter.way.limit.store(1 << 20, Ordering::Relaxed);
    let target = Target::new();
    let from = format!("docker://{}/app:v1", cutter.address);
    let imported = import(&target.0.config, &client(3), &from, None).expect("imported");
    assert_eq!(imported.blobs, 2);
    let target = target.serve();
    let got = target.get(&format!("/v2/app/blobs/{}", Digest::sha256(&layer)));
    assert!(got.expect_status(200).body == layer);
}

/// Debian's registry, on a port of its own choice; it ends with the value.
struct Debian {
    process: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Drop for Debian {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Debian {
    fn start() -> Option<Self> {
        let program = Path::new("/usr/bin/docker-registry");
        if !program.exists() {
            let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
            assert!(
                !required.split(',').any(|own| own == "docker-registry"),
                "docker-registry is required and not installed"
            );
            eprintln!("skipped: docker-registry is not installed");
            return None;
        }
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = directory.path().join("config.yml");
        let data = directory.path().join("data");
        let text = format!(
            "version: 0.1\nlog:\n  formatter: text\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n",
            data.display()
        );
        fs::write(&file, text).expect("write");
        let mut process = Command::new(program)
            .arg("serve")
            .arg(&file)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("docker-registry runs");
        let log = BufReader::new(process.stderr.take().expect("a pipe"));
        let mut lines = log.lines().map_while(Result::ok);
        let line = lines
            .find(|line| line.contains("listening on "))
            .expect("it listens");
        let (_, rest) = line.split_once("listening on ").expect("an address");
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')
            .unwrap_or(rest.len());
        let address = rest[..end].to_owned();
        // It blocks when nobody reads its log.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self {
            process,
            address,
            _directory: directory,
        })
    }
}

#[test]
fn a_registry_without_a_list_of_referrers_gives_them_by_their_tag() {
    let Some(debian) = Debian::start() else {
        return;
    };
    let client = client(3);
    let push = |name: &str, content: &Value, layer: &[u8]| {
        let reference: Reference = format!("{}/{name}", debian.address)
            .parse()
            .expect("a name");
        let text = content.to_string();
        let media_type = MediaType::new(content["mediaType"].as_str().expect("a type"));
        let sources = [layer, b"{}"]
            .map(|blob| BlobSource::from_bytes(Descriptor::of(MediaType::LAYER, blob), blob));
        let sources = if content["layers"].is_null() {
            Vec::new()
        } else {
            sources.to_vec()
        };
        client
            .run(client.client().push_image(
                &reference,
                text.as_bytes(),
                &media_type,
                sources,
                &Silent,
            ))
            .expect("pushed");
        Digest::sha256(text)
    };
    let layer = bytes(300_000);
    let subject = push("team/app:v1", &image(&layer), &layer);
    let mut sbom = image(b"a list");
    sbom["subject"] = descriptor(IMAGE, image(&layer).to_string().as_bytes());
    push("team/app:sbom", &sbom, b"a list");
    let fallback = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [descriptor(IMAGE, sbom.to_string().as_bytes())],
    });
    push(
        &format!("team/app:sha256-{}", subject.hex()),
        &fallback,
        b"",
    );
    for (source, manifests) in [("/team/app:v1", 3), ("/team/app", 3), ("", 3)] {
        let target = Target::new();
        let from = format!("docker://{}{source}", debian.address);
        let imported = target.import(&from, None);
        assert_eq!(
            (imported.manifests, imported.blobs, imported.failed),
            (manifests, 3, 0),
            "{source}"
        );
        assert_eq!(target.import(&from, None), Imported::default(), "{source}");
        let target = target.serve();
        let got = target.get("/v2/team/app/manifests/v1");
        assert_eq!(got.text(), image(&layer).to_string());
        let listed = target.get(&format!("/v2/team/app/referrers/{subject}"));
        let sbom_digest = Digest::sha256(sbom.to_string());
        assert!(
            listed.text().contains(&sbom_digest.to_string()),
            "{source}: {}",
            listed.text()
        );
    }
}

fn program(data: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .arg("import")
        .args(arguments)
        .arg("--data")
        .arg(data)
        // Nobody's credentials.
        .env("DOCKER_CONFIG", data)
        .env("RBUILD_REGISTRY_LIMITS_RESERVE_BYTES", "0")
        .output()
        .expect("the program runs")
}

#[test]
fn the_program_tells_what_it_does_and_refuses_what_it_cannot() {
    let source = Fixture::new();
    source.push_image("team/app", "v1", b"layer");
    let address = source.address;
    let (image, repository, all) = (
        format!("docker://{address}/team/app:v1"),
        format!("docker://{address}/team/app"),
        format!("docker://{address}"),
    );
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path();
    for (arguments, status, words) in [
        (
            &[image.as_str(), "copy:v2"][..],
            0,
            "imported 1 manifests, 2 blobs with 7 bytes; tags: v2",
        ),
        (
            &[&repository],
            0,
            "imported 1 manifests, 0 blobs with 0 bytes; tags: v1",
        ),
        (&[&all, "--all"], 0, "imported 0 manifests, 0 blobs"),
        (&[&all], 2, "--all"),
        (&[&image, "--all"], 2, "--all"),
        (&[&repository, "copy:v2"], 2, "an only image"),
        (&["docker://"], 2, "is no source"),
        (&["docker://127.0.0.1:1/app:v1"], 2, "could not fetch"),
        (&["/nowhere", "app", "--all"], 2, "--all"),
        (
            &["/nowhere", "app", "--tls-verify=false"],
            2,
            "not for a directory",
        ),
        (&["/nowhere"], 2, "name the repository"),
        (&["/nowhere", "app"], 2, "/nowhere"),
        (&[&image, "--username", "me"], 2, "RBUILD_REGISTRY_PASSWORD"),
    ] {
        let output = program(data, arguments);
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(status), "{arguments:?} {text}");
        assert!(text.contains(words), "{arguments:?} no `{words}` in {text}");
    }
    // Beside a server there is `rbuild pull` and `push`, or skopeo.
    let busy = program(&source.config.data, &[&image]);
    assert_eq!(busy.status.code(), Some(2));
}
