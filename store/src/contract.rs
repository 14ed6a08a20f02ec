//! The promises of [`BlobStore`] and [`Ingest`](crate::Ingest), as tests that every implementation runs.
//!
//! The functions panic where a promise is broken, as tests do.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a suite of tests, compiled only for tests"
)]

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;

use rbuild_image::{Algorithm, Digest};

use crate::{BlobInfo, BlobStore, CommitError, Expected};

/// Makes an empty store.
pub type Fresh<'a> = &'a dyn Fn() -> Box<dyn BlobStore>;

/// Holds every promise against stores made by `fresh`.
pub fn check(fresh: Fresh<'_>) {
    uncommitted_content_is_invisible(&*fresh());
    committed_content_is_read_back(&*fresh());
    commit_is_idempotent(&*fresh());
    a_broken_promise_stores_nothing(&*fresh());
    the_promised_digest_chooses_the_algorithm(&*fresh());
    a_dropped_ingest_is_resumed(&*fresh());
    a_checkpoint_forgets_what_came_after_it(&*fresh());
    an_ingest_has_one_writer(&*fresh());
    an_ended_ingest_is_not_resumed(&*fresh());
    a_deleted_blob_is_gone_but_open_readers_go_on(&*fresh());
    a_walk_sees_every_blob_and_can_stop(&*fresh());
}

fn put(store: &dyn BlobStore, content: &[u8]) -> BlobInfo {
    let mut ingest = store.ingest().unwrap();
    ingest.write_all(content).unwrap();
    ingest.commit(Expected::Any).unwrap()
}

fn get(store: &dyn BlobStore, digest: &Digest) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    store
        .open(digest)
        .unwrap()?
        .read_to_end(&mut content)
        .unwrap();
    Some(content)
}

fn uncommitted_content_is_invisible(store: &dyn BlobStore) {
    let digest = Digest::sha256(b"secret");
    let mut ingest = store.ingest().unwrap();
    ingest.write_all(b"secret").unwrap();
    assert_eq!(store.stat(&digest).unwrap(), None);
    assert!(store.open(&digest).unwrap().is_none());
    ingest.abort().unwrap();
    assert_eq!(store.stat(&digest).unwrap(), None);
}

fn committed_content_is_read_back(store: &dyn BlobStore) {
    let long: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    for content in [&b""[..], b"x", &long] {
        let blob = put(store, content);
        assert_eq!(blob.digest, Digest::sha256(content));
        assert_eq!(blob.size, content.len() as u64);
        assert_eq!(store.stat(&blob.digest).unwrap(), Some(blob));
        assert_eq!(get(store, &blob.digest).as_deref(), Some(content));
    }
    let mut reader = store.open(&Digest::sha256(&long)).unwrap().unwrap();
    assert_eq!(reader.size(), 300_000);
    reader.seek(SeekFrom::Start(299_990)).unwrap();
    let mut tail = Vec::new();
    reader.read_to_end(&mut tail).unwrap();
    assert_eq!(tail, long[299_990..]);
}

fn commit_is_idempotent(store: &dyn BlobStore) {
    let first = put(store, b"twice");
    let second = put(store, b"twice");
    assert_eq!(first, second);
    assert_eq!(get(store, &first.digest).as_deref(), Some(&b"twice"[..]));
}

fn a_broken_promise_stores_nothing(store: &dyn BlobStore) {
    let actual = Digest::sha256(b"actual");
    let other = Digest::sha256(b"other");
    let promises = [
        Expected::Size(5),
        Expected::Digest(other),
        Expected::Blob(BlobInfo {
            digest: actual,
            size: 7,
        }),
        Expected::Blob(BlobInfo {
            digest: other,
            size: 6,
        }),
    ];
    for promise in promises {
        let mut ingest = store.ingest().unwrap();
        let id = ingest.id().clone();
        ingest.write_all(b"actual").unwrap();
        match ingest.commit(promise) {
            Err(CommitError::Digest { .. } | CommitError::Size { .. }) => {}
            outcome => panic!("{promise:?} was not held: {outcome:?}"),
        }
        assert_eq!(store.stat(&actual).unwrap(), None);
        assert_eq!(store.stat(&other).unwrap(), None);
        assert!(store.resume(&id, None).unwrap().is_none());
    }
}

fn the_promised_digest_chooses_the_algorithm(store: &dyn BlobStore) {
    for (started_with, promised) in [
        (Algorithm::Sha256, Algorithm::Sha512),
        (Algorithm::Sha512, Algorithm::Sha512),
        (Algorithm::Sha512, Algorithm::Sha256),
    ] {
        let digest = Digest::of(promised, b"either way");
        let mut ingest = store.ingest_with(started_with).unwrap();
        ingest.write_all(b"either way").unwrap();
        let blob = ingest.commit(Expected::Digest(digest)).unwrap();
        assert_eq!(blob.digest, digest);
        assert_eq!(get(store, &digest).as_deref(), Some(&b"either way"[..]));
        store.delete(&digest).unwrap();
    }
    let mut ingest = store.ingest_with(Algorithm::Sha512).unwrap();
    ingest.write_all(b"no promise").unwrap();
    let blob = ingest.commit(Expected::Any).unwrap();
    assert_eq!(blob.digest, Digest::of(Algorithm::Sha512, b"no promise"));
}

