//! What holds for this store alone; what it shares with the other one is in `metadata/contract/`.

use rbuild_image::{Algorithm, Digest};
use rbuild_store::IngestId;

use crate::clock::Moment;
use crate::metadata::contract::{DELAYS, edge, manifest, name, put, sqlite, tag};
use crate::metadata::*;

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
