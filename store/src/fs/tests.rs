use std::io::Write;
use std::time::Duration;

use super::*;
use crate::{Expected, contract};

fn open(directory: &tempfile::TempDir, durability: Durability) -> FsBlobStore {
    FsBlobStore::open(directory.path(), durability).expect("store opens")
}

fn put(store: &FsBlobStore, content: &[u8]) -> BlobInfo {
    let mut ingest = store.ingest().expect("ingest");
    ingest.write_all(content).expect("write");
    ingest.commit(Expected::Any).expect("commit")
}

/// A way to damage a file, with its name.
type Damage<'a> = (&'a str, &'a dyn Fn(&Path));

/// Whether the directory's file system keeps extended attributes; where it does not, damage is found by `verify` alone.
fn has_seals(store: &FsBlobStore) -> bool {
    let file = File::open(store.root()).expect("root opens");
    let supported = rustix::fs::fsetxattr(
        &file,
        "user.rbuild.test",
        b"",
        rustix::fs::XattrFlags::empty(),
    )
    .is_ok();
    if !supported {
        let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|name| name == "xattr"),
            "no extended attributes here"
        );
        eprintln!("skipped: the temporary directory keeps no extended attributes");
    }
    supported
}

#[test]
fn keeps_the_promises_of_a_blob_store() {
    for durability in [Durability::Durable, Durability::Fast] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let count = std::cell::Cell::new(0);
        contract::check(&|| {
            count.set(count.get() + 1);
            let root = directory.path().join(count.get().to_string());
            Box::new(FsBlobStore::open(root, durability).expect("store opens"))
        });
    }
}

#[test]
fn a_second_process_sees_the_same_store() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let blob = put(&open(&directory, Durability::Fast), b"shared");
    let other = open(&directory, Durability::Durable);
    assert_eq!(other.stat(&blob.digest).expect("stat"), Some(blob));
    let (mut file, size) = other
        .open_file(&blob.digest)
        .expect("open")
        .expect("is here");
    let mut content = String::new();
    file.read_to_string(&mut content).expect("read");
    assert_eq!((content.as_str(), size), ("shared", 6));
    assert!(other.path_of(&blob.digest).is_file());
}

#[test]
fn damage_counts_as_absent_and_heals_when_committed_again() {
    let content = b"precious content";
    let damages: [Damage<'_>; 8] = [
        ("truncated", &|path| {
            let file = fs::OpenOptions::new().write(true).open(path).expect("open");
            file.set_len(3).expect("truncate");
        }),
        ("emptied", &|path| fs::write(path, b"").expect("write")),
        ("edited", &|path| {
            fs::write(path, b"precious contenT").expect("write");
        }),
        ("edited, and its times set back", &edit_and_set_times_back),
        ("a directory", &|path| {
            fs::remove_file(path).expect("remove");
            fs::create_dir(path).expect("make");
        }),
        ("a pipe that nobody writes to", &|path| {
            fs::remove_file(path).expect("remove");
            rustix::fs::mkfifoat(rustix::fs::CWD, path, Mode::RWXU).expect("make");
        }),
        ("a link to a file without an end", &|path| {
            fs::remove_file(path).expect("remove");
            std::os::unix::fs::symlink("/dev/zero", path).expect("link");
        }),
        ("a link to itself", &|path| {
            fs::remove_file(path).expect("remove");
            std::os::unix::fs::symlink(path, path).expect("link");
        }),
    ];
    for (name, damage) in damages {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = open(&directory, Durability::Fast);
        if !has_seals(&store) {
            return;
        }
        let blob = put(&store, content);
        damage(&store.path_of(&blob.digest));
        for _ in 0..2 {
            assert_eq!(store.stat(&blob.digest).expect("stat"), None, "{name}");
            assert!(store.open(&blob.digest).expect("open").is_none(), "{name}");
        }
        assert!(
            !matches!(store.verify(&blob.digest), Ok(Verdict::Intact(_))),
            "{name}"
        );
        assert_eq!(put(&store, content), blob, "{name}");
        assert_eq!(
            store.verify(&blob.digest).expect("verify"),
            Verdict::Intact(blob),
            "{name}"
        );
        assert_eq!(store.stat(&blob.digest).expect("stat"), Some(blob));
    }
}

