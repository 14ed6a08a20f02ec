//! Collection beside pushes: nothing reachable goes, everything unreachable goes after its delay.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rbuild_image::{Digest, RepositoryName, Tag};
use rbuild_registry_server::clock::{Clock as _, ManualClock};
use rbuild_registry_server::config::{Collect, Limits};
use rbuild_registry_server::metadata::{Freed, ManifestName, Precondition, SqliteMetadata};
use rbuild_registry_server::service::{Content, Error, Parts, PushManifest, Registry, Sparse};
use rbuild_store::{BlobStore as _, Durability, FsBlobStore};
use serde_json::json;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_hours(1);

struct Fixture {
    registry: Registry,
    clock: Arc<ManualClock>,
    _directory: TempDir,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().expect("temporary directory");
    let clock = Arc::new(ManualClock::default());
    clock.advance(Duration::from_hours(24 * 365));
    let registry = Registry::new(Parts {
        blobs: FsBlobStore::open(directory.path(), Durability::Fast).expect("store"),
        metadata: Arc::new(
            SqliteMetadata::open(directory.path().join("meta.db")).expect("metadata"),
        ),
        clock: clock.clone(),
        limits: Limits {
            reserve_bytes: 0,
            ..Limits::STANDARD
        },
        collect: Collect {
            untagged: 10 * HOUR,
            unreferenced: 5 * HOUR,
            protect: HOUR,
            ..Collect::STANDARD
        },
        sparse: Sparse::default(),
        names: Vec::new(),
    })
    .expect("records");
    Fixture {
        registry,
        clock,
        _directory: directory,
    }
}

fn name(text: &str) -> RepositoryName {
    text.parse().expect("a name")
}

fn tag(text: &str) -> Tag {
    text.parse().expect("a tag")
}

/// Content number `number`; every third is large enough to be a file.
fn content(number: u8) -> Vec<u8> {
    let length = if number.is_multiple_of(3) { 70_000 } else { 10 };
    vec![number; length]
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": Digest::sha256(bytes).to_string(), "size": bytes.len() })
}

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn image(layers: &[u8], subject: Option<&[u8]>) -> Vec<u8> {
    let layers: Vec<_> = layers
        .iter()
        .map(|number| descriptor("application/x-layer", &content(*number)))
        .collect();
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": descriptor("application/x-config", &content(0)),
        "layers": layers,
    });
    if let Some(subject) = subject {
        manifest["subject"] = descriptor(IMAGE, subject);
    }
    manifest.to_string().into_bytes()
}

fn index(children: &[Vec<u8>]) -> Vec<u8> {
    let children: Vec<_> = children
        .iter()
        .map(|child| descriptor(IMAGE, child))
        .collect();
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": children })
        .to_string()
        .into_bytes()
}

impl Fixture {
    fn push_blob(&self, repository: &RepositoryName, number: u8) -> Digest {
        let bytes = content(number);
        let digest = Digest::sha256(&bytes);
        let mut writer = self
            .registry
            .write_blob(repository, digest.algorithm())
            .expect("writer");
        writer.write(&bytes).expect("write");
        writer.commit(digest).expect("commit");
        digest
    }

    fn push_manifest(
        &self,
        repository: &RepositoryName,
        bytes: &[u8],
        tags: &[&str],
    ) -> Result<Digest, Error> {
        self.registry
            .put_manifest(
                repository,
                PushManifest {
                    digest: None,
                    tags: tags.iter().map(|text| tag(text)).collect(),
                    precondition: Precondition::None,
                    content_type: None,
                    content: bytes.to_vec(),
                },
            )
            .map(|pushed| pushed.digest)
    }

    fn has_blob(&self, repository: &RepositoryName, number: u8) -> bool {
        let digest = Digest::sha256(content(number));
        match self.registry.open_blob(repository, &digest) {
            Ok(open) => {
                match open.content {
                    Content::Bytes(bytes) => assert_eq!(bytes, content(number)),
                    Content::Reader(reader) => {
                        assert_eq!(reader.size(), content(number).len() as u64);
                    }
                }
                true
            }
            Err(Error::BlobUnknown(_)) => false,
            Err(error) => {
                assert_eq!(error.to_string(), "", "the blob could not be read");
                false
            }
        }
    }

    fn has_manifest(&self, repository: &RepositoryName, bytes: &[u8]) -> bool {
        let name = ManifestName::Digest(Digest::sha256(bytes));
        self.registry.manifest(repository, &name).is_ok()
    }

