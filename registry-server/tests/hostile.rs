//! Requests that no client should send: 4xx, bounded, and nothing else disturbed.

mod support;

use std::io::{BufReader, Read, Write};
use std::time::{Duration, Instant};

use rbuild_image::Digest;
use support::{Fixture, IMAGE, bytes, image, read_answer};

#[test]
fn malformed_names_and_digests_are_client_errors() {
    let registry = Fixture::new();
    let long = "a".repeat(300);
    let digest = Digest::sha256(b"x");
    for path in [
        "/v2/UPPER/tags/list".to_owned(),
        "/v2/a..b/tags/list".to_owned(),
        "/v2/../../../etc/passwd/tags/list".to_owned(),
        "/v2/%2e%2e/tags/list".to_owned(),
        "/v2/a%00b/tags/list".to_owned(),
        "/v2/a//b/tags/list".to_owned(),
        format!("/v2/{long}/tags/list"),
        format!("/v2/a/manifests/{long}"),
        "/v2/a/manifests/sha256:".to_owned(),
        "/v2/a/manifests/sha256:zz".to_owned(),
        format!("/v2/a/blobs/{}", digest.to_string().to_uppercase()),
        format!("/v2/a/blobs/sha512:{}", digest.hex()),
        "/v2/a/blobs/uploads/not-an-id".to_owned(),
        "/v2/a/referrers/x".to_owned(),
        "/v2/a/tags/list?n=%ff".to_owned(),
        "/v2/%/tags/list".to_owned(),
    ] {
        for method in ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "BREW"] {
            let answer = registry.send(method, &path, &[], b"");
            assert!(
                (400..500).contains(&answer.status),
                "{method} {path}: {answer:?}"
            );
        }
    }
}

#[test]
fn long_addresses_and_heads_are_refused_quickly() {
    let registry = Fixture::new();
    let long = format!(
        "GET /v2/{} HTTP/1.1\r\nHost: x\r\n\r\n",
        "a/".repeat(500_000)
    );
    let header = format!(
        "GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n",
        "a".repeat(1_000_000)
    );
    let many = format!(
        "GET /v2/ HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "X-Some: y\r\n".repeat(5000)
    );
    for (name, request) in [("address", long), ("header", header), ("headers", many)] {
        if let Some(answer) = registry.raw(request.as_bytes(), false) {
            assert!((400..500).contains(&answer.status), "{name}: {answer:?}");
        }
    }
    let header = format!(
        "GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n",
        "a".repeat(65 << 10)
    );
    let answer = registry.raw(header.as_bytes(), false).expect("an answer");
    answer.expect_error(431, "UNSUPPORTED");
    let query = format!("/v2/a/tags/list?{}", "n=1&".repeat(10_000));
    registry.get(&query).expect_status(414);
    registry.get("/v2/").expect_status(200);
}

#[test]
fn two_ways_to_say_the_length_are_not_believed() {
    let registry = Fixture::new();
    let smuggled = "GET /v2/_catalog HTTP/1.1\r\nHost: x\r\n\r\n";
    let requests = [
        format!(
            "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
            smuggled.len()
        ),
        format!(
            "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: {}\r\n\r\n{smuggled}",
            smuggled.len()
        ),
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n12345".to_owned(),
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity, chunked2\r\n\r\n".to_owned(),
        "GET /v2/ HTTP/1.1\r\nHost : x\r\n\r\n".to_owned(),
        "GET /v2/ HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n".to_owned(),
        "\0\0\0\0\r\n\r\n".to_owned(),
    ];
    for request in requests {
        let mut stream = registry.connect();
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text);
        assert!(
            !text.contains("repositories"),
            "answered twice to {request:?}: {text}"
        );
    }
}

