//! The distribution API as clients use it: every row of the protocol, over real connections.

mod support;

use rbuild_image::{Algorithm, Digest};
use serde_json::json;
use support::{Fixture, IMAGE, INDEX, bytes, descriptor, image};

#[test]
fn the_root_answers_that_this_is_a_registry() {
    let registry = Fixture::new();
    for path in ["/v2/", "/v2"] {
        let answer = registry.get(path);
        answer.expect_status(200);
        assert_eq!(
            answer.header("docker-distribution-api-version"),
            Some("registry/2.0")
        );
    }
    registry.get("/healthz").expect_status(200);
    registry.get("/readyz").expect_status(200);
    registry
        .send("DELETE", "/v2/", &[], b"")
        .expect_error(405, "UNSUPPORTED");
    registry.get("/elsewhere").expect_error(404, "UNSUPPORTED");
}

#[test]
fn a_blob_is_pushed_in_every_way_and_read_back() {
    let registry = Fixture::new();
    // Around the bound between memory and file, and larger than any buffer.
    for length in [0, 1, 65_536, 65_537, 3_000_000] {
        let content = bytes(length);
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Digest::of(algorithm, &content);
            let path = format!("/v2/a/blobs/{digest}");

            let at_once = format!("/v2/a/blobs/uploads/?digest={digest}");
            let answer = registry.send("POST", &at_once, &[], &content);
            answer.expect_status(201);
            assert_eq!(answer.header("location"), Some(path.as_str()));
            assert_eq!(
                answer.header("docker-content-digest"),
                Some(digest.to_string().as_str())
            );
            check_blob(&registry, &path, &content);

            let location = registry.start("a");
            registry
                .send("PUT", &format!("{location}?digest={digest}"), &[], &content)
                .expect_status(201);
            check_blob(&registry, &path, &content);

            let location = registry.start("a");
            registry
                .send("PATCH", &location, &[], &content)
                .expect_status(202);
            registry
                .send("PUT", &format!("{location}?digest={digest}"), &[], b"")
                .expect_status(201);
            check_blob(&registry, &path, &content);

            let chunk = (length / 3).max(1);
            let mut location = registry.start("a");
            let mut at = 0;
            for part in content.chunks(chunk) {
                let range = format!("{at}-{}", at + part.len() - 1);
                let answer = registry.send("PATCH", &location, &[("Content-Range", &range)], part);
                answer.expect_status(202);
                at += part.len();
                assert_eq!(
                    answer.header("range"),
                    Some(format!("0-{}", at - 1).as_str())
                );
                answer
                    .header("location")
                    .expect("a location")
                    .clone_into(&mut location);
            }
            registry
                .send("PUT", &format!("{location}?digest={digest}"), &[], b"")
                .expect_status(201);
            check_blob(&registry, &path, &content);
        }
    }
}

#[track_caller]
fn check_blob(registry: &Fixture, path: &str, content: &[u8]) {
    let answer = registry.get(path);
    answer.expect_status(200);
    assert!(answer.body == content, "other bytes came back");
    let head = registry.head(path);
    head.expect_status(200);
    for answer in [&answer, &head] {
        assert_eq!(
            answer.header("content-length"),
            Some(content.len().to_string().as_str())
        );
        assert!(answer.header("docker-content-digest").is_some());
    }
}