    fn ingests(&self) -> usize {
        let mut count = 0;
        self.registry
            .blobs()
            .walk_ingests(&mut |_, _, _| count += 1)
            .expect("walk");
        count
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.registry.collect().expect("collect");
        self.registry.collect().expect("collect");
    }
}

#[test]
fn a_push_that_is_not_finished_is_forgotten_after_its_time() {
    let fixture = fixture();
    let a = name("a");
    fixture.push_blob(&a, 1);
    fixture.push_blob(&a, 3);
    let file = fixture
        .registry
        .blobs()
        .path_of(&Digest::sha256(content(3)));
    fixture.pass(HOUR / 2);
    assert!(fixture.has_blob(&a, 1) && fixture.has_blob(&a, 3) && file.exists());
    fixture.pass(HOUR);
    assert!(!fixture.has_blob(&a, 1) && !fixture.has_blob(&a, 3) && !file.exists());
    assert_eq!(
        fixture.registry.metadata().totals().expect("totals").blobs,
        0
    );
}

#[test]
fn who_was_told_that_a_blob_is_here_can_rely_on_it() {
    let fixture = fixture();
    let a = name("a");
    let digest = fixture.push_blob(&a, 0);
    for _ in 0..5 {
        fixture.pass(HOUR * 3 / 4);
        fixture.registry.stat_blob(&a, &digest).expect("still here");
    }
    fixture.pass(HOUR / 4);
    fixture
        .push_manifest(&a, &image(&[], None), &["v1"])
        .expect("taken");
    fixture.pass(100 * HOUR);
    assert!(fixture.has_blob(&a, 0));
}

#[test]
fn who_was_told_that_a_manifest_is_here_can_put_it_into_an_index() {
    let fixture = fixture();
    let a = name("a");
    fixture.push_blob(&a, 0);
    let child = image(&[], None);
    let digest = fixture.push_manifest(&a, &child, &[]).expect("taken");
    let by_digest = ManifestName::Digest(digest);
    fixture.pass(HOUR * 39 / 4);
    for _ in 0..3 {
        fixture
            .registry
            .stat_manifest(&a, &by_digest)
            .expect("still here");
        fixture.pass(HOUR * 3 / 4);
    }
    fixture
        .push_manifest(&a, &index(&[child]), &["v1"])
        .expect("taken");
    fixture.pass(100 * HOUR);
    assert!(fixture.registry.manifest(&a, &by_digest).is_ok());
}

/// A way to remove something from the repository, with the digest of the index that is in it.
type Remove = fn(&Fixture, &RepositoryName, &Digest) -> Freed;

#[test]
fn a_removal_tells_what_becomes_free_with_all_that_it_kept_and_when() {
    let tag_v1: Remove = |fixture, a, _| {
        let freed = fixture.registry.delete_tag(a, &tag("v1"));
        freed.expect("deleted")
    };
    let manifest: Remove = |fixture, a, index| {
        let freed = fixture.registry.delete_manifest(a, index);
        freed.expect("deleted")
    };
    // Blobs 0 (config of all) and 3 have 70,000 bytes, 1 and 2 have 10.
    for (remove, also, bytes, shared, hours) in [
        // The index, then its children, then what refers to one of those: 5 hours each, and 10 for the tag.
        (tag_v1, "", 140_020, 0, 25),
        (manifest, "", 140_020, 0, 15),
        // One child has a tag of its own, and keeps what refers to it.
        (manifest, "child", 10, 70_000, 10),
        (tag_v1, "child", 10, 70_000, 20),
        // What refers to the child has one.
        (manifest, "signature", 20, 70_000, 10),
        (tag_v1, "index", 0, 140_020, 15),
        (manifest, "mounted", 20, 140_000, 10),
    ] {
        let fixture = fixture();
        let (a, b) = (name("a"), name("b"));
        for number in 0..4 {
            fixture.push_blob(&a, number);
        }
        let children = vec![image(&[1], None), image(&[2], None)];
        let signature = image(&[3], Some(&children[0]));
        let all = index(&children);
        for pushed in children.iter().chain([&signature]) {
            fixture.push_manifest(&a, pushed, &[]).expect("taken");
        }
        let digest = fixture.push_manifest(&a, &all, &["v1"]).expect("taken");
        match also {
            "child" => drop(fixture.push_manifest(&a, &children[0], &["x"])),
            "signature" => drop(fixture.push_manifest(&a, &signature, &["x"])),
            "index" => drop(fixture.push_manifest(&a, &all, &["x"])),
            "mounted" => {
                fixture.push_blob(&b, 3);
                fixture.push_blob(&b, 0);
                let taken = fixture.push_manifest(&b, &image(&[3], None), &["x"]);
                taken.expect("taken");
            }
            _ => {}
        }
        // What was asked when it was pushed is answered by now.
        fixture.pass(20 * HOUR);
        let blob_bytes = || {
            fixture
                .registry
                .metadata()
                .totals()
                .expect("totals")
                .blob_bytes
        };
        let (before, now) = (blob_bytes(), fixture.clock.now());
        let freed = remove(&fixture, &a, &digest);
        let want = Freed {
            bytes,
            shared_bytes: shared,
            at: now.plus(hours * HOUR),
        };
        assert_eq!(freed, want, "{also}");
        for _ in 1..hours {
            fixture.pass(HOUR);
        }
        assert!(
            bytes == 0 || blob_bytes() > before - bytes,
            "{also}: earlier"
        );
        fixture.pass(HOUR);
        assert_eq!(blob_bytes(), before - bytes, "{also}");
    }
}