fn a_dropped_ingest_is_resumed(store: &dyn BlobStore) {
    let mut ingest = store.ingest().unwrap();
    let id = ingest.id().clone();
    ingest.write_all(b"one ").unwrap();
    drop(ingest);
    let mut ingest = store.resume(&id, None).unwrap().unwrap();
    assert_eq!(ingest.offset(), 4);
    ingest.write_all(b"two").unwrap();
    let blob = ingest
        .commit(Expected::Digest(Digest::sha256(b"one two")))
        .unwrap();
    assert_eq!(blob.size, 7);
}

fn a_checkpoint_forgets_what_came_after_it(store: &dyn BlobStore) {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let mut ingest = store.ingest_with(algorithm).unwrap();
        let id = ingest.id().clone();
        ingest.write_all(b"kept, ").unwrap();
        let checkpoint = ingest.checkpoint().unwrap();
        assert_eq!((checkpoint.offset, checkpoint.algorithm), (6, algorithm));
        ingest.write_all(b"lost, and longer than the rest").unwrap();
        drop(ingest);
        let mut ingest = store.resume(&id, Some(&checkpoint)).unwrap().unwrap();
        assert_eq!(ingest.offset(), 6);
        ingest.write_all(b"ours").unwrap();
        let blob = ingest.commit(Expected::Any).unwrap();
        assert_eq!(blob.digest, Digest::of(algorithm, b"kept, ours"));
        assert_eq!(
            get(store, &blob.digest).as_deref(),
            Some(&b"kept, ours"[..])
        );
    }
    let mut ingest = store.ingest().unwrap();
    let id = ingest.id().clone();
    ingest.write_all(b"kept, ").unwrap();
    let mut checkpoint = ingest.checkpoint().unwrap();
    drop(ingest);
    checkpoint.hash_state = b"not a state".to_vec();
    let mut ingest = store.resume(&id, Some(&checkpoint)).unwrap().unwrap();
    ingest.write_all(b"ours").unwrap();
    let blob = ingest.commit(Expected::Any).unwrap();
    assert_eq!(blob.digest, Digest::sha256(b"kept, ours"));
}

fn an_ingest_has_one_writer(store: &dyn BlobStore) {
    let mut ingest = store.ingest().unwrap();
    let id = ingest.id().clone();
    ingest.write_all(b"mine").unwrap();
    let error = store.resume(&id, None).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let blob = ingest.commit(Expected::Any).unwrap();
    assert_eq!(blob.digest, Digest::sha256(b"mine"));
}

fn an_ended_ingest_is_not_resumed(store: &dyn BlobStore) {
    let mut committed = store.ingest().unwrap();
    let committed_id = committed.id().clone();
    committed.write_all(b"done").unwrap();
    committed.commit(Expected::Any).unwrap();
    let aborted = store.ingest().unwrap();
    let aborted_id = aborted.id().clone();
    aborted.abort().unwrap();
    for id in [committed_id, aborted_id] {
        assert!(store.resume(&id, None).unwrap().is_none());
    }
}

fn a_deleted_blob_is_gone_but_open_readers_go_on(store: &dyn BlobStore) {
    let blob = put(store, b"going");
    let mut reader = store.open(&blob.digest).unwrap().unwrap();
    store.delete(&blob.digest).unwrap();
    store.delete(&blob.digest).unwrap();
    assert_eq!(store.stat(&blob.digest).unwrap(), None);
    assert!(store.open(&blob.digest).unwrap().is_none());
    let mut content = Vec::new();
    reader.read_to_end(&mut content).unwrap();
    assert_eq!(content, b"going");
    put(store, b"going");
    assert_eq!(get(store, &blob.digest).as_deref(), Some(&b"going"[..]));
}

fn a_walk_sees_every_blob_and_can_stop(store: &dyn BlobStore) {
    let mut expected: BTreeSet<BlobInfo> = [&b"a"[..], b"bb", b"ccc"]
        .into_iter()
        .map(|content| put(store, content))
        .collect();
    let mut ingest = store.ingest_with(Algorithm::Sha512).unwrap();
    ingest.write_all(b"dddd").unwrap();
    expected.insert(ingest.commit(Expected::Any).unwrap());
    let mut seen = BTreeSet::new();
    store
        .walk(&mut |blob| {
            assert!(seen.insert(blob), "{blob:?} visited twice");
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, expected);
    let mut visits = 0;
    store
        .walk(&mut |_| {
            visits += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(visits, 1);
}
