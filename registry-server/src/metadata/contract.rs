//! The promises of [`MetadataStore`]: each by name, and then both stores side by side through random lives.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use rbuild_image::{Algorithm, Digest, RepositoryName, Tag};
use rbuild_store::{BlobInfo, IngestId};

use super::*;
use crate::clock::Moment;

const DELAYS: Delays = Delays {
    untagged: Duration::from_millis(50),
    unreferenced: Duration::from_millis(20),
};

fn name(text: &str) -> RepositoryName {
    text.parse().expect("a name")
}

fn tag(text: &str) -> Tag {
    text.parse().expect("a tag")
}

fn blob(number: u8) -> (BlobInfo, Vec<u8>) {
    let content = vec![number; usize::from(number) + 1];
    let info = BlobInfo {
        digest: Digest::sha256(&content),
        size: content.len() as u64,
    };
    (info, content)
}

fn manifest(
    number: u8,
    edges: Vec<Edge>,
    subject: Option<Digest>,
    tags: &[&str],
    now: i64,
) -> NewManifest {
    let content = format!("manifest {number} {edges:?} {subject:?}").into_bytes();
    NewManifest {
        record: ManifestRecord {
            digest: Digest::sha256(&content),
            media_type: "application/x-manifest".to_owned(),
            artifact_type: number
                .is_multiple_of(2)
                .then(|| "application/x-even".to_owned()),
            annotations: None,
            subject,
            content,
        },
        edges,
        tags: tags.iter().map(|text| tag(text)).collect(),
        precondition: Precondition::None,
        now: Moment(now),
        protected_until: Moment(now + 10),
    }
}

fn edge(target: Digest, kind: EdgeKind, size: u64) -> Edge {
    Edge {
        target,
        kind,
        size,
        required: true,
    }
}

fn put(store: &dyn MetadataStore, repository: &str, number: u8, now: i64) -> BlobInfo {
    let (info, content) = blob(number);
    store
        .put_blob(
            &name(repository),
            info,
            Some(&content),
            None,
            Moment(now),
            Moment(now + 10),
        )
        .expect("put");
    info
}

fn check(store: &dyn MetadataStore) {
    a_blob_belongs_to_its_repository(store);
    a_refused_manifest_changes_nothing(store);
    tags_move_as_one(store);
    a_tag_that_leads_elsewhere_tells_where(store);
    tags_are_listed_by_name_and_by_push(store);
    an_upload_is_what_was_last_put(store);
    uploads_that_have_received_nothing_are_counted(store);
    events_tell_what_happened_and_in_which_order(store);
    a_repository_that_holds_nothing_is_not_listed(store);
}

fn a_repository_that_holds_nothing_is_not_listed(store: &dyn MetadataStore) {
    let own = name("listed/a");
    let listed = || {
        let page = store.repositories(Some("listed/"), 1).expect("listed");
        page.entries.contains(&own)
    };
    assert!(!listed());
    let info = put(store, "listed/a", 60, 0);
    assert!(listed());
    store
        .put_manifest(&own, &manifest(61, Vec::new(), None, &[], 0), DELAYS)
        .expect("put");
    store
        .unlink_blob(&own, &info.digest, Moment(0), DELAYS)
        .expect("unlinked");
    assert!(listed());
    let digest = manifest(61, Vec::new(), None, &[], 0).record.digest;
    store
        .delete_manifest(&own, &digest, Moment(0), DELAYS)
        .expect("deleted");
    assert!(!listed());
    // It is known all the same: what was pushed to it is gone, and not its name.
    assert!(store.has_repository(&own).expect("known"));
    put(store, "listed/a", 60, 0);
    assert!(listed());
}