#[test]
fn children_and_referrers_of_what_is_tagged_stay_and_go_with_it() {
    let fixture = fixture();
    let a = name("a");
    for number in 0..4 {
        fixture.push_blob(&a, number);
    }
    let children = vec![image(&[1], None), image(&[2], None)];
    for child in &children {
        fixture.push_manifest(&a, child, &[]).expect("taken");
    }
    let all = index(&children);
    fixture.push_manifest(&a, &all, &["v1"]).expect("taken");
    let signature = image(&[3], Some(&children[0]));
    fixture.push_manifest(&a, &signature, &[]).expect("taken");
    fixture.pass(100 * HOUR);
    let everything = |kept: bool| {
        for manifest in children.iter().chain([&all, &signature]) {
            assert_eq!(fixture.has_manifest(&a, manifest), kept);
        }
        for number in 0..4 {
            assert_eq!(fixture.has_blob(&a, number), kept, "blob {number}");
        }
    };
    everything(true);
    let why = fixture
        .registry
        .metadata()
        .holders(
            &Digest::sha256(content(3)),
            rbuild_registry_server::clock::Moment(0),
        )
        .expect("holders");
    assert_eq!(why[0].tags, [tag("v1")]);
    assert_eq!(why[0].path.len(), 4, "{why:?}");
    fixture
        .registry
        .delete_tag(&a, &tag("v1"))
        .expect("deleted");
    fixture.pass(HOUR);
    everything(true);
    for _ in 0..10 {
        fixture.pass(10 * HOUR);
    }
    everything(false);
    assert_eq!(
        fixture
            .registry
            .metadata()
            .totals()
            .expect("totals")
            .reviews,
        0
    );
}

#[test]
fn a_blob_goes_only_when_no_repository_holds_it() {
    let fixture = fixture();
    let (a, b) = (name("a"), name("b"));
    for repository in [&a, &b] {
        fixture.push_blob(repository, 0);
        fixture.push_blob(repository, 3);
        fixture
            .push_manifest(repository, &image(&[3], None), &["v1"])
            .expect("taken");
    }
    let digest = Digest::sha256(image(&[3], None));
    let freed = fixture
        .registry
        .delete_manifest(&a, &digest)
        .expect("deleted");
    assert_eq!((freed.bytes, freed.shared_bytes), (0, 140_000));
    fixture.pass(6 * HOUR);
    assert!(!fixture.has_blob(&a, 3));
    assert!(fixture.has_blob(&b, 3));
    let freed = fixture
        .registry
        .delete_manifest(&b, &digest)
        .expect("deleted");
    assert_eq!((freed.bytes, freed.shared_bytes), (140_000, 0));
    fixture.pass(6 * HOUR);
    let file = fixture
        .registry
        .blobs()
        .path_of(&Digest::sha256(content(3)));
    assert!(!fixture.has_blob(&b, 3) && !file.exists());
}

#[test]
fn uploads_and_stray_files_are_swept() {
    let fixture = fixture();
    let a = name("a");
    let id = fixture
        .registry
        .start_upload(&a, rbuild_image::Algorithm::Sha256)
        .expect("started");
    let mut writer = fixture.registry.write_upload(&a, &id).expect("writer");
    writer.write(&vec![7; 200_000]).expect("write");
    assert_eq!(writer.suspend().expect("suspended"), 200_000);
    fixture.pass(23 * HOUR);
    assert_eq!(
        fixture.registry.upload_offset(&a, &id).expect("here"),
        200_000
    );
    fixture.pass(2 * HOUR);
    assert!(matches!(
        fixture.registry.upload_offset(&a, &id),
        Err(Error::UploadUnknown)
    ));
    assert_eq!(fixture.ingests(), 0);
}

