//! Whole lives of every kind of content: pushed, listed, asked for, pulled, referred to, deleted.
//!
//! The conformance program of the specification plays the same cases; it is written in Go and run by `cargo xtask conformance`, these run everywhere.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use rbuild_image::{Algorithm, Digest};
use serde_json::{Value, json};
use support::{Answer, Fixture, IMAGE, INDEX, bytes};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const KIND_A: &str = "application/vnd.example.a.v1";
const KIND_B: &str = "application/vnd.example.b.v1";

/// How a blob gets to the registry.
#[derive(Debug, Clone, Copy)]
enum Way {
    AtOnce,
    InThePut,
    Streamed,
    InChunks,
    LastChunkInThePut,
}

const WAYS: [Way; 5] = [
    Way::AtOnce,
    Way::InThePut,
    Way::Streamed,
    Way::InChunks,
    Way::LastChunkInThePut,
];

/// What a manifest is, and what the referrers of its subject must say of it.
struct Manifest {
    content: Vec<u8>,
    media_type: String,
    digest: Digest,
    tags: Vec<String>,
    subject: Option<String>,
    referrer: Value,
}

/// The content of one case, in the order in which it is pushed.
struct Content {
    algorithm: Algorithm,
    /// Tags come with the push by digest, as parameters.
    tags_as_parameters: bool,
    blobs: BTreeMap<Digest, Vec<u8>>,
    manifests: Vec<Manifest>,
    /// How many blobs were made up.
    made: usize,
}

