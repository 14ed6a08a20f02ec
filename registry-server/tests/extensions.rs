//! What the API offers beside the specification.

mod support;

use std::io::{BufReader, Write};
use std::net::Shutdown;

use rbuild_image::Digest;
use rbuild_registry_server::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use support::{Answer, Fixture, bytes, read_answer};

fn tags(answer: &Answer) -> Value {
    answer.expect_status(200);
    answer.json()["tags"].clone()
}

/// The address of the next page.
fn next(answer: &Answer) -> String {
    let link = answer.header("link").expect("there is more");
    let (address, rest) = link
        .strip_prefix('<')
        .and_then(|link| link.split_once('>'))
        .expect("an address");
    assert_eq!(rest, "; rel=\"next\"");
    address.to_owned()
}

#[test]
fn tags_are_filtered_and_sorted_by_push() {
    let registry = Fixture::new();
    for tag in ["v1.0", "v1.1", "nightly", "v2.0-rc1", "v1.0"] {
        registry.push_image("a", tag, tag.as_bytes());
        // No two are pushed in one millisecond.
        let pushed = SystemClock.now();
        while SystemClock.now() == pushed {
            std::hint::spin_loop();
        }
    }
    let get = |query: &str| registry.get(&format!("/v2/a/tags/list?{query}"));
    let cases = [
        ("filter=rc", json!(["v2.0-rc1"])),
        ("filter=v1.*", json!(["v1.0", "v1.1"])),
        ("filter=*0", json!(["v1.0"])),
        ("filter=nothing", json!([])),
        ("sort=name&filter=v1", json!(["v1.0", "v1.1"])),
        (
            "sort=pushed",
            json!(["v1.0", "v2.0-rc1", "nightly", "v1.1"]),
        ),
        ("sort=pushed&filter=v*&n=1", json!(["v1.0"])),
    ];
    for (query, want) in cases {
        assert_eq!(tags(&get(query)), want, "{query}");
    }
    // Page by page, with the filter going along.
    for (query, want) in [
        ("n=1&filter=v", ["v1.0", "v1.1", "v2.0-rc1"]),
        ("n=1&sort=pushed&filter=v*", ["v1.0", "v2.0-rc1", "v1.1"]),
    ] {
        let mut page = get(query);
        let mut seen = tags(&page).as_array().cloned().unwrap_or_default();
        while page.header("link").is_some() {
            page = registry.get(&next(&page));
            seen.extend(tags(&page).as_array().cloned().unwrap_or_default());
        }
        assert_eq!(seen, want, "{query}");
    }
    for query in [
        "sort=size",
        "sort=pushed&last=v1.0",
        "sort=pushed&last=x,v1",
    ] {
        let answer = get(query);
        answer.expect_status(400);
        assert!(answer.text().contains("sort"), "{}", answer.text());
    }
}

#[test]
fn who_asks_too_much_is_told_when_to_come_back() {
    let registry = Fixture::with(|config| config.limits.requests_per_second = 1);
    registry.get("/v2/").expect_status(200);
    let refused = (0..1000)
        .map(|_| registry.get("/v2/"))
        .find(|answer| answer.status != 200)
        .expect("more than ten at once and one per second");
    refused.expect_error(429, "TOOMANYREQUESTS");
    let wait: u64 = refused
        .header("retry-after")
        .and_then(|text| text.parse().ok())
        .expect("seconds");
    assert!((1..=10).contains(&wait), "{wait}");
    // Whoever watches over the registry is not held back.
    registry.get("/healthz").expect_status(200);
    registry.get("/readyz").expect_status(200);
}

#[test]
fn a_client_that_has_sent_its_request_may_close_its_half() {
    let registry = Fixture::new();
    let large = bytes(3_000_000);
    let digest = registry.push_blob("a", &large);
    let small = Digest::sha256(b"small");
    for (request, status, body) in [
        (
            "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            200,
            b"{}".as_slice(),
        ),
        (
            format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n"),
            200,
            &large,
        ),
        (
            format!(
                "POST /v2/a/blobs/uploads/?digest={small} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nsmall"
            ),
            201,
            b"",
        ),
    ] {
        for _ in 0..10 {
            let mut stream = registry.connect();
            stream.write_all(request.as_bytes()).expect("sent");
            stream.shutdown(Shutdown::Write).expect("half closed");
            let answer = read_answer(&mut BufReader::new(stream), false).expect("an answer");
            assert_eq!(answer.status, status, "{request}");
            assert_eq!(answer.body, body, "{request}");
        }
    }
}
