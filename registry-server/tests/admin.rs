//! What is done beside a server: backup, restore, verify, preview, import; and what it tells about itself.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rbuild_image::Digest;
use rbuild_registry_server::admin::{self, AdminError, Directory, Pace};
use rbuild_registry_server::clock::{Clock as _, SystemClock};
use rbuild_registry_server::config::Config;
use serde_json::json;
use support::program::{PROGRAM, Program, serve};
use support::{Fixture, IMAGE, bytes, descriptor, image};

fn program(data: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .arg("--data")
        .arg(data)
        .output()
        .expect("the program runs")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn no_pace() -> Pace {
    Pace::new(0, |_| false)
}

#[test]
fn events_are_told_in_order_while_serving() {
    let registry = Fixture::new();
    registry.push_image("team/app", "v1", &bytes(10));
    registry.push_image("team/app", "v2", &bytes(10));
    let removed = registry.send("DELETE", "/v2/team/app/manifests/v1", &[], b"");
    assert_eq!(removed.status, 202);
    let told = |after: &str| -> Vec<serde_json::Value> {
        let output = program(&registry.config.data, &["events", "--after", after]);
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    };
    let all = told("0");
    let short: Vec<_> = all
        .iter()
        .map(|event| {
            assert_eq!(event["repository"], "team/app");
            assert!(
                event["digest"]
                    .as_str()
                    .is_some_and(|digest| digest.starts_with("sha256:"))
            );
            assert!(
                event["time"]
                    .as_str()
                    .is_some_and(|time| time.ends_with('Z'))
            );
            format!("{} {}", event["action"], event["tag"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        short,
        ["push null", "tag v1", "push null", "tag v2", "untag v1"]
    );
    let third = all[2]["event"].to_string();
    assert_eq!(told(&third), all[3..]);
}

#[test]
fn whoever_follows_hears_of_a_push() {
    let registry = Fixture::new();
    registry.push_image("a", "v1", &bytes(10));
    let mut following = Command::new(PROGRAM)
        .args(["events", "--follow", "--data"])
        .arg(&registry.config.data)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(following.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().expect("goes on").expect("a line");
    assert!(next().contains("push"));
    assert!(next().contains("\"tag\":\"v1\""));
    registry.push_image("a", "v2", &bytes(10));
    assert!(next().contains("push"));
    assert!(next().contains("\"tag\":\"v2\""));
    following.kill().expect("ours");
    following.wait().expect("ended");
}

#[test]
fn a_backup_is_made_while_serving_and_restored() {
    let registry = Fixture::new();
    let layer = bytes(200_000);
    let digest = registry.push_image("a", "v1", &layer);
    let data = &registry.config.data;
    let outside = tempfile::tempdir().expect("temporary directory");
    let backup = outside.path().join("backup");
    let first = admin::backup(data, &backup).expect("backed up");
    assert_eq!((first.blobs, first.bytes), (1, 200_000));
    registry.push_image("a", "v2", &bytes(100_000));
    let second = admin::backup(data, &backup).expect("backed up again");
    assert_eq!((second.blobs, second.present), (1, 1));

    let restored = outside.path().join("restored");
    admin::restore(&backup, &restored).expect("restored");
    assert!(matches!(
        admin::restore(&backup, &restored),
        Err(AdminError::NotEmpty(_))
    ));
    let again = Fixture::with(|config| config.data = restored);
    let got = again.get("/v2/a/manifests/v1");
    assert_eq!(
        got.header("docker-content-digest"),
        Some(digest.to_string().as_str())
    );
    assert!(
        again
            .get(&format!("/v2/a/blobs/{}", Digest::sha256(&layer)))
            .body
            == layer
    );
    again.get("/v2/a/manifests/v2").expect_status(200);
}

#[test]
fn a_damaged_source_is_not_backed_up_as_if_it_were_whole() {
    let registry = Fixture::new();
    let layer = bytes(200_000);
    registry.push_image("a", "v1", &layer);
    let running = registry.running.as_ref().expect("runs");
    let file = running.registry().blobs().path_of(&Digest::sha256(&layer));
    fs::write(&file, bytes(200_001)).expect("damage");
    let outside = tempfile::tempdir().expect("temporary directory");
    let error = admin::backup(&registry.config.data, &outside.path().join("backup"));
    assert!(matches!(error, Err(AdminError::Blob(_))), "{error:?}");
    assert!(!outside.path().join("backup/meta.db").exists());
}

#[test]
fn verify_finds_what_is_damaged_and_what_is_missing() {
    let registry = Fixture::new();
    let layers = [bytes(200_000), bytes(200_001), bytes(200_002)];
    for (number, layer) in layers.iter().enumerate() {
        registry.push_image("a", &format!("v{number}"), layer);
    }
    let data = &registry.config.data;
    let whole = program(data, &["verify"]);
    assert!(whole.status.success(), "{}", text(&whole));
    assert!(
        text(&whole).contains("verified 7 objects"),
        "{}",
        text(&whole)
    );

    let directory = Directory::open(data).expect("opens");
    let path = |layer: &[u8]| directory.blobs.path_of(&Digest::sha256(layer));
    let mut flipped = layers[0].clone();
    flipped[100_000] ^= 1;
    fs::write(path(&layers[0]), &flipped).expect("damage");
    fs::remove_file(path(&layers[1])).expect("remove");
    let verified =
        admin::verify(&directory.blobs, &directory.metadata, &mut no_pace()).expect("verified");
    assert_eq!(verified.damaged, [Digest::sha256(&layers[0])]);
    assert_eq!(verified.missing, [Digest::sha256(&layers[1])]);
    let found = program(data, &["verify"]);
    assert_eq!(found.status.code(), Some(1));
    assert!(text(&found).contains("2 problems"), "{}", text(&found));
    for layer in &layers[..2] {
        let digest = registry.push_blob("a", layer);
        registry
            .get(&format!("/v2/a/blobs/{digest}"))
            .expect_status(200);
    }
    assert!(program(data, &["verify"]).status.success());
}

#[test]
fn a_bounded_verification_stops_when_told() {
    let registry = Fixture::new();
    registry.push_image("a", "v1", &bytes(1_000_000));
    let directory = Directory::open(&registry.config.data).expect("opens");
    let mut pace = Pace::new(1, |wait| wait > Duration::from_secs(1000));
    let verified =
        admin::verify(&directory.blobs, &directory.metadata, &mut pace).expect("stopped");
    assert!(verified.bytes < 1_000_000, "{verified:?}");
}

#[test]
fn a_preview_tells_and_changes_nothing() {
    let registry = Fixture::new();
    registry.push_image("a", "v1", &bytes(200_000));
    let data = &registry.config.data;
    registry.delete("/v2/a/manifests/v1").expect_status(202);
    let now = admin::preview(data, SystemClock.now(), &registry.config.collect).expect("preview");
    assert_eq!((now.manifests, now.blobs), (0, 0));
    let output = program(data, &["gc", "--preview", "--after", "30days"]);
    assert!(
        text(&output).contains("would remove 1 manifests, 2 blobs with 200002 bytes"),
        "{}",
        text(&output)
    );
    let refused = program(data, &["gc"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        text(&refused).contains("collects by itself"),
        "{}",
        text(&refused)
    );
    let why = program(data, &["why", &Digest::sha256(bytes(200_000)).to_string()]);
    assert!(
        why.status.success() && text(&why).contains("a: "),
        "{}",
        text(&why)
    );
    let left: Vec<_> = fs::read_dir(data)
        .expect("data")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("preview-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn why_names_the_tag_that_keeps_a_blob() {
    let registry = Fixture::new();
    let layer = bytes(100);
    registry.push_image("team/app", "v1", &layer);
    let output = program(
        &registry.config.data,
        &["why", &Digest::sha256(&layer).to_string()],
    );
    assert!(
        text(&output).starts_with("team/app: v1 -> sha256:"),
        "{}",
        text(&output)
    );
    let unknown = program(
        &registry.config.data,
        &["why", &Digest::sha256(b"?").to_string()],
    );
    assert!(
        text(&unknown).starts_with("nothing keeps it"),
        "{}",
        text(&unknown)
    );
}

#[test]
fn an_oci_layout_is_imported_and_a_second_import_copies_nothing() {
    let mut registry = Fixture::new();
    drop(registry.running.take());
    let outside = tempfile::tempdir().expect("temporary directory");
    let blobs = outside.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("layout");
    let layer = bytes(100_000);
    let manifest = image(&layer).to_string();
    for content in [&b"{}"[..], &layer, manifest.as_bytes()] {
        fs::write(blobs.join(Digest::sha256(content).hex()), content).expect("write");
    }
    let mut entry = descriptor(IMAGE, manifest.as_bytes());
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "v7" });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(outside.path().join("index.json"), index.to_string()).expect("write");
    let layout = outside.path().to_str().expect("UTF-8").to_owned();
    let data = registry.config.data.clone();
    let first = program(&data, &["import", &layout, "team/app"]);
    assert!(
        text(&first).contains("imported 1 manifests, 2 blobs with 100002 bytes; tags: v7"),
        "{}",
        text(&first)
    );
    let second = program(&data, &["import", &layout, "team/app:v8"]);
    assert!(
        text(&second).contains("0 blobs with 0 bytes; tags: v8"),
        "{}",
        text(&second)
    );
    registry.restart();
    for tag in ["v7", "v8"] {
        assert_eq!(
            registry
                .get(&format!("/v2/team/app/manifests/{tag}"))
                .text(),
            manifest
        );
    }
    drop(registry.running.take());
    fs::remove_file(blobs.join(Digest::sha256(&layer).hex())).expect("remove");
    let broken = program(&data, &["import", &layout, "elsewhere"]);
    assert_eq!(broken.status.code(), Some(2), "{}", text(&broken));
}

#[test]
fn the_configuration_is_checked_and_shown() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let shown = program(directory.path(), &["config", "check"]);
    assert!(shown.status.success());
    assert!(
        text(&shown).contains("manifest_bytes = \"4MiB\""),
        "{}",
        text(&shown)
    );
    let file = directory.path().join("registry.toml");
    fs::write(&file, "[limits]\nmanifest_byte = 1\n").expect("write");
    let file = file.to_str().expect("UTF-8");
    let wrong = program(directory.path(), &["config", "check", "--config", file]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        text(&wrong).contains("`limits.manifest_bytes`"),
        "{}",
        text(&wrong)
    );
}

#[test]
fn metrics_count_what_happens() {
    let registry = Fixture::with(|config| config.metrics = Some(([127, 0, 0, 1], 0).into()));
    registry.push_image("a", "v1", b"layer");
    registry.get("/v2/a/manifests/v1").expect_status(200);
    registry.get("/v2/a/manifests/v2").expect_status(404);
    let address = registry
        .running
        .as_ref()
        .and_then(rbuild_registry_server::serve::Running::metrics_address)
        .expect("metrics");
    let mut stream = TcpStream::connect(address).expect("connects");
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("write");
    let mut body = String::new();
    stream.read_to_string(&mut body).expect("read");
    for line in [
        "rbuild_registry_requests_total{endpoint=\"manifest\",status=\"2xx\"} 2",
        "rbuild_registry_requests_total{endpoint=\"manifest\",status=\"4xx\"} 1",
        "rbuild_registry_tags 1",
        "rbuild_registry_blobs 2",
        "rbuild_registry_request_duration_seconds_count 5",
    ] {
        assert!(body.contains(line), "no `{line}` in {body}");
    }
}

#[test]
fn the_access_log_has_a_line_for_each_request() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut server = Program::start(serve(directory.path()).stderr(Stdio::piped()));
    let mut written = server.log();
    let mut stream = TcpStream::connect(server.address).expect("connects");
    stream
        .write_all(b"GET /v2/\"x/tags/list HTTP/1.1\r\nHost: x\r\nUser-Agent: tester\r\nConnection: close\r\n\r\n")
        .expect("write");
    let answer = support::read_answer(&mut BufReader::new(stream), false).expect("an answer");
    answer.expect_error(400, "NAME_INVALID");
    let id = answer.header("x-request-id").expect("an id").to_owned();
    assert!(server.stop().success());
    let mut log = String::new();
    written.read_to_string(&mut log).expect("its log");
    let line = log
        .lines()
        .find(|line| line.contains(&id))
        .unwrap_or_else(|| panic!("no line with {id}: {log}"));
    assert!(
        line.contains("method=GET") && line.contains("status=400"),
        "{line}"
    );
    assert!(line.contains("agent=\"tester\""), "{line}");
}

#[test]
fn tls_is_served_from_files_and_a_new_certificate_is_taken_up() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (certificate, key) = (
        directory.path().join("cert.pem"),
        directory.path().join("key.pem"),
    );
    let make = |name: &str| {
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args([
                "-nodes",
                "-days",
                "2",
                "-subj",
                name,
                "-addext",
                "subjectAltName=IP:127.0.0.1",
            ])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null())
            .status();
        matches!(made, Ok(status) if status.success())
    };
    if !make("/CN=first") {
        let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|name| name == "openssl"),
            "no openssl here"
        );
        eprintln!("skipped: there is no openssl here");
        return;
    }
    let registry = Fixture::with(|config| {
        config.tls = Some(rbuild_registry_server::config::Tls {
            certificate: certificate.clone(),
            key: key.clone(),
        });
    });
    let subject = || {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &registry.address.to_string()])
            .stdin(Stdio::null())
            .output()
            .expect("openssl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(subject().contains("first"));
    assert!(make("/CN=second"));
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !subject().contains("second") {
        assert!(
            std::time::Instant::now() < deadline,
            "the new certificate is not in use"
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_directory_without_a_registry_is_named() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for arguments in [&["verify"][..], &["why", &Digest::sha256(b"x").to_string()]] {
        let output = program(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            text(&output).contains("holds no registry"),
            "{}",
            text(&output)
        );
    }
    let _ = Config::new(directory.path());
}