#[test]
fn a_stream_without_a_length_is_a_blob() {
    let registry = Fixture::new();
    let content = bytes(200_000);
    let digest = Digest::sha256(&content);
    let location = registry.start("a");
    let mut body = Vec::new();
    for part in content.chunks(7_000) {
        body.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        body.extend_from_slice(part);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    registry
        .send(
            "PATCH",
            &location,
            &[("Transfer-Encoding", "chunked")],
            &body,
        )
        .expect_status(202);
    registry
        .send("PUT", &format!("{location}?digest={digest}"), &[], b"")
        .expect_status(201);
    check_blob(&registry, &format!("/v2/a/blobs/{digest}"), &content);
}

#[test]
fn parts_of_a_blob() {
    let registry = Fixture::new();
    for content in [bytes(1000), bytes(300_000)] {
        let digest = registry.push_blob("a", &content);
        let path = format!("/v2/a/blobs/{digest}");
        let size = content.len();
        for (range, start, end) in [
            ("bytes=0-0", 0, 1),
            ("bytes=10-19", 10, 20),
            ("bytes=990-", 990, size),
            ("bytes=-5", size - 5, size),
            ("bytes=0-99999999", 0, size),
        ] {
            let answer = registry.send("GET", &path, &[("Range", range)], b"");
            answer.expect_status(206);
            assert!(answer.body == content[start..end], "{range}");
            let place = format!("bytes {start}-{}/{size}", end - 1);
            assert_eq!(answer.header("content-range"), Some(place.as_str()));
        }
        for nothing in ["bytes=99999999-", "bytes=500-0"] {
            let answer = registry.send("GET", &path, &[("Range", nothing)], b"");
            answer.expect_status(416);
            let all = format!("bytes */{size}");
            assert_eq!(answer.header("content-range"), Some(all.as_str()));
        }
        let whole = registry.send("GET", &path, &[("Range", "lines=1-2")], b"");
        assert_eq!((whole.status, whole.body.len()), (200, size));
        let etag = format!("\"{digest}\"");
        registry
            .send("GET", &path, &[("If-None-Match", &etag)], b"")
            .expect_status(304);
        let stale = [("Range", "bytes=0-0"), ("If-Range", "\"other\"")];
        registry.send("GET", &path, &stale, b"").expect_status(200);
    }
}

#[test]
fn an_upload_tells_where_it_is_and_can_be_given_up() {
    let registry = Fixture::new();
    let location = registry.start("a");
    registry.get(&location).expect_status(204);
    registry
        .send("PATCH", &location, &[], b"0123456789")
        .expect_status(202);
    let state = registry.get(&location);
    assert_eq!((state.status, state.header("range")), (204, Some("0-9")));
    for range in ["0-9", "11-20", "x", "5-", "9-3"] {
        let answer = registry.send(
            "PATCH",
            &location,
            &[("Content-Range", range)],
            b"0123456789",
        );
        answer.expect_error(416, "BLOB_UPLOAD_INVALID");
        assert_eq!(answer.header("range"), Some("0-9"), "{range}");
        assert_eq!(answer.header("location"), Some(location.as_str()));
    }
    let other = location.replace("/v2/a/", "/v2/b/");
    registry
        .get(&other)
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    registry
        .send("PUT", &location, &[], b"")
        .expect_error(400, "DIGEST_INVALID");
    registry.delete(&location).expect_status(204);
    registry
        .get(&location)
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    registry
        .delete(&location)
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn wrong_content_is_refused_and_not_visible() {
    let registry = Fixture::new();
    for content in [bytes(100), bytes(100_000)] {
        let wrong = Digest::sha256(b"something else");
        let path = format!("/v2/a/blobs/uploads/?digest={wrong}");
        registry
            .send("POST", &path, &[], &content)
            .expect_error(400, "DIGEST_INVALID");
        let location = registry.start("a");
        registry
            .send("PUT", &format!("{location}?digest={wrong}"), &[], &content)
            .expect_error(400, "DIGEST_INVALID");
        registry.get(&location).expect_status(404);
        for digest in [wrong, Digest::sha256(&content)] {
            registry
                .get(&format!("/v2/a/blobs/{digest}"))
                .expect_error(404, "BLOB_UNKNOWN");
        }
    }
    for digest in [
        "",
        "sha256",
        "sha256:00",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
    ] {
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        registry
            .send("POST", &path, &[], b"x")
            .expect_error(400, "DIGEST_INVALID");
    }
    registry
        .send(
            "POST",
            "/v2/a/blobs/uploads/?digest-algorithm=md5",
            &[],
            b"",
        )
        .expect_error(400, "DIGEST_INVALID");
    registry
        .send(
            "POST",
            "/v2/a/blobs/uploads/?digest-algorithm=sha512",
            &[],
            b"",
        )
        .expect_status(202);
}

#[test]
fn a_blob_is_mounted_from_where_it_is() {
    let registry = Fixture::new();
    for content in [bytes(10), bytes(100_000)] {
        let digest = registry.push_blob("source", &content);
        let mount = |query: &str| {
            let path = format!("/v2/target/{}/blobs/uploads/?{query}", content.len());
            registry.send("POST", &path, &[], b"").status
        };
        assert_eq!(mount(&format!("mount={digest}&from=elsewhere")), 202);
        assert_eq!(mount(&format!("mount={digest}&from=NOT+VALID")), 202);
        assert_eq!(mount(&format!("mount={}", Digest::sha256(b"unknown"))), 202);
        assert_eq!(mount("mount=rubbish&from=source"), 202);
        let path = format!("/v2/target/{}/blobs/{digest}", content.len());
        registry.get(&path).expect_error(404, "BLOB_UNKNOWN");
        assert_eq!(mount(&format!("mount={digest}&from=source")), 201);
        check_blob(&registry, &path, &content);
        let anywhere = format!("/v2/third/blobs/uploads/?mount={digest}");
        registry
            .send("POST", &anywhere, &[], b"")
            .expect_status(201);
        check_blob(&registry, &format!("/v2/third/blobs/{digest}"), &content);
    }
}

#[test]
fn a_manifest_keeps_its_bytes_under_tag_and_digest() {
    let registry = Fixture::new();
    registry.push_blob("a", b"{}");
    registry.push_blob("a", b"layer");
    let odd = format!(
        " {}\n",
        serde_json::to_string_pretty(&image(b"layer")).expect("JSON")
    );
    let digest = Digest::sha256(&odd);
    let answer = registry.send(
        "PUT",
        "/v2/a/manifests/v1",
        &[("Content-Type", IMAGE)],
        odd.as_bytes(),
    );
    answer.expect_status(201);
    assert_eq!(
        answer.header("location"),
        Some(format!("/v2/a/manifests/{digest}").as_str())
    );
    for reference in ["v1".to_owned(), digest.to_string()] {
        let path = format!("/v2/a/manifests/{reference}");
        let got = registry.get(&path);
        got.expect_status(200);
        assert_eq!(got.text(), odd);
        assert_eq!(got.header("content-type"), Some(IMAGE));
        assert_eq!(
            got.header("docker-content-digest"),
            Some(digest.to_string().as_str())
        );
        let head = registry.head(&path);
        head.expect_status(200);
        assert_eq!(
            head.header("content-length"),
            Some(odd.len().to_string().as_str())
        );
        let etag = head.header("etag").expect("an etag").to_owned();
        registry
            .send("GET", &path, &[("If-None-Match", &etag)], b"")
            .expect_status(304);
    }
    registry
        .get("/v2/a/manifests/v2")
        .expect_error(404, "MANIFEST_UNKNOWN");
    let bad = registry.get("/v2/a/manifests/.bad");
    bad.expect_error(404, "MANIFEST_UNKNOWN");
    assert!(bad.text().contains("`.bad`"), "{}", bad.text());
    registry.head("/v2/b/manifests/v1").expect_status(404);
}

#[test]
fn a_manifest_is_refused_with_a_reason() {
    let registry = Fixture::new();
    registry.push_blob("a", b"{}");
    let good = image(b"layer").to_string();
    let put = |reference: &str, media_type: &str, body: &str| {
        let path = format!("/v2/a/manifests/{reference}");
        registry.send(
            "PUT",
            &path,
            &[("Content-Type", media_type)],
            body.as_bytes(),
        )
    };
    let missing = put("v1", IMAGE, &good);
    missing.expect_error(404, "MANIFEST_BLOB_UNKNOWN");
    let detail = &missing.json()["errors"][0]["detail"]["digest"];
    assert_eq!(*detail, Digest::sha256(b"layer").to_string());
    registry.push_blob("a", b"layer");
    put(&Digest::sha256(b"other").to_string(), IMAGE, &good).expect_error(400, "DIGEST_INVALID");
    put("v1", INDEX, &good).expect_error(400, "MANIFEST_INVALID");
    put("v1", IMAGE, "{").expect_error(400, "MANIFEST_INVALID");
    put("v1", IMAGE, "").expect_error(400, "MANIFEST_INVALID");
    put(".v1", IMAGE, &good).expect_error(400, "MANIFEST_INVALID");
    put("v1", "text/plain", r#"{"schemaVersion":2}"#).expect_error(415, "MANIFEST_INVALID");
    put("v1", IMAGE, r#"{"schemaVersion":1,"name":"a"}"#).expect_error(415, "MANIFEST_INVALID");
    put("v1", IMAGE, &good.replace("\"size\":5", "\"size\":6")).expect_error(400, "SIZE_INVALID");
    let huge = format!("{good}{}", " ".repeat(5 << 20));
    put("v1", IMAGE, &huge).expect_error(413, "SIZE_INVALID");
    registry.get("/v2/a/manifests/v1").expect_status(404);
    put("v1", IMAGE, &good).expect_status(201);
}

#[test]
fn an_index_needs_its_children_unless_sparse_ones_are_allowed() {
    for sparse in [false, true] {
        let registry = Fixture::with(|config| config.sparse_indexes = sparse);
        let child = image(b"layer").to_string();
        let index = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [descriptor(IMAGE, child.as_bytes())],
        });
        let answer = registry.put_manifest("a", "all", &index);
        if sparse {
            answer.expect_status(201);
            continue;
        }
        answer.expect_error(404, "MANIFEST_BLOB_UNKNOWN");
        let child_digest = registry.push_image("a", "one", b"layer");
        registry.put_manifest("a", "all", &index).expect_status(201);
        let nested = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [descriptor(INDEX, index.to_string().as_bytes())],
        });
        registry
            .put_manifest("a", "nested", &nested)
            .expect_status(201);
        registry
            .delete(&format!("/v2/a/manifests/{child_digest}"))
            .expect_error(405, "DENIED");
        registry.get("/v2/a/manifests/one").expect_status(200);
    }
}