fn a_tag_that_leads_elsewhere_tells_where(store: &dyn MetadataStore) {
    let own = name("base");
    let child_of = |child: &NewManifest| {
        let record = &child.record;
        let size = record.content.len() as u64;
        vec![edge(record.digest, EdgeKind::Manifest, size)]
    };
    let old = manifest(1, Vec::new(), None, &["a"], 0);
    let index = manifest(2, child_of(&old), None, &["b"], 0);
    let nested = manifest(3, child_of(&index), None, &["c"], 0);
    let new = manifest(4, Vec::new(), None, &["d"], 0);
    for pushed in [&old, &index, &nested, &new] {
        store.put_manifest(&own, pushed, DELAYS).expect("put");
    }
    let digests = [&old, &index, &nested, &new].map(|pushed| pushed.record.digest);
    for (at, text) in ["a", "b", "c", "d"].into_iter().enumerate() {
        for (from, before) in digests.iter().enumerate() {
            let moved = store.moved_tag(&own, &tag(text), before).expect("tag");
            // The first three stand in each other.
            let leads_there = from == at || from < at && at < 3;
            let want = (!leads_there).then(|| digests[at]);
            assert_eq!(moved, want, "{text} {from}");
        }
    }
    for (repository, text) in [("base", "none"), ("no-base", "a")] {
        let moved = store.moved_tag(&name(repository), &tag(text), &digests[3]);
        assert_eq!(moved.expect("tag"), None);
    }
}

fn a_blob_belongs_to_its_repository(store: &dyn MetadataStore) {
    let info = put(store, "own/a", 1, 0);
    let (_, content) = blob(1);
    let found = store
        .blob(&name("own/a"), &info.digest, true)
        .expect("blob");
    assert_eq!(found.and_then(|record| record.content), Some(content));
    assert_eq!(
        store
            .blob(&name("own/b"), &info.digest, true)
            .expect("blob"),
        None
    );
    let mount = |from: Option<&str>| {
        let from = from.map(name);
        store
            .mount_blob(
                &name("own/b"),
                from.as_ref(),
                &info.digest,
                Moment(0),
                Moment(10),
            )
            .expect("mount")
    };
    assert_eq!(mount(Some("own/c")), None);
    assert!(!store.has_repository(&name("own/b")).expect("has"));
    assert_eq!(mount(Some("own/a")), Some(info));
    assert!(
        store
            .blob(&name("own/b"), &info.digest, false)
            .expect("blob")
            .is_some()
    );
    assert!(store.knows_blob(&info.digest).expect("knows"));
    assert!(!store.forget_blob(&info.digest).expect("held"));
}

fn a_refused_manifest_changes_nothing(store: &dyn MetadataStore) {
    let info = put(store, "refuse", 2, 0);
    let unknown = Digest::sha256(b"unknown");
    let before = store.totals().expect("totals");
    let cases = [
        (vec![edge(unknown, EdgeKind::Blob, 1)], "missing"),
        (
            vec![edge(info.digest, EdgeKind::Manifest, info.size)],
            "missing",
        ),
        (
            vec![edge(info.digest, EdgeKind::Blob, info.size + 1)],
            "wrong size",
        ),
    ];
    for (edges, why) in cases {
        let new = manifest(0, edges, None, &["v1"], 0);
        let outcome = store
            .put_manifest(&name("refuse"), &new, DELAYS)
            .expect("put");
        match why {
            "missing" => assert!(matches!(outcome, PutManifest::Missing(_)), "{outcome:?}"),
            _ => assert!(
                matches!(outcome, PutManifest::WrongSize { .. }),
                "{outcome:?}"
            ),
        }
    }
    let mut new = manifest(0, Vec::new(), None, &["v1"], 0);
    new.precondition = Precondition::Exists;
    let outcome = store
        .put_manifest(&name("refuse"), &new, DELAYS)
        .expect("put");
    assert!(matches!(
        outcome,
        PutManifest::PreconditionFailed { current: None, .. }
    ));
    assert_eq!(store.totals().expect("totals"), before);
    let mut optional = edge(unknown, EdgeKind::Blob, 1);
    optional.required = false;
    let new = manifest(0, vec![optional], None, &[], 0);
    let outcome = store
        .put_manifest(&name("refuse"), &new, DELAYS)
        .expect("put");
    assert_eq!(outcome, PutManifest::Stored);
}

fn tags_move_as_one(store: &dyn MetadataStore) {
    let repository = name("tags");
    let first = manifest(1, Vec::new(), None, &["a", "b"], 0);
    let mut second = manifest(2, Vec::new(), None, &["b", "c"], 0);
    store
        .put_manifest(&repository, &first, DELAYS)
        .expect("put");
    second.precondition = Precondition::Matches(vec![first.record.digest]);
    let outcome = store
        .put_manifest(&repository, &second, DELAYS)
        .expect("put");
    assert!(matches!(
        outcome,
        PutManifest::PreconditionFailed { current: None, .. }
    ));
    let at = |text: &str| {
        let name = ManifestName::Tag(tag(text));
        store
            .manifest(&repository, &name)
            .expect("manifest")
            .map(|record| record.digest)
    };
    assert_eq!(at("b"), Some(first.record.digest));
    second.precondition = Precondition::None;
    store
        .put_manifest(&repository, &second, DELAYS)
        .expect("put");
    assert_eq!(
        [at("a"), at("b"), at("c")],
        [
            Some(first.record.digest),
            Some(second.record.digest),
            Some(second.record.digest),
        ]
    );
    let behind = listed(
        store,
        &repository,
        TagOrder::Name(Some("a".to_owned())),
        None,
        1,
    );
    assert_eq!(behind, (vec!["b".to_owned()], true));
}

