//! `Warning` headers: who gets which, and how much of it.

mod support;

use rbuild_image::Digest;
use serde_json::{Value, json};
use support::{Answer, Fixture, IMAGE, INDEX, descriptor, image};

fn warnings(answer: &Answer) -> Vec<String> {
    let texts = answer.all("warning");
    let total: usize = texts.iter().map(|text| text.len()).sum();
    assert!(total <= 4096, "{total}");
    texts
        .into_iter()
        .map(|text| {
            let text = text.strip_prefix("299 - \"").expect("the form");
            text.strip_suffix('"').expect("the form").to_owned()
        })
        .collect()
}

fn marked(reason: &str) -> Value {
    let mut image = image(b"layer");
    image["annotations"] = json!({ "dev.rbuild.deprecated": reason });
    image
}

#[test]
fn a_deprecated_image_says_so_when_it_is_asked_for_by_tag() {
    let registry = Fixture::new();
    registry.push_image("app", "good", b"layer");
    let long = "long ".repeat(2000);
    for (tag, reason, want) in [
        ("old", "use app:2", "tag old is deprecated: use app:2"),
        ("bare", "", "tag bare is deprecated"),
        (
            "quoted",
            "\"no\"\r\nX: y",
            "tag quoted is deprecated: \\\"no\\\"  X: y",
        ),
        ("long", &long, "tag long is deprecated: long long "),
    ] {
        let pushed = registry.put_manifest("app", tag, &marked(reason));
        pushed.expect_status(201);
        assert!(warnings(&pushed).is_empty());
        let path = format!("/v2/app/manifests/{tag}");
        for answer in [registry.get(&path), registry.head(&path)] {
            answer.expect_status(200);
            let texts = warnings(&answer);
            assert_eq!(texts.len(), 1);
            assert!(texts[0].starts_with(want), "{texts:?}");
            assert!(tag == "long" || texts[0] == want, "{texts:?}");
        }
        // Whoever asks by digest wants just this one.
        let digest = Digest::sha256(marked(reason).to_string());
        let answer = registry.get(&format!("/v2/app/manifests/{digest}"));
        assert!(warnings(&answer).is_empty());
    }
    assert!(warnings(&registry.get("/v2/app/manifests/good")).is_empty());
    // A word in a value is no mark.
    let mut image = image(b"layer");
    image["annotations"] = json!({ "note": "dev.rbuild.deprecated" });
    registry
        .put_manifest("app", "note", &image)
        .expect_status(201);
    assert!(warnings(&registry.get("/v2/app/manifests/note")).is_empty());
}

const BASE_NAME: &str = "org.opencontainers.image.base.name";
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// A manifest that says what it was built on.
fn built_on(mut manifest: Value, name: &str, digest: &str) -> Value {
    manifest["annotations"] = json!({ BASE_NAME: name, BASE_DIGEST: digest });
    manifest
}

/// An index of these images, and its digest.
fn index_of(images: &[&Value]) -> (Value, String) {
    let entries: Vec<Value> = images
        .iter()
        .map(|image| descriptor(IMAGE, image.to_string().as_bytes()))
        .collect();
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    let digest = Digest::sha256(index.to_string()).to_string();
    (index, digest)
}