#[test]
fn an_image_needs_its_blobs_unless_sparse_ones_are_allowed() {
    for sparse in [false, true] {
        let registry = Fixture::with(|config| config.sparse_images = sparse);
        registry.push_blob("a", b"{}");
        let answer = registry.put_manifest("a", "part", &image(b"layer"));
        if !sparse {
            answer.expect_error(404, "MANIFEST_BLOB_UNKNOWN");
            continue;
        }
        answer.expect_status(201);
        let layer = registry.push_blob("a", b"layer");
        registry
            .delete(&format!("/v2/a/blobs/{layer}"))
            .expect_error(405, "DENIED");
        let index = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [descriptor(IMAGE, b"another")],
        });
        registry
            .put_manifest("a", "all", &index)
            .expect_error(404, "MANIFEST_BLOB_UNKNOWN");
    }
}

#[test]
fn docker_manifests_are_taken_as_they_are() {
    let registry = Fixture::new();
    registry.push_blob("a", b"{}");
    registry.push_blob("a", b"layer");
    let mut manifest = image(b"layer");
    manifest["mediaType"] = json!("application/vnd.docker.distribution.manifest.v2+json");
    registry
        .put_manifest("a", "docker", &manifest)
        .expect_status(201);
    let list = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
        "manifests": [descriptor(
            "application/vnd.docker.distribution.manifest.v2+json",
            manifest.to_string().as_bytes(),
        )],
    });
    registry.put_manifest("a", "list", &list).expect_status(201);
    assert_eq!(
        registry.get("/v2/a/manifests/list").text(),
        list.to_string()
    );
}