/// The names of a list, and whether there are more.
fn listed(
    store: &dyn MetadataStore,
    repository: &RepositoryName,
    order: TagOrder,
    filter: Option<&str>,
    limit: usize,
) -> (Vec<String>, bool) {
    let list = TagList {
        order,
        filter: filter.map(TagFilter::new),
        limit,
    };
    let page = store.tags(repository, &list).expect("tags").expect("here");
    let names = page.entries.iter().map(|record| record.tag.to_string());
    (names.collect(), page.more)
}

fn tags_are_listed_by_name_and_by_push(store: &dyn MetadataStore) {
    let repository = name("listed");
    for (number, tags, now) in [
        (1, &["v1", "v2"][..], 100),
        (2, &["v3", "w1"], 300),
        (3, &["v1"], 200),
    ] {
        let new = manifest(number, Vec::new(), None, tags, now);
        store.put_manifest(&repository, &new, DELAYS).expect("put");
    }
    let list = |order, filter, limit| listed(store, &repository, order, filter, limit);
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let newest = |at: i64, name: &str| TagOrder::Newest(Some((Moment(at), name.to_owned())));
    let cases = [
        (
            list(TagOrder::Name(None), None, 9),
            owned(&["v1", "v2", "v3", "w1"]),
            false,
        ),
        (
            list(TagOrder::Name(None), Some("v*"), 2),
            owned(&["v1", "v2"]),
            true,
        ),
        (
            list(TagOrder::Name(None), Some("1"), 2),
            owned(&["v1", "w1"]),
            false,
        ),
        (list(TagOrder::Name(None), None, 0), owned(&[]), true),
        (
            list(TagOrder::Newest(None), None, 9),
            owned(&["v3", "w1", "v1", "v2"]),
            false,
        ),
        (list(newest(300, "v3"), None, 2), owned(&["w1", "v1"]), true),
        (
            list(newest(250, "gone"), None, 9),
            owned(&["v1", "v2"]),
            false,
        ),
        (
            list(TagOrder::Newest(None), Some("v"), 2),
            owned(&["v3", "v1"]),
            true,
        ),
    ];
    for (number, (found, names, more)) in cases.into_iter().enumerate() {
        assert_eq!(found, (names, more), "case {number}");
    }
}