impl Content {
    fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            tags_as_parameters: false,
            blobs: BTreeMap::new(),
            manifests: Vec::new(),
            made: 0,
        }
    }

    fn blob(&mut self, media_type: &str, content: &[u8]) -> Value {
        let digest = Digest::of(self.algorithm, content);
        self.blobs.insert(digest, content.to_vec());
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": content.len() })
    }

    /// Content that no other blob of the case has.
    fn fresh(&mut self, media_type: &str) -> Value {
        self.made += 1;
        let content = bytes(512 + self.made);
        self.blob(media_type, &content)
    }

    /// Adds a manifest and returns its descriptor.
    fn manifest(&mut self, manifest: &Value, tags: &[&str]) -> Value {
        let content = manifest.to_string().into_bytes();
        let media_type = manifest["mediaType"].as_str().expect("a type").to_owned();
        let digest = Digest::of(self.algorithm, &content);
        let descriptor = json!({
            "mediaType": media_type,
            "digest": digest.to_string(),
            "size": content.len(),
        });
        let mut referrer = descriptor.clone();
        let own = &manifest["artifactType"];
        let kind = if own.is_null() {
            &manifest["config"]["mediaType"]
        } else {
            own
        };
        referrer["artifactType"] = kind.clone();
        referrer["annotations"] = manifest["annotations"].clone();
        self.manifests.push(Manifest {
            content,
            media_type,
            digest,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            subject: manifest["subject"]["digest"].as_str().map(str::to_owned),
            referrer,
        });
        descriptor
    }

    /// A manifest of an image, not yet part of the case.
    fn image(&mut self) -> Value {
        let layers = [self.fresh(LAYER), self.fresh(LAYER)];
        json!({
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": self.fresh(CONFIG),
            "layers": layers,
        })
    }

    /// A manifest of an artifact of this kind.
    fn artifact(&mut self, kind: &str) -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "artifactType": kind,
            "config": self.blob(EMPTY, b"{}"),
            "layers": [self.fresh(kind)],
            "annotations": { "org.example.words": format!("about {kind}") },
        })
    }

    /// An index of two images; `change` is applied to them.
    fn index(&mut self, change: impl Fn(&mut Value)) -> Value {
        let children: Vec<Value> = ["amd64", "arm64"]
            .into_iter()
            .map(|architecture| {
                let mut image = self.image();
                change(&mut image);
                let mut child = self.manifest(&image, &[]);
                child["platform"] = json!({ "os": "linux", "architecture": architecture });
                child
            })
            .collect();
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": children })
    }

    /// Plays the whole life of the case in a registry of its own.
    fn live(&self) {
        self.live_in(&Fixture::new());
    }

    fn live_in(&self, registry: &Fixture) {
        for (number, (digest, content)) in self.blobs.iter().enumerate() {
            push_blob(registry, WAYS[number % WAYS.len()], digest, content);
        }
        for manifest in &self.manifests {
            self.push_manifest(registry, manifest);
        }
        self.check_tags(registry);
        self.check_content(registry);
        self.check_referrers(registry);
        self.delete(registry);
    }

    fn push_manifest(&self, registry: &Fixture, manifest: &Manifest) {
        let put = |reference: &str| {
            let answer = registry.send(
                "PUT",
                &format!("/v2/a/manifests/{reference}"),
                &[("Content-Type", &manifest.media_type)],
                &manifest.content,
            );
            answer.expect_status(201);
            check_digest(&answer, &manifest.digest);
            assert_eq!(answer.header("oci-subject"), manifest.subject.as_deref());
            let place = answer.header("location").expect("a place");
            check_manifest(registry, place, manifest);
            answer
        };
        if self.tags_as_parameters {
            let parameters: Vec<String> = manifest
                .tags
                .iter()
                .map(|tag| format!("tag={tag}"))
                .collect();
            let answer = put(&format!("{}?{}", manifest.digest, parameters.join("&")));
            let set: BTreeSet<&str> = answer
                .all("oci-tag")
                .iter()
                .flat_map(|value| value.split(',').map(str::trim))
                .collect();
            let asked: BTreeSet<&str> = manifest.tags.iter().map(String::as_str).collect();
            assert_eq!(set, asked);
            return;
        }
        put(&manifest.digest.to_string());
        for tag in &manifest.tags {
            put(tag);
        }
    }

    fn tags(&self) -> Vec<&str> {
        let tags: BTreeSet<&str> = self
            .manifests
            .iter()
            .flat_map(|manifest| manifest.tags.iter().map(String::as_str))
            .collect();
        tags.into_iter().collect()
    }

    fn check_tags(&self, registry: &Fixture) {
        let list = |parameters: &str| {
            let answer = registry.get(&format!("/v2/a/tags/list{parameters}"));
            answer.expect_status(200);
            answer.json()["tags"].clone()
        };
        let tags = self.tags();
        assert_eq!(list(""), json!(tags));
        for (number, last) in tags.iter().enumerate() {
            assert_eq!(
                list(&format!("?last={last}")),
                json!(tags[number + 1..]),
                "{last}"
            );
        }
    }

    fn check_content(&self, registry: &Fixture) {
        for manifest in &self.manifests {
            let digest = manifest.digest.to_string();
            for reference in manifest.tags.iter().chain([&digest]) {
                check_manifest(registry, &format!("/v2/a/manifests/{reference}"), manifest);
            }
        }
        for (digest, content) in &self.blobs {
            let path = format!("/v2/a/blobs/{digest}");
            for answer in [registry.head(&path), registry.get(&path)] {
                answer.expect_status(200);
                check_digest(&answer, digest);
                let length = content.len().to_string();
                assert_eq!(answer.header("content-length"), Some(length.as_str()));
            }
            assert!(registry.get(&path).body == *content);
        }
    }

    fn check_referrers(&self, registry: &Fixture) {
        let mut subjects: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for manifest in &self.manifests {
            if let Some(subject) = &manifest.subject {
                subjects
                    .entry(subject)
                    .or_default()
                    .push(&manifest.referrer);
            }
        }
        for (subject, referrers) in subjects {
            let path = format!("/v2/a/referrers/{subject}");
            check_list(&registry.get(&path), &referrers);
            let kinds: BTreeSet<&str> = referrers
                .iter()
                .filter_map(|referrer| referrer["artifactType"].as_str())
                .collect();
            for kind in kinds {
                let escaped = kind.replace('+', "%2B");
                let answer = registry.get(&format!("{path}?artifactType={escaped}"));
                assert_eq!(answer.header("oci-filters-applied"), Some("artifactType"));
                let of_kind: Vec<&Value> = referrers
                    .iter()
                    .filter(|referrer| referrer["artifactType"] == kind)
                    .copied()
                    .collect();
                check_list(&answer, &of_kind);
            }
        }
    }

    /// Deletes everything, parents before children; each thing is gone as soon as the answer is there.
    fn delete(&self, registry: &Fixture) {
        let tags = self.tags();
        let digests = self
            .manifests
            .iter()
            .rev()
            .map(|manifest| manifest.digest.to_string());
        let manifests = tags
            .iter()
            .map(|tag| (*tag).to_owned())
            .chain(digests)
            .map(|reference| format!("/v2/a/manifests/{reference}"));
        let blobs = self
            .blobs
            .keys()
            .map(|digest| format!("/v2/a/blobs/{digest}"));
        for path in manifests.chain(blobs) {
            registry.delete(&path).expect_status(202);
            registry.head(&path).expect_status(404);
        }
        let left = registry.get("/v2/a/tags/list");
        assert_eq!(left.json()["tags"], json!([]));
    }
}