#[test]
fn several_tags_are_set_at_once_or_not_at_all() {
    let registry = Fixture::new();
    let digest = registry.push_image("a", "first", b"layer");
    let manifest = image(b"layer");
    let path = format!("{digest}?tag=x&tag=y&tag=x");
    let answer = registry.put_manifest("a", &path, &manifest);
    answer.expect_status(201);
    assert_eq!(answer.all("oci-tag"), ["x", "y"]);
    for tag in ["x", "y"] {
        registry
            .get(&format!("/v2/a/manifests/{tag}"))
            .expect_status(200);
    }
    registry
        .put_manifest("a", &format!("{digest}?tag=z&tag=.bad"), &manifest)
        .expect_error(400, "MANIFEST_INVALID");
    registry.get("/v2/a/manifests/z").expect_status(404);
    let many: String = (0..101).fold(digest.to_string() + "?", |text, n| {
        format!("{text}&tag=t{n}")
    });
    registry
        .put_manifest("a", &many, &manifest)
        .expect_status(414);
    registry.get("/v2/a/manifests/t0").expect_status(404);
}

#[test]
fn a_manifest_is_the_same_for_everybody_whatever_types_the_request_names() {
    let registry = Fixture::new();
    registry.push_image("a", "image", b"layer");
    let entry = descriptor(IMAGE, image(b"layer").to_string().as_bytes());
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
    registry
        .put_manifest("a", "index", &index)
        .expect_status(201);
    let image = image(b"layer");
    for (tag, media_type, content) in [("image", IMAGE, &image), ("index", INDEX, &index)] {
        for accept in [
            "*/*",
            IMAGE,
            INDEX,
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.oci.image.index.v1+json;q=0",
            "text/html",
            "",
            "no type",
        ] {
            let path = format!("/v2/a/manifests/{tag}");
            let answer = registry.send("GET", &path, &[("Accept", accept)], b"");
            answer.expect_status(200);
            assert_eq!(answer.header("content-type"), Some(media_type), "{accept}");
            assert_eq!(answer.json(), *content, "{accept}");
        }
    }
}