#[test]
fn an_image_says_that_its_base_has_changed() {
    let registry = Fixture::with(|config| config.names = vec!["registry.example".to_owned()]);
    let old = registry.push_image("team/base", "12", b"old").to_string();
    let new = registry.push_image("team/base", "12", b"new").to_string();
    registry.push_image("team/base", "latest", b"new");
    let (both, both_digest) = index_of(&[&image(b"new"), &image(b"old")]);
    registry
        .put_manifest("team/base", "both", &both)
        .expect_status(201);
    let (nested, nested_digest) = {
        let entry = descriptor(INDEX, both.to_string().as_bytes());
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
        let digest = Digest::sha256(index.to_string()).to_string();
        (index, digest)
    };
    registry
        .put_manifest("team/base", "nested", &nested)
        .expect_status(201);
    registry.push_image("library/base", "12", b"new");
    registry.push_image("app", "plain", b"layer");
    let pinned = format!("registry/team/base:12@{old}");
    let elsewhere = Digest::sha256(b"elsewhere").to_string();
    for (host, name, digest, want) in [
        // The test's client asks for the host `registry`, or the one that is given here.
        ("r.io", "r.io/team/base:12", &old, Some(&new)),
        ("R.io:5000", "r.io:5000/team/base:12", &old, Some(&new)),
        ("r.io", "r.io:443/team/base:12", &old, Some(&new)),
        ("r.io:80", "r.io/team/base:12", &old, Some(&new)),
        (
            "localhost:5000",
            "localhost:5000/team/base:12",
            &old,
            Some(&new),
        ),
        ("[::1]:5000", "[::1]:5000/team/base:12", &old, Some(&new)),
        ("r.io", "registry.example/team/base:12", &old, Some(&new)),
        ("r.io", "r.io/team/base", &old, Some(&new)),
        // What it was built on is what is there, or a part of it.
        ("r.io", "r.io/team/base:12", &new, None),
        ("r.io", "r.io/team/base:both", &both_digest, None),
        ("r.io", "r.io/team/base:both", &old, None),
        ("r.io", "r.io/team/base:nested", &old, None),
        ("r.io", "r.io/team/base:nested", &nested_digest, None),
        (
            "r.io",
            "r.io/team/base:both",
            &nested_digest,
            Some(&both_digest),
        ),
        (
            "r.io",
            "r.io/team/base:nested",
            &elsewhere,
            Some(&nested_digest),
        ),
        // Others' images, and names of Docker Hub.
        ("r.io", "other.io/team/base:12", &old, None),
        ("r.io", "r.io:5000/team/base:12", &old, None),
        ("r.io", "docker.io/library/base:12", &old, None),
        ("r.io", "team/base:12", &old, None),
        ("r.io", "base:12", &old, None),
        ("r.io", "", &old, None),
        // Nothing to compare with.
        ("r.io", "r.io/team/base:gone", &old, None),
        ("r.io", "r.io/team/none:12", &old, None),
        ("r.io", "r.io/team/base:12", &"sha256:0".to_owned(), None),
        ("r.io", &pinned, &old, None),
        ("r.io", "r.io/../base:12", &old, None),
        ("", "r.io/team/base:12", &old, None),
    ] {
        let image = built_on(image(b"layer"), name, digest);
        let index = built_on(index_of(&[&image]).0, name, digest);
        for content in [image, index] {
            registry
                .put_manifest("app", "v1", &content)
                .expect_status(201);
            let by_digest = Digest::sha256(content.to_string()).to_string();
            for (method, reference) in [
                ("GET", "v1"),
                ("HEAD", "v1"),
                // Whoever asks by tag may go on by digest, and hears the same.
                ("GET", &by_digest),
                ("HEAD", &by_digest),
            ] {
                let path = format!("{method} /v2/app/manifests/{reference} HTTP/1.1\r\n");
                let request = format!("{path}Host: {host}\r\nConnection: close\r\n\r\n");
                let answer = registry.raw(request.as_bytes(), method == "HEAD");
                let answer = answer.expect("an answer");
                answer.expect_status(200);
                let texts = warnings(&answer);
                let Some(want) = want else {
                    assert!(texts.is_empty(), "{host} {name}: {texts:?}");
                    continue;
                };
                assert_eq!(texts.len(), 1, "{host} {name}");
                let full = if name.ends_with("/base") {
                    ":latest"
                } else {
                    ""
                };
                let text = format!(
                    "the base image {name}{full} has changed: it is {want} now, and this image was built on {digest}; rebuild it to take over what is new"
                );
                assert_eq!(texts[0], text);
            }
        }
    }
    assert!(warnings(&registry.get("/v2/app/manifests/plain")).is_empty());
}