#[test]
fn uploads_that_were_only_started_are_forgotten_however_many() {
    let fixture = fixture();
    let a = name("a");
    let start = || {
        fixture
            .registry
            .start_upload(&a, rbuild_image::Algorithm::Sha256)
            .expect("started")
    };
    let old: Vec<_> = (0..600).map(|_| start()).collect();
    let mut writer = fixture.registry.write_upload(&a, &old[300]).expect("open");
    fixture.pass(23 * HOUR);
    let young = start();
    fixture.pass(2 * HOUR);
    let empty = || fixture.registry.metadata().empty_uploads().expect("count");
    assert_eq!(empty(), 2);
    assert_eq!(fixture.registry.upload_offset(&a, &young).expect("here"), 0);
    // Somebody was about to write to it.
    writer.write(b"content").expect("write");
    assert_eq!(writer.suspend().expect("suspended"), 7);
    assert_eq!(empty(), 1);
}

#[test]
fn what_a_crash_left_behind_is_swept_and_what_is_in_use_is_not() {
    let fixture = fixture();
    let a = name("a");
    let store = fixture.registry.blobs();
    let mut leftover = store.ingest().expect("ingest");
    leftover.write_all(b"left over").expect("write");
    drop(leftover);
    let id = fixture
        .registry
        .start_upload(&a, rbuild_image::Algorithm::Sha256)
        .expect("started");
    let mut writer = fixture.registry.write_upload(&a, &id).expect("writer");
    writer.write(&vec![7; 200_000]).expect("write");
    writer.suspend().expect("suspended");
    let mut live = fixture
        .registry
        .write_blob(&a, rbuild_image::Algorithm::Sha256)
        .expect("writer");
    live.write(&vec![8; 200_000]).expect("write");
    assert_eq!(fixture.ingests(), 3);
    assert_eq!(fixture.registry.sweep_ingests().expect("young"), 0);
    // The files have the machine's time, which this clock is far behind.
    fixture.clock.advance(Duration::from_hours(24 * 365 * 100));
    assert_eq!(fixture.registry.sweep_ingests().expect("old"), 1);
    assert_eq!(fixture.ingests(), 2);
    let offset = fixture.registry.upload_offset(&a, &id).expect("here");
    assert_eq!(offset, 200_000);
    live.commit(Digest::sha256(vec![8; 200_000]))
        .expect("commit");
}

/// What a tag leads to: manifests, and the numbers of the blobs below them.
type Closure = (Vec<Vec<u8>>, Vec<u8>);

