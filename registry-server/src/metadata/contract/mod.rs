//! The promises of [`MetadataStore`]: each by name, and then both stores side by side through random lives.

use std::time::Duration;

use rbuild_image::{Digest, RepositoryName, Tag};
use rbuild_store::BlobInfo;

use super::*;
use crate::clock::Moment;

mod life;
mod promises;

pub(super) const DELAYS: Delays = Delays {
    untagged: Duration::from_millis(50),
    unreferenced: Duration::from_millis(20),
};

pub(super) fn name(text: &str) -> RepositoryName {
    text.parse().expect("a name")
}

pub(super) fn tag(text: &str) -> Tag {
    text.parse().expect("a tag")
}

pub(super) fn blob(number: u8) -> (BlobInfo, Vec<u8>) {
    let content = vec![number; usize::from(number) + 1];
    let info = BlobInfo {
        digest: Digest::sha256(&content),
        size: content.len() as u64,
    };
    (info, content)
}

pub(super) fn manifest(
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

pub(super) fn edge(target: Digest, kind: EdgeKind, size: u64) -> Edge {
    Edge {
        target,
        kind,
        size,
        required: true,
    }
}

pub(super) fn put(store: &dyn MetadataStore, repository: &str, number: u8, now: i64) -> BlobInfo {
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

pub(super) fn sqlite(directory: &tempfile::TempDir) -> SqliteMetadata {
    SqliteMetadata::open(directory.path().join("meta.db")).expect("opens")
}

#[test]
fn memory_keeps_the_promises() {
    promises::check(&MemoryMetadata::new());
}

#[test]
fn sqlite_keeps_the_promises() {
    let directory = tempfile::tempdir().expect("temporary directory");
    promises::check(&sqlite(&directory));
}