#[test]
fn tags_move_only_from_where_the_client_saw_them() {
    let registry = Fixture::new();
    let first = registry.push_image("a", "v1", b"first");
    registry.push_image("a", "other", b"second");
    let second = image(b"second").to_string();
    let put = |tag: &str, name: &str, value: &str| {
        let path = format!("/v2/a/manifests/{tag}");
        let headers = [("Content-Type", IMAGE), (name, value)];
        registry.send("PUT", &path, &headers, second.as_bytes())
    };
    put("v1", "If-None-Match", "*").expect_error(412, "DENIED");
    put("new", "If-Match", "*").expect_error(412, "DENIED");
    let elsewhere = format!("\"{}\"", Digest::sha256(b"elsewhere"));
    put("v1", "If-Match", &elsewhere).expect_error(412, "DENIED");
    put("v1", "If-Match", "rubbish").expect_status(400);
    // Without a tag there is nothing to hold the condition against, and none is passed over.
    let digest = Digest::sha256(&second).to_string();
    put(&digest, "If-Match", &elsewhere).expect_error(400, "UNSUPPORTED");
    put(&format!("{digest}?tag=v1"), "If-Match", &elsewhere).expect_error(412, "DENIED");
    assert_eq!(
        registry
            .head("/v2/a/manifests/v1")
            .header("docker-content-digest"),
        Some(first.to_string().as_str())
    );
    put("v1", "If-Match", &format!("\"{first}\"")).expect_status(201);
    put("new", "If-None-Match", "*").expect_status(201);
}