fn events_tell_what_happened_and_in_which_order(store: &dyn MetadataStore) {
    let start = store
        .events(0, usize::MAX >> 1)
        .expect("events")
        .last()
        .map_or(0, |event| event.number);
    let repository = name("events");
    let first = manifest(1, Vec::new(), None, &["a", "b"], 100);
    let second = manifest(2, Vec::new(), None, &["b"], 200);
    let third = manifest(3, Vec::new(), None, &[], 300);
    let refused = manifest(
        4,
        vec![edge(Digest::sha256(b"unknown"), EdgeKind::Blob, 1)],
        None,
        &["a"],
        250,
    );
    for new in [&first, &second, &second, &refused, &third] {
        store.put_manifest(&repository, new, DELAYS).expect("put");
    }
    store
        .delete_tag(&repository, &tag("a"), Moment(400), DELAYS)
        .expect("untagged");
    store
        .delete_tag(&repository, &tag("a"), Moment(410), DELAYS)
        .expect("no such tag");
    store
        .delete_manifest(&repository, &second.record.digest, Moment(500), DELAYS)
        .expect("deleted");
    store.review(Moment(10_000), DELAYS, 100).expect("reviewed");
    let [one, two, three] = [&first, &second, &third].map(|new| new.record.digest);
    let tagged = |text: &str, digest, previous| Change::Tagged {
        tag: tag(text),
        digest,
        previous,
    };
    let untagged = |text: &str, digest| Change::Untagged {
        tag: tag(text),
        digest,
    };
    let events = store.events(start, 100).expect("events");
    let told: Vec<_> = events
        .iter()
        // The review also looks at what other promises left behind.
        .filter(|event| event.repository == repository)
        .map(|event| (event.at.0, event.change.clone()))
        .collect();
    let collected: BTreeSet<_> = told[told.len() - 2..].iter().cloned().collect();
    assert_eq!(
        told[..told.len() - 2],
        [
            (100, Change::Pushed { digest: one }),
            (100, tagged("a", one, None)),
            (100, tagged("b", one, None)),
            (200, Change::Pushed { digest: two }),
            (200, tagged("b", two, Some(one))),
            (200, Change::Pushed { digest: two }),
            (300, Change::Pushed { digest: three }),
            (400, untagged("a", one)),
            (500, untagged("b", two)),
            (500, Change::Deleted { digest: two }),
        ]
    );
    // Which of several that are due comes first is left open.
    assert_eq!(
        collected,
        BTreeSet::from([
            (10_000, Change::Collected { digest: one }),
            (10_000, Change::Collected { digest: three }),
        ])
    );
    let numbers: Vec<u64> = events.iter().map(|event| event.number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(
        store.events(numbers[2], 2).expect("events"),
        events[3..5],
        "a part of the list"
    );
    // Old ones go, but the newest keeps its number from being given again.
    let newest = numbers.last().copied().expect("events");
    store.forget_events(Moment(100_000)).expect("forgotten");
    assert_eq!(store.forget_events(Moment(100_000)).expect("none left"), 0);
    let left: Vec<u64> = store
        .events(0, 100)
        .expect("events")
        .iter()
        .map(|event| event.number)
        .collect();
    assert_eq!(left, [newest]);
    store
        .put_manifest(&repository, &third, DELAYS)
        .expect("put");
    let next = store.events(newest, 100).expect("events");
    assert_eq!(next.len(), 1);
    assert!(next[0].number > newest);
}

fn an_upload_is_what_was_last_put(store: &dyn MetadataStore) {
    let id = IngestId::random().expect("id");
    let mut upload = UploadRecord {
        id: id.clone(),
        repository: name("upload"),
        algorithm: Algorithm::Sha512,
        received: Received::Here(b"few".to_vec()),
        touched_at: Moment(1),
    };
    for touched_at in 1..3 {
        store.put_upload(&upload).expect("put");
        assert_eq!(store.upload(&id).expect("upload"), Some(upload.clone()));
        upload.touched_at = Moment(touched_at);
        upload.received = Received::Ingest {
            id: IngestId::random().expect("id"),
            offset: 100,
            hash_state: vec![1, 2, 3],
        };
    }
    let Received::Ingest { id: ingest, .. } = &upload.received else {
        panic!("the upload has an ingest by now");
    };
    assert!(!store.names_ingest(ingest).expect("not put yet"));
    store.put_upload(&upload).expect("put");
    assert!(store.names_ingest(ingest).expect("put"));
    assert_eq!(store.stale_uploads(Moment(2), 10).expect("stale"), []);
    assert_eq!(
        store.stale_uploads(Moment(3), 10).expect("stale"),
        std::slice::from_ref(&id)
    );
    assert!(store.delete_upload(&id).expect("delete"));
    assert!(!store.delete_upload(&id).expect("delete"));
    assert_eq!(store.upload(&id).expect("upload"), None);
}

fn uploads_that_have_received_nothing_are_counted(store: &dyn MetadataStore) {
    let count = || store.empty_uploads().expect("count");
    let mut uploads: Vec<UploadRecord> = (0..4)
        .map(|number| UploadRecord {
            id: IngestId::random().expect("id"),
            repository: name("empty"),
            algorithm: Algorithm::Sha256,
            received: Received::Here(Vec::new()),
            touched_at: Moment(number),
        })
        .collect();
    for (before, upload) in (0..).zip(&uploads) {
        assert_eq!(count(), before);
        store.start_upload(upload).expect("started");
        assert_eq!(
            store.upload(&upload.id).expect("upload"),
            Some(upload.clone())
        );
    }
    uploads[0].received = Received::Here(b"few".to_vec());
    store.put_upload(&uploads[0]).expect("put");
    assert_eq!((count(), store.totals().expect("totals").uploads), (3, 4));
    // One that is started again begins from nothing, and is what it is now.
    uploads[0].received = Received::Here(Vec::new());
    uploads[0].repository = name("empty/again");
    uploads[0].algorithm = Algorithm::Sha512;
    store.start_upload(&uploads[0]).expect("started");
    assert_eq!(
        store.upload(&uploads[0].id).expect("upload"),
        Some(uploads[0].clone())
    );
    assert_eq!(count(), 4);
    let ids: Vec<UploadId> = uploads.iter().map(|upload| upload.id.clone()).collect();
    assert_eq!(
        store.stale_uploads(Moment(9), 3).expect("stale"),
        ids[..3],
        "the longest ago first"
    );
    let gone = [
        ids[2].clone(),
        IngestId::random().expect("id"),
        ids[1].clone(),
    ];
    store.delete_uploads(&gone).expect("deleted");
    let left = [ids[0].clone(), ids[3].clone()];
    assert_eq!(store.stale_uploads(Moment(9), 9).expect("stale"), left);
    store.delete_uploads(&left).expect("deleted");
    assert_eq!(count(), 0);
}

fn sqlite(directory: &tempfile::TempDir) -> SqliteMetadata {
    SqliteMetadata::open(directory.path().join("meta.db")).expect("opens")
}

#[test]
fn memory_keeps_the_promises() {
    check(&MemoryMetadata::new());
}

#[test]
fn sqlite_keeps_the_promises() {
    let directory = tempfile::tempdir().expect("temporary directory");
    check(&sqlite(&directory));
}

#[test]
fn a_newer_file_is_refused_and_a_closed_store_says_so() {
    let directory = tempfile::tempdir().expect("temporary directory");
    drop(sqlite(&directory));
    let path = directory.path().join("meta.db");
    let reader = SqliteMetadata::open_read_only(&path).expect("opens");
    assert!(matches!(
        reader.delete_upload(&IngestId::random().expect("id")),
        Err(MetadataError::Closed)
    ));
    drop(reader);
    let connection = rusqlite::Connection::open(&path).expect("opens");
    connection
        .pragma_update(None, "user_version", 99)
        .expect("set");
    drop(connection);
    assert!(matches!(
        SqliteMetadata::open(&path),
        Err(MetadataError::Newer { found: 99, .. })
    ));
}

#[test]
fn a_base_that_very_many_indexes_list_is_not_told_about() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = sqlite(&directory);
    let own = name("base");
    let old = manifest(0, Vec::new(), None, &[], 0);
    let size = old.record.content.len() as u64;
    let tagged = manifest(1, Vec::new(), None, &["a"], 0);
    let ask = || store.moved_tag(&own, &tag("a"), &old.record.digest);
    for pushed in [&old, &tagged] {
        store.put_manifest(&own, pushed, DELAYS).expect("put");
    }
    for time in 0..198 {
        let edges = vec![edge(old.record.digest, EdgeKind::Manifest, size)];
        let index = manifest(2, edges, None, &[], time);
        let mut index = index;
        index.record.content.extend(time.to_le_bytes());
        index.record.digest = Digest::sha256(&index.record.content);
        store.put_manifest(&own, &index, DELAYS).expect("put");
        assert_eq!(ask().expect("tag"), Some(tagged.record.digest), "{time}");
    }
    let edges = vec![edge(old.record.digest, EdgeKind::Manifest, size)];
    let last = manifest(2, edges, None, &[], 0);
    store.put_manifest(&own, &last, DELAYS).expect("put");
    assert_eq!(ask().expect("tag"), None);
}