fn push_blob(registry: &Fixture, way: Way, digest: &Digest, content: &[u8]) {
    let send = |method: &str, path: &str, place: Option<(usize, usize)>, body: &[u8]| {
        let place = place.map(|(start, end)| format!("{start}-{}", end - 1));
        let range = place.as_deref().map(|text| ("Content-Range", text));
        registry.send(method, path, range.as_slice(), body)
    };
    let answer = if matches!(way, Way::AtOnce) {
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        send("POST", &path, None, content)
    } else {
        let upload = registry.start("a");
        let last = format!("{upload}?digest={digest}");
        let half = content.len() / 2;
        let (first, second) = content.split_at(half);
        match way {
            Way::AtOnce | Way::InThePut => send("PUT", &last, None, content),
            Way::Streamed => {
                send("PATCH", &upload, None, content).expect_status(202);
                send("PUT", &last, None, b"")
            }
            Way::InChunks | Way::LastChunkInThePut if content.len() < 2 => {
                send("PUT", &last, None, content)
            }
            Way::InChunks | Way::LastChunkInThePut => {
                let end = content.len();
                send("PATCH", &upload, Some((half, end)), second).expect_status(416);
                send("PATCH", &upload, Some((0, half)), first).expect_status(202);
                send("PATCH", &upload, Some((0, half)), first).expect_status(416);
                let state = registry.get(&upload);
                state.expect_status(204);
                let place = format!("0-{}", half - 1);
                assert_eq!(state.header("range"), Some(place.as_str()));
                if matches!(way, Way::InChunks) {
                    send("PATCH", &upload, Some((half, end)), second).expect_status(202);
                    send("PUT", &last, None, b"")
                } else {
                    send("PUT", &last, Some((0, half)), first).expect_status(416);
                    send("PUT", &last, Some((half, end)), second)
                }
            }
        }
    };
    answer.expect_status(201);
    check_digest(&answer, digest);
    let place = answer.header("location").expect("a place");
    assert!(registry.get(place).body == content, "{way:?}");
}

fn check_digest(answer: &Answer, digest: &Digest) {
    let digest = digest.to_string();
    assert_eq!(
        answer.header("docker-content-digest"),
        Some(digest.as_str())
    );
}

fn check_manifest(registry: &Fixture, path: &str, manifest: &Manifest) {
    let accept = [("Accept", INDEX), ("Accept", IMAGE)];
    for method in ["HEAD", "GET"] {
        let answer = registry.send(method, path, &accept, b"");
        answer.expect_status(200);
        check_digest(&answer, &manifest.digest);
        assert_eq!(
            answer.header("content-type"),
            Some(manifest.media_type.as_str())
        );
        let length = manifest.content.len().to_string();
        assert_eq!(answer.header("content-length"), Some(length.as_str()));
        if method == "GET" {
            assert!(answer.body == manifest.content, "{path}");
        }
    }
}

/// An answer of the referrers, in any order.
fn check_list(answer: &Answer, referrers: &[&Value]) {
    answer.expect_status(200);
    assert_eq!(answer.header("content-type"), Some(INDEX));
    let index = answer.json();
    assert_eq!(index["schemaVersion"], 2);
    assert_eq!(index["mediaType"], INDEX);
    let sorted = |list: Vec<&Value>| {
        let mut list: Vec<Value> = list.into_iter().cloned().collect();
        list.sort_by_key(|entry| entry["digest"].to_string());
        // What is not there and what is null say the same here.
        for entry in &mut list {
            if let Some(fields) = entry.as_object_mut() {
                fields.retain(|_, value| !value.is_null());
            }
        }
        list
    };
    let got = index["manifests"].as_array().expect("a list");
    assert_eq!(
        sorted(got.iter().collect()),
        sorted(referrers.to_vec()),
        "{}",
        answer.text()
    );
}

const BOTH: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

#[test]
fn an_image() {
    for algorithm in BOTH {
        let mut content = Content::new(algorithm);
        let image = content.image();
        let tags: &[&str] = match algorithm {
            // A tag names the SHA-256 of what is pushed by it.
            Algorithm::Sha256 => &["image", "Image", "_image-1.0"],
            Algorithm::Sha512 => &[],
        };
        content.manifest(&image, tags);
        content.live();
    }
}

