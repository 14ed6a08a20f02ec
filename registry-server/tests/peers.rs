//! What other registries get wrong, and no other file here tests.

mod support;

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rbuild_image::Digest;
use support::{Fixture, bytes, image, read_answer};

/// Bytes that nobody may get through one by one; a client that is cut off in time gets to a fraction of them.
const DRIPS: usize = 2000;

/// Asks for something else, which must be answered whatever goes on.
fn others_are_served(registry: &Fixture) {
    registry.get("/v2/").expect_status(200);
}

#[test]
fn an_address_of_a_megabyte_holds_nobody() {
    // More of them at once than there are threads to hold.
    const AT_ONCE: usize = 16;
    let registry = Fixture::new();
    let digest = registry.push_image("a", "v1", b"layer");
    for address in [
        format!("/v2/{}/manifests/v1", "a/".repeat(500_000)),
        format!("/v2/a/manifests/{}", "v".repeat(1_000_000)),
        format!("/v2/a/blobs/{digest}?{}", "x=%41&".repeat(170_000)),
        format!("/v2/a{}", "/blobs/uploads".repeat(71_000)),
        format!("/{}", "%2e%2e/".repeat(140_000)),
    ] {
        for method in ["GET", "PUT", "POST"] {
            let request = format!("{method} {address} HTTP/1.1\r\nHost: x\r\n\r\n");
            let mut streams: Vec<TcpStream> = (0..AT_ONCE).map(|_| registry.connect()).collect();
            for stream in &mut streams {
                // The registry may answer and close before it has read everything.
                let _ = stream.write_all(request.as_bytes());
            }
            // Answered while nobody has taken the other answers.
            others_are_served(&registry);
            for stream in streams {
                if let Some(answer) = read_answer(&mut BufReader::new(stream), false) {
                    assert!((400..500).contains(&answer.status), "{method} {answer:?}");
                }
            }
        }
    }
}