#[test]
fn a_store_that_was_closed_is_one_file() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = sqlite(&directory);
    put(&store, "closed", 1, 0);
    // So that there is a reader as well.
    assert!(store.has_repository(&name("closed")).expect("asked"));
    drop(store);
    let files = std::fs::read_dir(directory.path()).expect("directory");
    let names: Vec<_> = files.map(|file| file.expect("file").file_name()).collect();
    assert_eq!(names, ["meta.db"]);
}

#[test]
fn transactions_of_many_threads_are_all_there() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = sqlite(&directory);
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..25 {
                    put(store, &format!("many/{thread}"), number, 0);
                    // One that need not be on disk, between others that must be.
                    let started = UploadRecord {
                        id: IngestId::random().expect("id"),
                        repository: name("many"),
                        algorithm: Algorithm::Sha256,
                        received: Received::Here(Vec::new()),
                        touched_at: Moment(0),
                    };
                    store.start_upload(&started).expect("started");
                    // One that fails in the same group undoes nothing of the others.
                    let edges = vec![edge(Digest::sha256(b"unknown"), EdgeKind::Blob, 1)];
                    let new = manifest(0, edges, None, &["v1"], 0);
                    let repository = name(&format!("many/{thread}"));
                    store
                        .put_manifest(&repository, &new, DELAYS)
                        .expect("refused");
                }
            });
        }
    });
    drop(store);
    let totals = sqlite(&directory).totals().expect("totals");
    assert_eq!(
        (
            totals.repositories,
            totals.blobs,
            totals.manifests,
            totals.uploads
        ),
        (8, 25, 0, 200)
    );
}