#[test]
fn an_image_whose_manifest_is_almost_as_long_as_allowed() {
    let mut content = Content::new(Algorithm::Sha256);
    let mut image = content.image();
    let long = "A".repeat(10_000);
    let annotations: BTreeMap<String, &str> = (0..390)
        .map(|number| (format!("annotation-{number}"), long.as_str()))
        .collect();
    image["annotations"] = json!(annotations);
    content.manifest(&image, &["large"]);
    content.live();
}

#[test]
fn an_index_and_an_index_of_indexes_and_an_empty_one() {
    for algorithm in BOTH {
        let mut content = Content::new(algorithm);
        let tags: &[&str] = match algorithm {
            Algorithm::Sha256 => &["nested"],
            Algorithm::Sha512 => &[],
        };
        let (one, two) = (content.index(|_| {}), content.index(|_| {}));
        let (one, two) = (content.manifest(&one, &[]), content.manifest(&two, &[]));
        let empty = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] });
        let none = content.manifest(&empty, &[]);
        let nested =
            json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [one, two, none] });
        content.manifest(&nested, tags);
        content.live();
    }
}

#[test]
fn artifacts_with_and_without_content_and_an_index_of_them() {
    let mut content = Content::new(Algorithm::Sha256);
    let artifact = content.artifact(KIND_A);
    let first = content.manifest(&artifact, &["artifact"]);
    let mut hollow = content.artifact(KIND_B);
    hollow["layers"] = json!([hollow["config"]]);
    let second = content.manifest(&hollow, &["hollow"]);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "artifactType": KIND_A,
        "manifests": [first, second],
    });
    content.manifest(&index, &["artifacts"]);
    content.live();
}

#[test]
fn artifacts_that_refer_to_an_image() {
    let mut content = Content::new(Algorithm::Sha256);
    let image = content.image();
    let subject = content.manifest(&image, &["image"]);
    let mut plain = content.image();
    plain["subject"] = subject.clone();
    content.manifest(&plain, &[]);
    for kind in [KIND_A, KIND_B] {
        let mut artifact = content.artifact(kind);
        artifact["subject"] = subject.clone();
        content.manifest(&artifact, &[&kind[kind.len() - 4..]]);
    }
    content.live();
}

#[test]
fn indexes_and_their_children_that_refer_to_an_index() {
    let mut content = Content::new(Algorithm::Sha256);
    let index = content.index(|_| {});
    let subject = content.manifest(&index, &["index"]);
    let mut referrer = content.index(|child| {
        child["artifactType"] = json!(KIND_B);
        child["subject"] = subject.clone();
    });
    referrer["artifactType"] = json!(KIND_A);
    referrer["annotations"] = json!({ "org.example.words": "about an index" });
    referrer["subject"] = subject.clone();
    content.manifest(&referrer, &["referrer"]);
    content.live();
}

#[test]
fn an_artifact_that_refers_to_what_is_not_here() {
    for algorithm in BOTH {
        let mut content = Content::new(algorithm);
        let mut artifact = content.artifact(KIND_A);
        artifact["subject"] = json!({
            "mediaType": IMAGE,
            "digest": Digest::of(algorithm, b"nothing").to_string(),
            "size": 7,
        });
        content.manifest(&artifact, &[]);
        content.live();
    }
}

#[test]
fn data_in_descriptors_and_fields_that_nobody_knows() {
    let mut content = Content::new(Algorithm::Sha256);
    let mut image = content.image();
    image["config"]["data"] = json!("e30=");
    image["layers"][0]["data"] = json!("AAEC");
    image["org.example.field"] = json!({ "deep": [1, 2.5, null, "text"] });
    content.manifest(&image, &["image"]);
    let mut index = content.index(|child| child["org.example.child"] = json!("text"));
    index["org.example.index"] = json!(true);
    index["manifests"][0]["org.example.descriptor"] = json!("text");
    content.manifest(&index, &["index"]);
    content.live();
}

#[test]
fn layers_that_lie_elsewhere_and_no_layers() {
    let mut content = Content::new(Algorithm::Sha256);
    let mut image = content.image();
    for (kind, name) in [("tar", b"first"), ("tar+gzip", b"other")] {
        let digest = Digest::sha256(name);
        let foreign = json!({
            "mediaType": format!("application/vnd.oci.image.layer.nondistributable.v1.{kind}"),
            "digest": digest.to_string(),
            "size": 123_456,
            "urls": [format!("https://store.example.com/blobs/{digest}")],
        });
        image["layers"]
            .as_array_mut()
            .expect("a list")
            .push(foreign);
    }
    content.manifest(&image, &["foreign"]);
    let mut bare = content.image();
    for layer in bare["layers"].as_array().cloned().unwrap_or_default() {
        let digest = layer["digest"].as_str().and_then(|text| text.parse().ok());
        content.blobs.remove(&digest.expect("a digest"));
    }
    bare["layers"] = json!([]);
    content.manifest(&bare, &["bare"]);
    content.live();
}