#[test]
fn lists_are_sorted_by_bytes_and_paged() {
    let registry = Fixture::new();
    registry
        .get("/v2/a/tags/list")
        .expect_error(404, "NAME_UNKNOWN");
    for tag in ["b", "B", "a", "_", "1", "a.1"] {
        registry.push_image("a", tag, b"layer");
    }
    for name in ["b", "a/b", "a-b"] {
        registry.push_blob(name, b"x");
    }
    let sorted = ["1", "B", "_", "a", "a.1", "b"];
    let all = registry.get("/v2/a/tags/list");
    assert_eq!(all.json(), json!({ "name": "a", "tags": sorted }));
    assert_eq!(all.header("link"), None);
    let mut path = "/v2/a/tags/list?n=4".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = registry.get(&path);
        page.expect_status(200);
        for tag in page.json()["tags"].as_array().expect("a list") {
            seen.push(tag.as_str().expect("a tag").to_owned());
        }
        let Some(link) = page.header("link") else {
            break;
        };
        let (next, relation) = link.split_once(">; ").expect("a link");
        assert_eq!(relation, "rel=\"next\"");
        next.trim_start_matches('<').clone_into(&mut path);
    }
    assert_eq!(seen, sorted);
    let none = registry.get("/v2/a/tags/list?n=0");
    assert_eq!(none.json()["tags"], json!([]));
    assert_eq!(none.header("link"), None);
    let behind = registry.get("/v2/a/tags/list?last=a");
    assert_eq!(behind.json()["tags"], json!(["a.1", "b"]));
    for n in ["-1", "x", "1.5"] {
        registry
            .get(&format!("/v2/a/tags/list?n={n}"))
            .expect_status(400);
    }
    let catalog = registry.get("/v2/_catalog?n=3");
    assert_eq!(catalog.json()["repositories"], json!(["a", "a-b", "a/b"]));
    assert_eq!(
        catalog.header("link"),
        Some("</v2/_catalog?n=3&last=a%2Fb>; rel=\"next\"")
    );
}

#[test]
fn referrers_are_listed_filtered_and_adopted() {
    let registry = Fixture::new();
    let subject = registry.push_image("a", "v1", b"layer");
    let path = format!("/v2/a/referrers/{subject}");
    let empty = registry.get(&path);
    empty.expect_status(200);
    assert_eq!(empty.header("content-type"), Some(INDEX));
    assert_eq!(empty.json()["manifests"], json!([]));

    let mut about = image(b"layer");
    about["subject"] = descriptor(IMAGE, image(b"layer").to_string().as_bytes());
    about["artifactType"] = json!("application/x-signature");
    about["annotations"] = json!({ "by": "somebody" });
    let digest = Digest::sha256(about.to_string());
    let answer = registry.put_manifest("a", &digest.to_string(), &about);
    answer.expect_status(201);
    assert_eq!(
        answer.header("oci-subject"),
        Some(subject.to_string().as_str())
    );
    let listed = registry.get(&path).json();
    let entry = &listed["manifests"][0];
    assert_eq!(entry["digest"], digest.to_string());
    assert_eq!(entry["size"], about.to_string().len());
    assert_eq!(entry["artifactType"], "application/x-signature");
    assert_eq!(entry["annotations"], json!({ "by": "somebody" }));

    let filtered = registry.get(&format!("{path}?artifactType=application/x-other"));
    assert_eq!(filtered.json()["manifests"], json!([]));
    assert_eq!(filtered.header("oci-filters-applied"), Some("artifactType"));
    let filtered = registry.get(&format!("{path}?artifactType=application/x-signature"));
    assert_eq!(
        filtered.json()["manifests"][0]["digest"],
        digest.to_string()
    );

    // The subject of a referrer may come later.
    let mut early = image(b"layer");
    early["subject"] = descriptor(IMAGE, b"not pushed yet");
    registry
        .put_manifest("a", "early", &early)
        .expect_status(201);

    let old = registry.push_image("a", "old-signature", b"old");
    let fallback = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [descriptor(IMAGE, image(b"old").to_string().as_bytes())],
    });
    let tag = subject.to_string().replace(':', "-");
    registry
        .put_manifest("a", &tag, &fallback)
        .expect_status(201);
    let listed = registry.get(&path).json();
    let digests: Vec<&str> = listed["manifests"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|entry| entry["digest"].as_str())
        .collect();
    assert_eq!(digests, [digest.to_string(), old.to_string()]);
    // What its entry does not say is taken from the manifest.
    let config = "application/vnd.oci.image.config.v1+json";
    assert_eq!(listed["manifests"][1]["artifactType"], config);
    let filter = config.replace('+', "%2B");
    let filtered = registry.get(&format!("{path}?artifactType={filter}"));
    assert_eq!(filtered.json()["manifests"][0]["digest"], old.to_string());
    registry
        .get("/v2/a/referrers/sha256:00")
        .expect_error(400, "DIGEST_INVALID");
}