/// One step of a random life.
#[derive(Debug, Clone)]
enum Step {
    Blob(u8, u8),
    Mount(u8, Option<u8>, u8),
    Protect(u8, u8),
    ProtectManifest(u8, u8),
    Unlink(u8, u8),
    Manifest {
        repository: u8,
        number: u8,
        edges: BTreeSet<u8>,
        children: BTreeSet<u8>,
        subject: Option<u8>,
        tags: BTreeSet<u8>,
    },
    DeleteTag(u8, u8),
    DeleteManifest(u8, u8),
    Review,
    Forget(u8),
    Pass(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let repository = || 0..3_u8;
    let number = || 0..5_u8;
    let some = || prop::collection::btree_set(0..5_u8, 0..3);
    prop_oneof![
        4 => (repository(), number()).prop_map(|(r, n)| Step::Blob(r, n)),
        1 => (repository(), prop::option::of(repository()), number()).prop_map(|(r, f, n)| Step::Mount(r, f, n)),
        1 => (repository(), number()).prop_map(|(r, n)| Step::Protect(r, n)),
        1 => (repository(), number()).prop_map(|(r, n)| Step::ProtectManifest(r, n)),
        1 => (repository(), number()).prop_map(|(r, n)| Step::Unlink(r, n)),
        6 => (repository(), number(), some(), some(), prop::option::of(number()), some()).prop_map(
            |(repository, number, edges, children, subject, tags)| Step::Manifest {
                repository, number, edges, children, subject, tags,
            }
        ),
        1 => (repository(), number()).prop_map(|(r, t)| Step::DeleteTag(r, t)),
        1 => (repository(), number()).prop_map(|(r, n)| Step::DeleteManifest(r, n)),
        2 => Just(Step::Review),
        1 => number().prop_map(Step::Forget),
        3 => (1..60_u8).prop_map(Step::Pass),
    ]
}

/// Does one step, and tells everything that came of it.
fn act(store: &dyn MetadataStore, step: &Step, known: &[NewManifest], now: i64) -> String {
    let repository = |r: &u8| name(&format!("r{r}"));
    let digest = |n: &u8| blob(*n).0.digest;
    let at = Moment(now);
    let until = Moment(now + 10);
    match step {
        Step::Blob(r, n) => {
            let (info, content) = blob(*n);
            let content = n.is_multiple_of(2).then_some(&content[..]);
            format!(
                "{:?}",
                store.put_blob(&repository(r), info, content, None, at, until)
            )
        }
        Step::Mount(r, from, n) => {
            let from = from.as_ref().map(repository);
            format!(
                "{:?}",
                store.mount_blob(&repository(r), from.as_ref(), &digest(n), at, until)
            )
        }
        Step::Protect(r, n) => format!(
            "{:?}",
            store.protect_blob(&repository(r), &digest(n), until)
        ),
        Step::ProtectManifest(r, n) => {
            let Some(target) = known.get(usize::from(*n)) else {
                return String::new();
            };
            let soon = Moment(now + 5);
            let target = &target.record.digest;
            format!(
                "{:?}",
                store.protect_manifest(&repository(r), target, soon, until)
            )
        }
        Step::Unlink(r, n) => match store.unlink_blob(&repository(r), &digest(n), at, DELAYS) {
            // Which of several users is named is left open.
            Ok(Removal::InUse(_)) => "in use".to_owned(),
            other => format!("{other:?}"),
        },
        Step::Manifest { repository: r, .. } => {
            let new = known.last().expect("made for this step");
            format!("{:?}", store.put_manifest(&repository(r), new, DELAYS))
        }
        Step::DeleteTag(r, t) => {
            format!(
                "{:?}",
                store.delete_tag(&repository(r), &tag(&format!("t{t}")), at, DELAYS)
            )
        }
        Step::DeleteManifest(r, n) => {
            let Some(target) = known.get(usize::from(*n)) else {
                return String::new();
            };
            match store.delete_manifest(&repository(r), &target.record.digest, at, DELAYS) {
                Ok(Removal::InUse(_)) => "in use".to_owned(),
                other => format!("{other:?}"),
            }
        }
        // All that is due: which of equally late ones come first is left open.
        Step::Review => {
            let mut reviewed = store.review(at, DELAYS, usize::MAX >> 1).expect("reviewed");
            reviewed.orphans.sort();
            format!("{reviewed:?}")
        }
        Step::Forget(n) => format!("{:?}", store.forget_blob(&digest(n))),
        Step::Pass(_) => String::new(),
    }
}

/// Everything that can be asked.
fn portrait(store: &dyn MetadataStore, known: &[NewManifest], now: i64) -> Vec<String> {
    let mut lines = vec![
        format!("{:?} {:?}", store.totals(), store.next_review()),
        format!("{:?}", store.repositories(None, 2)),
        format!("{:?}", store.stored_blobs(None, 100)),
        format!("{:?}", store.contents(None, 100)),
    ];
    // Reviews that are due together come in any order.
    let mut events: Vec<String> = store
        .events(0, usize::MAX >> 1)
        .expect("events")
        .iter()
        .map(|event| format!("{:?} {} {:?}", event.at, event.repository, event.change))
        .collect();
    events.sort();
    lines.extend(events);
    for r in 0..3 {
        let repository = name(&format!("r{r}"));
        for order in [TagOrder::Name(None), TagOrder::Newest(None)] {
            let list = TagList {
                order,
                filter: None,
                limit: 2,
            };
            lines.push(format!("{:?}", store.tags(&repository, &list)));
        }
        for n in 0..5 {
            let by_tag = ManifestName::Tag(tag(&format!("t{n}")));
            lines.push(format!("{:?}", store.manifest(&repository, &by_tag)));
            for new in known {
                let moved =
                    store.moved_tag(&repository, &tag(&format!("t{n}")), &new.record.digest);
                lines.push(format!("{moved:?}"));
            }
            let blob = store.blob(&repository, &blob(n).0.digest, true);
            lines.push(format!("{blob:?}"));
        }
        for new in known {
            for artifact_type in [None, Some("application/x-even")] {
                let subject = &new.record.digest;
                let found = store.referrers(&repository, subject, artifact_type, None, 3);
                lines.push(format!("{found:?}"));
            }
        }
    }
    for n in 0..5 {
        let holders = store.holders(&blob(n).0.digest, Moment(now));
        lines.push(format!("{holders:?}"));
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn both_stores_live_the_same_life(steps in prop::collection::vec(step(), 1..50)) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let stores: [Box<dyn MetadataStore>; 2] = [Box::new(MemoryMetadata::new()), Box::new(sqlite(&directory))];
        let mut known: Vec<NewManifest> = Vec::new();
        let mut now = 1000;
        for step in steps {
            if let Step::Pass(time) = step {
                now += i64::from(time);
            }
            if let Step::Manifest { number, edges, children, subject, tags, .. } = &step {
                let blobs = edges.iter().map(|n| edge(blob(*n).0.digest, EdgeKind::Blob, blob(*n).0.size));
                let children = children.iter().filter_map(|n| known.get(usize::from(*n))).map(|child| {
                    edge(child.record.digest, EdgeKind::Either, child.record.content.len() as u64)
                });
                let edges = blobs.chain(children).collect();
                let subject = subject.and_then(|n| known.get(usize::from(n))).map(|new| new.record.digest);
                let tags: Vec<String> = tags.iter().map(|t| format!("t{t}")).collect();
                let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
                known.push(manifest(*number, edges, subject, &tags, now));
            }
            let [memory, sqlite] = &stores;
            prop_assert_eq!(act(&**memory, &step, &known, now), act(&**sqlite, &step, &known, now), "{:?}", step);
            prop_assert_eq!(portrait(&**memory, &known, now), portrait(&**sqlite, &known, now), "after {:?}", step);
        }
    }
}