#[test]
fn a_base_that_moves_back_or_goes_is_told_about_no_more() {
    let registry = Fixture::with(|config| config.names = vec!["r.io".to_owned()]);
    let old = registry.push_image("base", "1", b"old").to_string();
    registry.push_blob("app", b"{}");
    registry.push_blob("app", b"layer");
    let mut image = built_on(image(b"layer"), "r.io/base:1", &old);
    image["annotations"]["dev.rbuild.deprecated"] = "long ".repeat(2000).into();
    registry
        .put_manifest("app", "v1", &image)
        .expect_status(201);
    let told = || {
        let texts = warnings(&registry.get("/v2/app/manifests/v1"));
        assert!(texts.iter().any(|text| text.contains("deprecated")));
        texts.iter().any(|text| text.contains("has changed"))
    };
    assert!(!told());
    registry.push_image("base", "1", b"new");
    assert!(told());
    registry.push_image("base", "1", b"old");
    assert!(!told());
    registry.push_image("base", "1", b"new");
    assert!(told());
    registry.delete("/v2/base/manifests/1").expect_status(202);
    assert!(!told());
}

#[test]
fn a_referrer_whose_subject_is_not_here_is_taken_with_a_warning() {
    let registry = Fixture::new();
    registry.push_image("app", "v1", b"layer");
    let mut referrer = image(b"layer");
    referrer["artifactType"] = "application/x".into();
    let here = image(b"layer").to_string();
    for (subject, count) in [(here.as_bytes(), 0), (b"{}", 1)] {
        referrer["subject"] = descriptor(IMAGE, subject);
        let pushed = registry.put_manifest("app", "referrer", &referrer);
        pushed.expect_status(201);
        let texts = warnings(&pushed);
        assert_eq!(texts.len(), count, "{texts:?}");
        assert!(
            texts
                .iter()
                .all(|text| text.starts_with("the subject sha256:")),
            "{texts:?}"
        );
    }
}

#[test]
fn what_may_be_missing_is_named() {
    let registry = Fixture::with(|config| {
        config.sparse_indexes = true;
        config.sparse_images = true;
    });
    registry.push_image("app", "v1", b"layer");
    let here = descriptor(IMAGE, image(b"layer").to_string().as_bytes());
    let absent = descriptor(IMAGE, b"{\"a\":1}");
    let index = |children: &[&Value]| json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": children });
    let other = descriptor(IMAGE, b"{\"b\":1}");
    for (content, want) in [
        (index(&[&here]), None),
        (index(&[&here, &absent]), Some("which this manifest names")),
        (
            index(&[&absent, &other]),
            Some("2 of what this manifest names"),
        ),
        (image(b"layer"), None),
        (image(b"absent layer"), Some("which this manifest names")),
    ] {
        let pushed = registry.put_manifest("app", "x", &content);
        pushed.expect_status(201);
        let texts = warnings(&pushed);
        assert_eq!(texts.len(), usize::from(want.is_some()), "{texts:?}");
        assert!(want.is_none_or(|want| texts[0].contains(want)), "{texts:?}");
    }
}

#[test]
fn pushes_hear_of_a_disk_that_is_nearly_full_before_they_are_refused() {
    let disk = rustix::fs::statvfs(std::env::temp_dir()).expect("the disk");
    let free = disk.f_bavail * disk.f_frsize;
    for (reserve, want) in [(free / 4 * 3, 1), (free / 8, 0)] {
        let registry = Fixture::with(|config| {
            config.limits.reserve_bytes = reserve;
            config.limits.reserve_percent = 100;
        });
        let begun = registry.send("POST", "/v2/app/blobs/uploads/", &[], b"");
        begun.expect_status(202);
        registry.push_blob("app", b"{}");
        registry.push_blob("app", b"layer");
        let pushed = registry.put_manifest("app", "v1", &image(b"layer"));
        pushed.expect_status(201);
        for answer in [&begun, &pushed] {
            let texts = warnings(answer);
            assert_eq!(texts.len(), want, "{texts:?}");
            assert!(texts.iter().all(|text| text.contains("nearly full")));
        }
        // Pulls are none of it.
        assert!(warnings(&registry.get("/v2/app/manifests/v1")).is_empty());
    }
}