/// One step of a random life of a registry.
#[derive(Debug, Clone)]
enum Step {
    PushBlob(u8, u8),
    PushImage {
        repository: u8,
        layers: Vec<u8>,
        tag: Option<u8>,
    },
    PushIndex {
        repository: u8,
        children: Vec<u8>,
        tag: u8,
    },
    Mount(u8, u8),
    DeleteTag(u8, u8),
    DeleteManifest(u8, u8),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let repository = 0..2_u8;
    let number = 1..6_u8;
    let tag = 0..3_u8;
    prop_oneof![
        (repository.clone(), number.clone()).prop_map(|(r, n)| Step::PushBlob(r, n)),
        (
            repository.clone(),
            prop::collection::vec(number.clone(), 0..3),
            prop::option::of(tag.clone())
        )
            .prop_map(|(repository, layers, tag)| Step::PushImage {
                repository,
                layers,
                tag
            }),
        (
            repository.clone(),
            prop::collection::vec(number.clone(), 1..3),
            tag.clone()
        )
            .prop_map(|(repository, children, tag)| Step::PushIndex {
                repository,
                children,
                tag
            }),
        (repository.clone(), number.clone()).prop_map(|(r, n)| Step::Mount(r, n)),
        (repository.clone(), tag).prop_map(|(r, t)| Step::DeleteTag(r, t)),
        (repository, number).prop_map(|(r, n)| Step::DeleteManifest(r, n)),
        (1..8_u8).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_tagged_is_whole_and_the_rest_goes(steps in prop::collection::vec(step(), 1..40)) {
        let fixture = fixture();
        let repositories = [name("a"), name("b")];
        // What each tag must lead to: the manifests and the blob numbers below it.
        let mut tags: BTreeMap<(u8, u8), Closure> = BTreeMap::new();
        for step in steps {
            match step {
                Step::PushBlob(r, n) => {
                    fixture.push_blob(&repositories[usize::from(r)], n);
                }
                Step::PushImage { repository, layers, tag } => {
                    let target = &repositories[usize::from(repository)];
                    for number in layers.iter().chain([&0]) {
                        fixture.push_blob(target, *number);
                    }
                    let manifest = image(&layers, None);
                    let names: Vec<String> = tag.iter().map(|tag| format!("t{tag}")).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    fixture.push_manifest(target, &manifest, &names).expect("taken");
                    if let Some(tag) = tag {
                        let mut blobs = layers.clone();
                        blobs.push(0);
                        tags.insert((repository, tag), (vec![manifest], blobs));
                    }
                }
                Step::PushIndex { repository, children, tag } => {
                    let target = &repositories[usize::from(repository)];
                    let mut blobs = vec![0];
                    let mut manifests = Vec::new();
                    fixture.push_blob(target, 0);
                    for number in children {
                        fixture.push_blob(target, number);
                        let child = image(&[number], None);
                        fixture.push_manifest(target, &child, &[]).expect("taken");
                        blobs.push(number);
                        manifests.push(child);
                    }
                    let all = index(&manifests);
                    fixture.push_manifest(target, &all, &[&format!("t{tag}")]).expect("taken");
                    manifests.push(all);
                    tags.insert((repository, tag), (manifests, blobs));
                }
                Step::Mount(r, n) => {
                    let digest = Digest::sha256(content(n));
                    fixture.registry.mount_blob(&repositories[usize::from(r)], None, &digest).expect("mount");
                }
                Step::DeleteTag(r, t) => {
                    let deleted = fixture.registry.delete_tag(&repositories[usize::from(r)], &tag(&format!("t{t}")));
                    prop_assert_eq!(deleted.is_ok(), tags.remove(&(r, t)).is_some());
                }
                Step::DeleteManifest(r, n) => {
                    let manifest = image(&[n], None);
                    let digest = Digest::sha256(&manifest);
                    let deleted = fixture.registry.delete_manifest(&repositories[usize::from(r)], &digest);
                    if deleted.is_ok() {
                        tags.retain(|(repository, _), (manifests, _)| {
                            *repository != r || manifests.last() != Some(&manifest)
                        });
                    }
                }
                Step::Wait(hours) => fixture.pass(HOUR * u32::from(hours)),
            }
            for ((r, t), (manifests, blobs)) in &tags {
                let repository = &repositories[usize::from(*r)];
                let found = fixture.registry.manifest(repository, &ManifestName::Tag(tag(&format!("t{t}"))));
                prop_assert!(found.is_ok(), "tag t{t} of {repository} is lost");
                for manifest in manifests {
                    prop_assert!(fixture.has_manifest(repository, manifest));
                }
                for number in blobs {
                    prop_assert!(fixture.has_blob(repository, *number), "blob {number} of t{t} is lost");
                }
            }
        }
        for (r, t) in tags.keys() {
            fixture.registry.delete_tag(&repositories[usize::from(*r)], &tag(&format!("t{t}"))).expect("deleted");
        }
        for _ in 0..12 {
            fixture.pass(10 * HOUR);
        }
        let totals = fixture.registry.metadata().totals().expect("totals");
        prop_assert_eq!((totals.manifests, totals.blobs, totals.tags, totals.reviews), (0, 0, 0, 0));
        let mut files = 0;
        fixture.registry.blobs().walk(&mut |_| { files += 1; std::ops::ControlFlow::Continue(()) }).expect("walk");
        prop_assert_eq!(files, 0);
    }
}

#[test]
fn old_events_go_and_the_newest_stays() {
    let fixture = fixture();
    let repository = name("events");
    fixture.push_blob(&repository, 0);
    fixture
        .push_manifest(&repository, &image(&[0], None), &["v1"])
        .expect("pushed");
    let count = || {
        let events = fixture.registry.metadata().events(0, 100);
        events.expect("events").len()
    };
    assert_eq!(count(), 2);
    fixture.clock.advance(29 * 24 * HOUR);
    fixture.registry.collect().expect("collected");
    assert_eq!(count(), 2);
    fixture.clock.advance(2 * 24 * HOUR);
    fixture.registry.collect().expect("collected");
    assert_eq!(count(), 1);
}