#[test]
fn tags_that_come_as_parameters() {
    for algorithm in BOTH {
        let mut content = Content::new(algorithm);
        content.tags_as_parameters = true;
        let index = content.index(|_| {});
        content.manifest(&index, &["all", "everything", "v1.0"]);
        for (manifest, tag) in content.manifests.iter_mut().zip(["one", "two"]) {
            manifest.tags.push(tag.to_owned());
        }
        content.live();
    }
}

#[test]
fn sparse_content_where_it_is_allowed() {
    let registry = Fixture::with(|config| {
        config.sparse_indexes = true;
        config.sparse_images = true;
    });
    let mut content = Content::new(Algorithm::Sha256);
    let image = content.image();
    let layer = image["layers"][0]["digest"].as_str();
    let missing = layer.and_then(|text| text.parse().ok());
    content.blobs.remove(&missing.expect("a digest"));
    content.manifest(&image, &["image"]);
    let mut index = content.index(|_| {});
    index["manifests"]
        .as_array_mut()
        .expect("a list")
        .push(json!({
            "mediaType": IMAGE,
            "digest": Digest::sha256(b"not here").to_string(),
            "size": 1024,
        }));
    content.manifest(&index, &["index"]);
    content.live_in(&registry);
}

#[test]
fn well_known_blobs() {
    for algorithm in BOTH {
        let mut content = Content::new(algorithm);
        content.blob(EMPTY, b"{}");
        content.blob("text/plain", b"");
        let registry = Fixture::new();
        for way in WAYS {
            for (digest, blob) in &content.blobs {
                push_blob(&registry, way, digest, blob);
            }
        }
        content.check_content(&registry);
        content.delete(&registry);
    }
}

#[test]
fn another_digest_than_promised_is_refused_in_every_way() {
    let registry = Fixture::new();
    for algorithm in BOTH {
        let content = bytes(3000);
        let digest = Digest::of(algorithm, b"something else");
        let at_once = format!("/v2/a/blobs/uploads/?digest={digest}");
        registry
            .send("POST", &at_once, &[], &content)
            .expect_error(400, "DIGEST_INVALID");
        for (patched, put) in [(0, 3000), (3000, 0), (1500, 1500)] {
            let upload = registry.start("a");
            if patched > 0 {
                registry
                    .send("PATCH", &upload, &[], &content[..patched])
                    .expect_status(202);
            }
            let last = format!("{upload}?digest={digest}");
            registry
                .send("PUT", &last, &[], &content[3000 - put..])
                .expect_error(400, "DIGEST_INVALID");
        }
        registry
            .get(&format!("/v2/a/blobs/{digest}"))
            .expect_error(404, "BLOB_UNKNOWN");

        let mut images = Content::new(algorithm);
        let image = images.image();
        images.manifest(&image, &[]);
        for (digest, blob) in &images.blobs {
            push_blob(&registry, Way::AtOnce, digest, blob);
        }
        let manifest = &images.manifests[0];
        let padded = [manifest.content.as_slice(), b"  "].concat();
        let headers = [("Content-Type", IMAGE)];
        for (reference, body) in [
            (manifest.digest.to_string(), &padded),
            ("sha256:baddigeststring".to_owned(), &manifest.content),
        ] {
            let path = format!("/v2/a/manifests/{reference}");
            registry
                .send("PUT", &path, &headers, body)
                .expect_status(400);
            let status = registry.get(&path).status;
            assert!(matches!(status, 400 | 404), "{status}");
        }
    }
}

#[test]
fn what_is_not_here_is_not_found_and_empty_lists_are_lists() {
    let registry = Fixture::new();
    let digest = Digest::sha256(b"nothing");
    for method in ["GET", "HEAD"] {
        for path in [
            format!("/v2/a/blobs/{digest}"),
            format!("/v2/a/manifests/{digest}"),
            "/v2/a/manifests/nothing".to_owned(),
        ] {
            registry.send(method, &path, &[], b"").expect_status(404);
        }
    }
    check_list(&registry.get(&format!("/v2/a/referrers/{digest}")), &[]);
    assert!(matches!(registry.get("/v2/a/tags/list").status, 200 | 404));
}
