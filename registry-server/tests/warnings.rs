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
