//! Several ranges of a blob in one answer.

mod support;

use std::ops::Range;
use std::process::{Command, Stdio};

use rbuild_registry_server::config::Tls;
use support::{Fixture, bytes};

/// In memory, and in a file.
const SIZES: [usize; 2] = [50_000, 3_000_000];

/// The parts of a `multipart/byteranges` body: where they say they are, and their bytes.
fn parts<'a>(content_type: &str, body: &'a [u8], size: usize) -> Vec<(Range<usize>, &'a [u8])> {
    let boundary = content_type
        .strip_prefix("multipart/byteranges; boundary=")
        .expect("a boundary");
    let (first, end) = (
        format!("--{boundary}\r\n"),
        format!("\r\n--{boundary}--\r\n"),
    );
    let between = format!("\r\n--{boundary}\r\n");
    let mut rest = body.strip_prefix(first.as_bytes()).expect("a first line");
    let mut found = Vec::new();
    loop {
        let head_end = find(rest, b"\r\n\r\n").expect("a head");
        let head = std::str::from_utf8(&rest[..head_end]).expect("text");
        let (kind, place) = head.split_once("\r\n").expect("two lines");
        assert_eq!(kind, "Content-Type: application/octet-stream");
        let place = place
            .strip_prefix("Content-Range: bytes ")
            .expect("a place");
        let (place, total) = place.split_once('/').expect("a total");
        assert_eq!(total, size.to_string());
        let (from, to) = place.split_once('-').expect("two ends");
        let range: Range<usize> =
            from.parse().expect("a number")..to.parse::<usize>().expect("a number") + 1;
        rest = &rest[head_end + 4..];
        let (content, behind) = rest.split_at(range.len());
        found.push((range, content));
        if behind == end.as_bytes() {
            return found;
        }
        rest = behind
            .strip_prefix(between.as_bytes())
            .expect("a next part");
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[test]
fn several_ranges_come_as_parts() {
    let registry = Fixture::new();
    for size in SIZES {
        let content = bytes(size);
        let digest = registry.push_blob("a", &content);
        let path = format!("/v2/a/blobs/{digest}");
        let ends = [
            ("bytes=0-9,1000-1999".to_owned(), vec![0..10, 1000..2000]),
            (
                format!("bytes={}-, 5-5", size - 7),
                vec![size - 7..size, 5..6],
            ),
            (
                "bytes=-10,0-0,20000-49999".to_owned(),
                vec![size - 10..size, 0..1, 20_000..50_000],
            ),
        ];
        for (asked, want) in ends {
            let want = if size == 50_000 && want.len() == 3 {
                // The first one is the end of the last.
                vec![0..1, 20_000..50_000]
            } else {
                want
            };
            let answer = registry.send("GET", &path, &[("Range", &asked)], b"");
            answer.expect_status(206);
            let length = answer.body.len().to_string();
            assert_eq!(answer.header("content-length"), Some(length.as_str()));
            assert_eq!(answer.header("content-range"), None);
            let shown = digest.to_string();
            assert_eq!(answer.header("docker-content-digest"), Some(shown.as_str()));
            let content_type = answer.header("content-type").expect("a type");
            let got = parts(content_type, &answer.body, size);
            let ranges: Vec<_> = got.iter().map(|(range, _)| range.clone()).collect();
            assert_eq!(ranges, want, "{asked}");
            for (range, part) in got {
                assert!(part == &content[range.clone()], "{asked} {range:?}");
            }
        }
        // One that is left is no list; too many are all of it.
        let one = registry.send("GET", &path, &[("Range", "bytes=0-9,99999999-")], b"");
        assert_eq!(one.expect_status(206).body, &content[..10]);
        let many = format!("bytes={}", "0-0,400-400,".repeat(60));
        let all = registry.send("GET", &path, &[("Range", &many)], b"");
        assert!(all.expect_status(200).body == content);
        let none = registry.send("GET", &path, &[("Range", "bytes=99999999-,-0")], b"");
        none.expect_status(416);
    }
}

#[test]
fn a_blob_whose_file_is_gone_is_an_error_and_no_broken_answer() {
    let registry = Fixture::new();
    let content = bytes(SIZES[1]);
    let digest = registry.push_blob("a", &content);
    let running = registry.running.as_ref().expect("runs");
    let file = running.registry().blobs().path_of(&digest);
    std::fs::remove_file(file).expect("remove");
    let path = format!("/v2/a/blobs/{digest}");
    registry
        .send("GET", &path, &[("Range", "bytes=0-9,1000-1999")], b"")
        .expect_error(404, "BLOB_UNKNOWN");
}

#[test]
fn parts_come_over_tls_as_well() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| directory.path().join(name);
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"])
        .arg("-keyout")
        .arg(at("key.pem"))
        .arg("-out")
        .arg(at("cert.pem"))
        .stderr(Stdio::null())
        .status();
    if !matches!(made, Ok(status) if status.success()) {
        let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|name| name == "openssl"),
            "no openssl here"
        );
        eprintln!("skipped: there is no openssl here");
        return;
    }
    let registry = Fixture::with(|config| {
        config.tls = Some(Tls {
            certificate: at("cert.pem"),
            key: at("key.pem"),
        });
    });
    let running = registry.running.as_ref().expect("runs");
    let content = bytes(SIZES[1]);
    let digest = rbuild_image::Digest::sha256(&content);
    let repository = "a".parse().expect("a name");
    let mut writer = running
        .registry()
        .write_blob(&repository, digest.algorithm())
        .expect("begins");
    writer.write(&content).expect("writes");
    writer.commit(digest).expect("commits");
    let url = format!("https://{}/v2/a/blobs/{digest}", registry.address);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (content_type, body) = runtime.block_on(async {
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .no_proxy()
            .build()
            .expect("a client");
        let request = client.get(url).header("Range", "bytes=0-9,1000000-1999999");
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 206);
        let content_type = answer.headers()["content-type"].clone();
        let body = answer.bytes().await.expect("a body");
        (content_type, body)
    });
    let got = parts(content_type.to_str().expect("text"), &body, content.len());
    let want = [0..10, 1_000_000..2_000_000];
    assert_eq!(got.len(), want.len());
    for ((range, part), want) in got.into_iter().zip(want) {
        assert_eq!(range, want);
        assert!(part == &content[range]);
    }
}