#[test]
fn many_referrers_come_in_pages() {
    let registry = Fixture::new();
    let subject = registry.push_image("a", "v1", b"layer");
    let mut all = Vec::new();
    for number in 0..501 {
        let mut about = image(b"layer");
        about["subject"] = descriptor(IMAGE, image(b"layer").to_string().as_bytes());
        about["annotations"] = json!({ "number": number.to_string() });
        registry
            .put_manifest("a", &Digest::sha256(about.to_string()).to_string(), &about)
            .expect_status(201);
        all.push(descriptor(IMAGE, about.to_string().as_bytes()));
    }
    // Clients that keep the list themselves, too, do not make it longer.
    let fallback = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": all });
    let tag = subject.to_string().replace(':', "-");
    registry
        .put_manifest("a", &tag, &fallback)
        .expect_status(201);
    let mut path = format!(
        "/v2/a/referrers/{subject}?artifactType=application/vnd.oci.image.config.v1%2Bjson"
    );
    let mut count = 0;
    loop {
        let page = registry.get(&path);
        page.expect_status(200);
        count += page.json()["manifests"].as_array().expect("a list").len();
        let Some(link) = page.header("link") else {
            break;
        };
        let next = link.split('>').next().expect("a link");
        next.trim_start_matches('<').clone_into(&mut path);
    }
    assert_eq!(count, 501);
}

#[test]
fn what_is_deleted_is_gone_and_what_is_in_use_stays() {
    let registry = Fixture::new();
    let layer = bytes(100_000);
    let digest = registry.push_image("a", "v1", &layer);
    registry
        .put_manifest("a", "v2", &image(&layer))
        .expect_status(201);
    let blob = format!("/v2/a/blobs/{}", Digest::sha256(&layer));
    registry.delete(&blob).expect_error(405, "DENIED");
    let untagged = registry.delete("/v2/a/manifests/v2");
    untagged.expect_status(202);
    assert_eq!(untagged.json()["freedBytes"], 0);
    assert_eq!(untagged.json()["sharedBytes"], 100_002);
    registry.get("/v2/a/manifests/v2").expect_status(404);
    registry
        .delete("/v2/a/manifests/v2")
        .expect_error(404, "MANIFEST_UNKNOWN");
    registry.get("/v2/a/manifests/v1").expect_status(200);
    let gone = registry.delete(&format!("/v2/a/manifests/{digest}"));
    gone.expect_status(202);
    assert_eq!(gone.json()["freedBytes"], 100_002);
    assert!(gone.json()["freedAt"].is_string());
    registry.get("/v2/a/manifests/v1").expect_status(404);
    registry
        .get(&format!("/v2/a/manifests/{digest}"))
        .expect_status(404);
    registry.get(&blob).expect_status(200);
    registry.delete(&blob).expect_status(202);
    registry.get(&blob).expect_error(404, "BLOB_UNKNOWN");
    registry.delete(&blob).expect_error(404, "BLOB_UNKNOWN");
    assert_eq!(registry.get("/v2/a/tags/list").json()["tags"], json!([]));
}

#[test]
fn a_repository_sees_only_its_own_blobs() {
    let registry = Fixture::new();
    let digest = registry.push_blob("a", b"secret");
    for path in [
        format!("/v2/b/blobs/{digest}"),
        format!("/v2/a/b/blobs/{digest}"),
    ] {
        registry.get(&path).expect_error(404, "BLOB_UNKNOWN");
        registry.head(&path).expect_status(404);
    }
    registry.push_blob("b", b"{}");
    registry
        .put_manifest("b", "v1", &image(b"secret"))
        .expect_error(404, "MANIFEST_BLOB_UNKNOWN");
}

#[test]
fn mirrors_may_name_a_namespace() {
    let registry = Fixture::new();
    registry.push_image("a", "v1", b"layer");
    let answer = registry.get("/v2/a/manifests/v1?ns=docker.io");
    answer.expect_status(200);
    assert_eq!(answer.header("oci-namespace"), Some("docker.io"));
}
