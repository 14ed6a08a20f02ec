//! What was acknowledged is there after a stop, and after damage is noticed.

mod support;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use rbuild_image::Digest;
use rbuild_store::BlobStore as _;
use support::{Fixture, bytes};

#[test]
fn everything_is_there_after_a_restart() {
    let mut registry = Fixture::new();
    let large = bytes(200_000);
    let digest = registry.push_image("a", "v1", &large);
    let small = registry.start("a");
    registry
        .send("PATCH", &small, &[], b"small")
        .expect_status(202);
    let empty = registry.start("a");
    let cancelled = registry.start("a");
    registry.delete(&cancelled).expect_status(204);
    let file = registry.start("a");
    registry
        .send("PATCH", &file, &[], &large[..100_000])
        .expect_status(202);
    registry.restart();
    let got = registry.get("/v2/a/manifests/v1");
    assert_eq!(
        got.header("docker-content-digest"),
        Some(digest.to_string().as_str())
    );
    assert!(
        registry
            .get(&format!("/v2/a/blobs/{}", Digest::sha256(&large)))
            .body
            == large
    );
    assert_eq!(registry.get(&small).header("range"), Some("0-4"));
    assert_eq!(registry.get(&file).header("range"), Some("0-99999"));
    registry.get(&cancelled).expect_status(404);
    registry.get(&empty).expect_status(204);
    registry
        .send("PATCH", &empty, &[], b"begun before")
        .expect_status(202);
    let end = format!("{empty}?digest={}", Digest::sha256(b"begun before"));
    registry.send("PUT", &end, &[], b"").expect_status(201);
    let range = [("Content-Range", "100000-199999")];
    registry
        .send("PATCH", &file, &range, &large[100_000..])
        .expect_status(202);
    let end = format!("{file}?digest={}", Digest::sha256(&large));
    registry.send("PUT", &end, &[], b"").expect_status(201);
}

#[test]
fn an_upload_whose_bytes_are_gone_is_over() {
    let registry = Fixture::new();
    let upload = registry.start("a");
    registry
        .send("PATCH", &upload, &[], &bytes(200_000))
        .expect_status(202);
    let running = registry.running.as_ref().expect("runs");
    let ingests = running.registry().blobs().root().join("ingest");
    let ingests = fs::read_dir(ingests).expect("listed");
    for file in ingests {
        fs::remove_file(file.expect("an entry").path()).expect("removed");
    }
    registry
        .get(&upload)
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    registry
        .send("PATCH", &upload, &[], b"more")
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn a_damaged_blob_is_refused_and_heals_when_pushed_again() {
    let registry = Fixture::new();
    let content = bytes(200_000);
    let digest = registry.push_blob("a", &content);
    let path = format!("/v2/a/blobs/{digest}");
    let running = registry.running.as_ref().expect("runs");
    let file = running.registry().blobs().path_of(&digest);
    let damages: [(&str, Vec<u8>); 3] = [
        ("shorter", content[..1000].to_vec()),
        ("longer", [&content[..], b"x"].concat()),
        (
            "other bytes",
            bytes(199_999).into_iter().chain([0]).collect(),
        ),
    ];
    for (name, damage) in damages {
        fs::write(&file, &damage).expect("damage");
        if running
            .registry()
            .blobs()
            .stat(&digest)
            .expect("stat")
            .is_some()
        {
            eprintln!("skipped: the file system keeps no extended attributes");
            return;
        }
        registry.get(&path).expect_error(404, "BLOB_UNKNOWN");
        registry.head(&path).expect_status(404);
        let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
        registry.send("POST", &mount, &[], b"").expect_status(202);
        registry.push_blob("a", &content);
        assert!(registry.get(&path).body == content, "{name}");
    }
}

#[test]
fn damage_whose_times_were_set_back_is_noticed() {
    let registry = Fixture::new();
    let content = bytes(200_000);
    let digest = registry.push_blob("a", &content);
    let path = format!("/v2/a/blobs/{digest}");
    let running = registry.running.as_ref().expect("runs");
    let name = running.registry().blobs().path_of(&digest);
    // It stays open for a while after this.
    assert!(registry.get(&path).body == content);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&name)
        .expect("open");
    let modified = file.metadata().and_then(|data| data.modified());
    let modified = modified.expect("a time");
    // What happens within a moment after a push cannot be told from it.
    while modified.elapsed().unwrap_or_default() < Duration::from_millis(20) {
        std::thread::yield_now();
    }
    file.write_all_at(b"!", 77).expect("damage");
    file.set_modified(modified).expect("set back");
    if rustix::fs::fgetxattr(&file, "user.rbuild.seal", &mut [0; 96][..]).is_err() {
        eprintln!("skipped: the file system keeps no extended attributes");
        return;
    }
    registry.get(&path).expect_error(404, "BLOB_UNKNOWN");
    registry.push_blob("a", &content);
    assert!(registry.get(&path).body == content);
}

#[test]
fn a_second_server_does_not_start_on_the_same_directory() {
    let registry = Fixture::new();
    let error = rbuild_registry_server::serve::start(&registry.config).expect_err("locked");
    assert!(error.to_string().contains("another process"), "{error}");
}