/// Changes a byte where nobody would see it by length or time of modification.
fn edit_and_set_times_back(path: &Path) {
    let sealed = fs::metadata(path).expect("metadata");
    let modified = sealed.modified().expect("a time");
    // What happens as soon as this after sealing cannot be told from it.
    while modified.elapsed().unwrap_or_default() < Duration::from_millis(20) {
        std::thread::yield_now();
    }
    let file = fs::OpenOptions::new().write(true).open(path).expect("open");
    std::os::unix::fs::FileExt::write_all_at(&file, b"T", sealed.len() - 1).expect("write");
    file.set_modified(modified).expect("set back");
    let now = fs::metadata(path).expect("metadata");
    assert_eq!(
        (now.len(), now.modified().ok()),
        (sealed.len(), Some(modified))
    );
}

#[test]
fn what_was_sealed_stays_so_until_something_happens_to_it() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(&directory, Durability::Durable);
    if !has_seals(&store) {
        return;
    }
    let blob = put(&store, b"sealed");
    let trust = || seal::trust_path(&store.path_of(&blob.digest)).expect("looked at");
    for _ in 0..2 {
        assert_eq!(trust(), Some(Trust::Sealed(6)));
        // Looking at it breaks no seal.
        assert_eq!(
            store.verify(&blob.digest).expect("verify"),
            Verdict::Intact(blob)
        );
    }
    fs::hard_link(store.path_of(&blob.digest), directory.path().join("link")).expect("link");
    assert!(store.open_file(&blob.digest).expect("open").is_some());
    assert_eq!(trust(), Some(Trust::Sealed(6)));
}

#[test]
fn a_directory_that_was_removed_is_made_again() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(&directory, Durability::Durable);
    let blob = put(&store, b"content");
    for above in 1..=2 {
        let path = store.path_of(&blob.digest);
        let gone = path.ancestors().nth(above).expect("a directory");
        fs::remove_dir_all(gone).expect("removed");
        assert_eq!(store.stat(&blob.digest).expect("stat"), None);
        assert_eq!(put(&store, b"content"), blob);
        assert_eq!(store.stat(&blob.digest).expect("stat"), Some(blob));
    }
}

#[test]
fn a_copied_store_is_verified_on_first_use() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(&directory, Durability::Fast);
    let blob = put(&store, b"copied");
    let path = store.path_of(&blob.digest);
    fs::remove_file(&path).expect("remove");
    fs::write(&path, b"copied").expect("write");
    let (mut file, size) = store.open_file(&blob.digest).expect("open").expect("here");
    let mut content = Vec::new();
    file.read_to_end(&mut content).expect("read");
    assert_eq!((&content[..], size), (&b"copied"[..], 6));
    assert_eq!(
        store.verify(&Digest::sha256(b"other")).expect("verify"),
        Verdict::Missing
    );
}

#[test]
fn a_sweep_takes_old_leftovers_and_no_live_ingest() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(&directory, Durability::Fast);
    let mut dropped = store.ingest().expect("ingest");
    dropped.write_all(b"left over").expect("write");
    let dropped_id = dropped.id().clone();
    drop(dropped);
    let mut live = store.ingest().expect("ingest");
    live.write_all(b"alive").expect("write");

    let past = SystemTime::now() - Duration::from_hours(1);
    assert_eq!(store.sweep(past).expect("sweep"), Swept::default());
    let future = SystemTime::now() + Duration::from_hours(1);
    assert_eq!(
        store.sweep(future).expect("sweep"),
        Swept {
            ingests: 1,
            bytes: 9
        }
    );
    assert!(store.resume(&dropped_id, None).expect("resume").is_none());
    assert!(!store.discard(live.id()).expect("discard"));
    live.commit(Expected::Size(5)).expect("commit");
}

#[test]
fn foreign_files_are_left_alone() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(&directory, Durability::Fast);
    let blob = put(&store, b"ours");
    let foreign = store.path_of(&blob.digest).with_file_name("README");
    fs::write(&foreign, b"theirs").expect("write");
    fs::write(directory.path().join("ingest/notes.txt"), b"theirs").expect("write");
    let mut seen = Vec::new();
    store
        .walk(&mut |blob| {
            seen.push(blob);
            ControlFlow::Continue(())
        })
        .expect("walk");
    assert_eq!(seen, [blob]);
    store
        .sweep(SystemTime::now() + Duration::from_hours(1))
        .expect("sweep");
    assert!(foreign.exists() && directory.path().join("ingest/notes.txt").exists());
}