/// Sends one byte after the other; whether the registry closes the connection before too many have gone.
fn is_cut_off(stream: &mut TcpStream, bytes: impl Iterator<Item = u8>) -> bool {
    // Waiting for an answer in vain is what paces the drip.
    let pace = Some(Duration::from_millis(20));
    stream.set_read_timeout(pace).expect("timeout");
    bytes.take(DRIPS).any(|byte| {
        let is_open = match stream.read(&mut [0; 1024]) {
            Ok(0) => false,
            // An answer: that of an earlier request, or that the time is over.
            Ok(_) => true,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        !is_open || stream.write_all(&[byte]).is_err()
    })
}

#[test]
fn a_body_that_comes_byte_by_byte_is_cut_off_in_time() {
    let registry = Fixture::with(|config| {
        config.limits.idle_time = Duration::from_millis(400);
        config.limits.body_rate = 100_000;
    });
    let location = registry.start("a");
    for (name, request) in [
        ("manifest", "PUT /v2/a/manifests/v1".to_owned()),
        ("chunk", format!("PATCH {location}")),
        (
            "blob",
            format!("POST /v2/a/blobs/uploads/?digest={}", Digest::sha256(b"")),
        ),
    ] {
        let mut stream = registry.connect();
        write!(
            stream,
            "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n"
        )
        .expect("write");
        let is_cut_off = is_cut_off(&mut stream, std::iter::repeat(b'x'));
        assert!(is_cut_off, "{name}: still connected");
        others_are_served(&registry);
    }
    // What came of the chunk is kept, so a client that was only slow goes on.
    let state = registry.get(&location);
    assert_ne!(state.expect_status(204).header("range"), Some("0-0"));
}

#[test]
fn a_head_that_comes_byte_by_byte_is_cut_off_in_time() {
    let registry = Fixture::with(|config| config.limits.head_time = Duration::from_millis(400));
    let endless = "X-Drip: drip\r\n".repeat(1000);
    for (name, first) in [
        ("request line", ""),
        ("headers", "GET /v2/ HTTP/1.1\r\nHost: x\r\n"),
        // The second request of a connection is bounded like the first.
        (
            "second",
            "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/ HTTP",
        ),
    ] {
        let mut stream = registry.connect();
        stream.write_all(first.as_bytes()).expect("write");
        let is_cut_off = is_cut_off(&mut stream, endless.bytes());
        assert!(is_cut_off, "{name}: still connected");
        others_are_served(&registry);
    }
}

#[test]
fn nobody_is_told_that_a_deleted_blob_exists() {
    let mut registry = Fixture::new();
    let large = bytes(300_000);
    for content in [&large[..], b"small"] {
        let digest = registry.push_blob("a", content);
        registry.push_blob("b", content);
        let path = format!("/v2/a/blobs/{digest}");
        let etag = format!("\"{digest}\"");
        // Asked for in every way first, so that whatever remembers answers remembers this one.
        registry.head(&path).expect_status(200);
        registry.get(&path).expect_status(200);
        let known = [("If-None-Match", etag.as_str())];
        registry.send("GET", &path, &known, b"").expect_status(304);
        registry.delete(&path).expect_status(202);
        let absent = |registry: &Fixture| {
            registry.head(&path).expect_status(404);
            registry.get(&path).expect_error(404, "BLOB_UNKNOWN");
            for headers in [&known[..], &[("Range", "bytes=0-3")]] {
                registry
                    .send("GET", &path, headers, b"")
                    .expect_error(404, "BLOB_UNKNOWN");
            }
            let mount = format!("/v2/c/blobs/uploads/?mount={digest}&from=a");
            registry.send("POST", &mount, &[], b"").expect_status(202);
            registry.push_blob("a", b"{}");
            registry
                .put_manifest("a", "v1", &image(content))
                .expect_error(404, "MANIFEST_BLOB_UNKNOWN");
        };
        absent(&registry);
        registry.restart();
        absent(&registry);
        // Deleted in one repository, it stays in the other; pushed again, it is here again.
        let other = registry.get(&format!("/v2/b/blobs/{digest}"));
        assert!(other.expect_status(200).body == content);
        registry.push_blob("a", content);
        registry.head(&path).expect_status(200);
        assert!(registry.get(&path).body == content);
    }
}

#[test]
fn nobody_is_told_that_a_deleted_manifest_exists() {
    let registry = Fixture::new();
    let digest = registry.push_image("a", "v1", b"layer");
    registry
        .put_manifest("a", "v2", &image(b"layer"))
        .expect_status(201);
    let by_digest = format!("/v2/a/manifests/{digest}");
    let names = ["/v2/a/manifests/v1", "/v2/a/manifests/v2", &by_digest];
    for path in names {
        registry.head(path).expect_status(200);
        registry.get(path).expect_status(200);
    }
    registry.delete(&by_digest).expect_status(202);
    let etag = format!("\"{digest}\"");
    for path in names {
        registry.head(path).expect_status(404);
        registry
            .send("GET", path, &[("If-None-Match", &etag)], b"")
            .expect_error(404, "MANIFEST_UNKNOWN");
    }
    assert!(!registry.get("/v2/a/tags/list").text().contains("v1"));
}

#[test]
fn a_repository_shows_nothing_of_another_one() {
    let registry = Fixture::new();
    let layer = bytes(100_000);
    let manifest = registry.push_image("team/secret", "v1", &layer);
    let blob = Digest::sha256(&layer);
    let location = registry.start("team/secret");
    registry
        .send("PATCH", &location, &[], b"begun")
        .expect_status(202);
    let upload = location.rsplit('/').next().expect("an id");
    registry.push_blob("team", b"{}");
    for other in ["team", "team/secret2", "team/secret/below", "secret"] {
        for (method, path) in [
            ("HEAD", format!("/v2/{other}/blobs/{blob}")),
            ("GET", format!("/v2/{other}/blobs/{blob}")),
            ("DELETE", format!("/v2/{other}/blobs/{blob}")),
            ("HEAD", format!("/v2/{other}/manifests/{manifest}")),
            ("GET", format!("/v2/{other}/manifests/v1")),
            ("DELETE", format!("/v2/{other}/manifests/{manifest}")),
            ("GET", format!("/v2/{other}/blobs/uploads/{upload}")),
            ("PATCH", format!("/v2/{other}/blobs/uploads/{upload}")),
            ("DELETE", format!("/v2/{other}/blobs/uploads/{upload}")),
            (
                "PUT",
                format!(
                    "/v2/{other}/blobs/uploads/{upload}?digest={}",
                    Digest::sha256(b"begun")
                ),
            ),
        ] {
            let answer = registry.send(method, &path, &[], b"");
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
        }
        // A mount from a repository that does not hold the blob is an upload.
        let mount = format!("/v2/fourth/blobs/uploads/?mount={blob}&from={other}");
        registry.send("POST", &mount, &[], b"").expect_status(202);
    }
    // The upload was touched by none of that.
    assert_eq!(registry.get(&location).header("range"), Some("0-4"));
}
