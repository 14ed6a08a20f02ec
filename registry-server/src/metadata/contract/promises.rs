//! Each promise by name. They share a store, and keep to repositories of their own.

use std::collections::BTreeSet;

use rbuild_image::{Algorithm, Digest};
use rbuild_store::IngestId;

use super::*;

/// All of them.
pub(super) fn check(store: &dyn MetadataStore) {
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