#[test]
fn heads_that_a_proxy_may_read_differently_are_refused_and_end_the_connection() {
    let registry = Fixture::new();
    let heads = [
        ("no host", ""),
        ("two hosts", "Host: x\r\nHost: y\r\n"),
        ("the same host twice", "Host: x\r\nHost: x\r\n"),
        (
            "a coding before chunked",
            "Host: x\r\nTransfer-Encoding: gzip, chunked\r\n",
        ),
        (
            "chunked twice",
            "Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            "chunked twice in a line",
            "Host: x\r\nTransfer-Encoding: chunked, chunked\r\n",
        ),
    ];
    for (name, head) in heads {
        let location = registry.start("a");
        let request = format!(
            "PATCH {location} HTTP/1.1\r\n{head}\r\n5\r\nhello\r\n0\r\n\r\nGET /v2/_catalog HTTP/1.1\r\nHost: x\r\n\r\n"
        );
        let mut stream = registry.connect();
        stream.write_all(request.as_bytes()).expect("written");
        let mut text = Vec::new();
        // What is not read any more may come back as a reset.
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text);
        assert!(text.starts_with("HTTP/1.1 400 "), "{name}: {text}");
        assert!(!text.contains("repositories"), "answered twice to {name}");
        let status = registry.get(&location);
        assert_eq!(status.header("range"), Some("0-0"), "{name}");
    }
    let taken = [
        "GET /v2/ HTTP/1.0\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
    ];
    for request in taken {
        let answer = registry.raw(request.as_bytes(), false).expect("an answer");
        answer.expect_status(200);
    }
}

#[test]
fn slow_clients_lose_their_connection_and_disturb_nobody() {
    let registry = Fixture::with(|config| {
        config.limits.head_time = Duration::from_millis(200);
        config.limits.idle_time = Duration::from_millis(200);
    });
    let mut head = registry.connect();
    head.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n")
        .expect("write");
    let location = registry.start("a");
    let mut body = registry.connect();
    write!(
        body,
        "PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n0123456789"
    )
    .expect("write");
    registry.get("/v2/").expect_status(200);
    let mut rest = Vec::new();
    let _ = head.read_to_end(&mut rest);
    let answer = read_answer(&mut BufReader::new(body), false).expect("an answer");
    answer.expect_error(408, "BLOB_UPLOAD_INVALID");
    // What came is kept, and the client is told so.
    assert_eq!(registry.get(&location).header("range"), Some("0-9"));
}

#[test]
fn a_body_that_breaks_off_can_be_continued() {
    let registry = Fixture::new();
    for length in [1000, 500_000] {
        let content = bytes(length);
        let digest = Digest::sha256(&content);
        let location = registry.start("a");
        let mut stream = registry.connect();
        write!(
            stream,
            "PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        )
        .expect("write");
        stream.write_all(&content[..length / 2]).expect("write");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("shutdown");
        let _ = read_answer(&mut BufReader::new(stream), false);
        let state = registry.get(&location);
        state.expect_status(204);
        let last: usize = state
            .header("range")
            .and_then(|range| range.strip_prefix("0-"))
            .and_then(|last| last.parse().ok())
            .expect("a range");
        let at = last + 1;
        assert!(at <= length / 2);
        let range = format!("{at}-{}", length - 1);
        registry
            .send(
                "PATCH",
                &location,
                &[("Content-Range", &range)],
                &content[at..],
            )
            .expect_status(202);
        registry
            .send("PUT", &format!("{location}?digest={digest}"), &[], b"")
            .expect_status(201);
        assert!(registry.get(&format!("/v2/a/blobs/{digest}")).body == content);
    }
}

#[test]
fn an_upload_has_one_writer_at_a_time() {
    let registry = Fixture::new();
    let location = registry.start("a");
    let mut first = registry.connect();
    write!(
        first,
        "PATCH {location} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n"
    )
    .expect("write");
    // Asked for its body, it has the right to write.
    let mut go_on = [0; 25];
    first.read_exact(&mut go_on).expect("an interim answer");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    first.write_all(b"AAAAA").expect("write");
    registry
        .send("PATCH", &location, &[], b"BBBBB")
        .expect_error(409, "BLOB_UPLOAD_INVALID");
    registry
        .send(
            "PUT",
            &format!("{location}?digest={}", Digest::sha256(b"x")),
            &[],
            b"",
        )
        .expect_error(409, "BLOB_UPLOAD_INVALID");
    first.write_all(b"AAAAA").expect("write");
    read_answer(&mut BufReader::new(first), false)
        .expect("an answer")
        .expect_status(202);
    let digest = Digest::sha256(b"AAAAAAAAAA");
    registry
        .send("PUT", &format!("{location}?digest={digest}"), &[], b"")
        .expect_status(201);
}

#[test]
fn chunks_that_lie_about_their_length_change_nothing() {
    let registry = Fixture::new();
    let location = registry.start("a");
    registry
        .send("PATCH", &location, &[], b"01234")
        .expect_status(202);
    let lies = [("Content-Range", "5-6")];
    registry
        .send("PATCH", &location, &lies, b"567")
        .expect_error(400, "SIZE_INVALID");
    let chunked = [("Content-Range", "5-6"), ("Transfer-Encoding", "chunked")];
    registry
        .send("PATCH", &location, &chunked, b"1\r\nX\r\n0\r\n\r\n")
        .expect_error(400, "SIZE_INVALID");
    registry
        .send("PATCH", &location, &chunked, b"9\r\nXXXXXXXXX\r\n0\r\n\r\n")
        .expect_error(400, "SIZE_INVALID");
    assert_eq!(registry.get(&location).header("range"), Some("0-4"));
    let digest = Digest::sha256(b"0123456");
    registry
        .send(
            "PUT",
            &format!("{location}?digest={digest}"),
            &[("Content-Range", "5-6")],
            b"56",
        )
        .expect_status(201);
}

#[test]
fn abandoned_uploads_are_bounded_and_forgotten() {
    let mut registry = Fixture::with(|config| config.limits.empty_uploads = 5);
    let mut started: Vec<String> = (0..5).map(|_| registry.start("a")).collect();
    let no_more = |registry: &Fixture| {
        let answer = registry.send("POST", "/v2/a/blobs/uploads/", &[], b"");
        answer.expect_error(429, "TOOMANYREQUESTS");
        assert!(answer.header("retry-after").is_some());
    };
    no_more(&registry);
    // A restart forgets none of them.
    registry.restart();
    no_more(&registry);
    let right = format!("?digest={}", Digest::sha256(b"content"));
    let wrong = format!("?digest={}", Digest::sha256(b"other"));
    for (method, query, body, status, after) in [
        ("DELETE", "", &b""[..], 204, 404),
        ("PATCH", "", b"content", 202, 204),
        ("PUT", &*right, b"content", 201, 404),
        ("PUT", &*wrong, b"content", 400, 404),
    ] {
        let location = started.remove(0);
        let path = format!("{location}{query}");
        registry
            .send(method, &path, &[], body)
            .expect_status(status);
        registry.get(&location).expect_status(after);
        started.push(registry.start("a"));
        no_more(&registry);
    }
    // Nothing is not the beginning of something.
    registry
        .send("PATCH", &started[0], &[], b"")
        .expect_status(202);
    no_more(&registry);
    for location in started {
        registry.get(&location).expect_status(204);
    }
}

#[test]
fn a_full_disk_stops_pushes_and_nothing_else() {
    let mut registry = Fixture::new();
    let digest = registry.push_image("a", "v1", b"layer");
    let [begun, whole] = [registry.start("a"), registry.start("a")];
    registry
        .send("PATCH", &whole, &[], b"whole")
        .expect_status(202);
    registry.config.limits.reserve_bytes = u64::MAX;
    registry.config.limits.reserve_percent = 100;
    registry.restart();
    for body in [&b"more"[..], &bytes(200_000)] {
        registry
            .send("PATCH", &begun, &[], body)
            .expect_error(507, "DENIED");
        assert_eq!(registry.get(&begun).header("range"), Some("0-0"));
    }
    // What needs no more space ends as it should.
    let end = format!("{whole}?digest={}", Digest::sha256(b"whole"));
    registry.send("PUT", &end, &[], b"").expect_status(201);
    let answer = registry.send("POST", "/v2/a/blobs/uploads/", &[], b"");
    answer.expect_error(507, "DENIED");
    registry
        .put_manifest("a", "v2", &image(b"layer"))
        .expect_error(507, "DENIED");
    let probe = registry.get("/readyz");
    probe.expect_error(503, "DENIED");
    assert!(probe.text().contains("nearly full"), "{}", probe.text());
    registry.get("/healthz").expect_status(200);
    registry.get("/v2/a/manifests/v1").expect_status(200);
    registry
        .delete(&format!("/v2/a/manifests/{digest}"))
        .expect_status(202);
}

#[test]
fn deeply_nested_and_huge_manifests_are_refused() {
    let registry = Fixture::new();
    let nested = format!(
        r#"{{"schemaVersion":2,"config":{}{}}}"#,
        r#"{"a":"#.repeat(200_000),
        "}".repeat(200_000)
    );
    let list = "[".repeat(1_000_000);
    for body in [nested, list] {
        registry
            .send(
                "PUT",
                "/v2/a/manifests/v1",
                &[("Content-Type", IMAGE)],
                body.as_bytes(),
            )
            .expect_error(400, "MANIFEST_INVALID");
    }
    let running = registry.running.as_ref().expect("runs");
    assert_eq!(
        running
            .registry()
            .metadata()
            .totals()
            .expect("totals")
            .manifests,
        0
    );
}

#[test]
fn a_client_that_takes_nothing_loses_its_connection() {
    let registry = Fixture::with(|config| config.limits.idle_time = Duration::from_millis(300));
    // More than all buffers on the way can hold.
    let digest = registry.push_blob("a", &bytes(30_000_000));
    let mut stream = registry.connect();
    write!(
        stream,
        "GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .expect("write");
    let open = || {
        registry
            .running
            .as_ref()
            .map(rbuild_registry_server::serve::Running::open_connections)
    };
    // The answer has begun, so the connection counts.
    stream.read_exact(&mut [0]).expect("read");
    let deadline = Instant::now() + Duration::from_secs(30);
    while open() != Some(0) {
        assert!(Instant::now() < deadline, "the connection is still held");
        std::thread::yield_now();
    }
    let mut taken = Vec::new();
    let _ = stream.read_to_end(&mut taken);
    assert!(taken.len() < 30_000_000);
}

#[test]
fn an_upload_that_fails_leaves_no_file_behind() {
    let registry = Fixture::with(|config| config.limits.blob_bytes = 1_000_000);
    let content = bytes(2_000_000);
    let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(&content));
    let answer = registry.send("POST", &path, &[], &content);
    answer.expect_error(413, "SIZE_INVALID");
    let location = registry.start("a");
    registry
        .send("PATCH", &location, &[], &content)
        .expect_error(413, "SIZE_INVALID");
    let running = registry.running.as_ref().expect("runs");
    let mut left = 0;
    running
        .registry()
        .blobs()
        .walk_ingests(&mut |_, _, _| left += 1)
        .expect("walk");
    assert_eq!(left, 0);
}

#[test]
fn who_sends_everything_before_reading_gets_the_answer_too() {
    let registry = Fixture::with(|config| config.limits.blob_bytes = 1000);
    let content = bytes(10_000_000);
    for path in [
        format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(&content)),
        "/v2/a/blobs/uploads/?digest=md5:00".to_owned(),
        "/v2/UPPER/blobs/uploads/".to_owned(),
        "/elsewhere".to_owned(),
    ] {
        let mut stream = registry.connect();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            content.len()
        )
        .expect("write");
        stream.write_all(&content).expect("the server takes it all");
        let answer = read_answer(&mut BufReader::new(stream), false).expect("an answer");
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
    }
    // Who asks first is answered at once, and sends nothing.
    let mut stream = registry.connect();
    stream
        .write_all(b"POST /v2/UPPER/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10000000\r\n\r\n")
        .expect("write");
    let answer = read_answer(&mut BufReader::new(stream), false).expect("an answer");
    answer.expect_error(400, "NAME_INVALID");
}

#[test]
fn more_slow_uploads_than_threads_disturb_nobody() {
    let registry = Fixture::new();
    // Each is past what is kept in memory, and then stands still.
    let slow: Vec<_> = (0..600)
        .map(|_| {
            let location = registry.start("slow");
            let mut stream = registry.connect();
            write!(
                stream,
                "PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
            )
            .expect("write");
            stream.write_all(&bytes(100_000)).expect("write");
            stream
        })
        .collect();
    let digest = registry.push_image("a", "v1", &bytes(200_000));
    registry
        .head(&format!("/v2/a/manifests/{digest}"))
        .expect_status(200);
    drop(slow);
}
