//! A registry on a directory, with a clock that stands still, and the plain calls that clients make.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rbuild_image::{Digest, RepositoryName, Tag};
use rbuild_registry_server::clock::ManualClock;
use rbuild_registry_server::config::{Collect, Limits};
use rbuild_registry_server::metadata::{ManifestName, Precondition, SqliteMetadata};
use rbuild_registry_server::service::{Content, Error, Parts, PushManifest, Registry, Sparse};
use rbuild_store::{Durability, FsBlobStore};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const HOUR: Duration = Duration::from_hours(1);
/// Settings of the collection, in hours.
pub(crate) const UNTAGGED: u32 = 10;
pub(crate) const UNREFERENCED: u32 = 5;
pub(crate) const UPLOAD: u32 = 24;

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub(crate) struct World {
    registry: Option<Registry>,
    clock: Arc<ManualClock>,
    directory: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        // From the present on, as files have the machine's time.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        clock.advance(now.expect("after 1970"));
        let directory = tempfile::tempdir().expect("temporary directory");
        Self {
            registry: Some(open(directory.path(), &clock)),
            clock,
            directory,
        }
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.registry.as_ref().expect("open")
    }

    pub(crate) fn advance(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Closes the registry in peace, and opens it again.
    pub(crate) fn restart(&mut self) {
        drop(self.registry.take());
        self.registry = Some(open(self.directory.path(), &self.clock));
    }

    /// Goes on with the files as they are at this moment, as after a kill.
    pub(crate) fn crash(&mut self) {
        let copy = tempfile::tempdir().expect("temporary directory");
        copy_tree(self.directory.path(), copy.path());
        drop(self.registry.take());
        self.registry = Some(open(copy.path(), &self.clock));
        self.directory = copy;
    }

    pub(crate) fn push_blob(registry: &Registry, repository: &RepositoryName, number: u8) {
        let digest = digest(number);
        let mut writer = registry
            .write_blob(repository, digest.algorithm())
            .expect("writer");
        writer.write(&content(number)).expect("write");
        writer.commit(digest).expect("commit");
    }

    pub(crate) fn push_manifest(
        registry: &Registry,
        repository: &RepositoryName,
        bytes: &[u8],
        tags: &[&Tag],
    ) -> Result<Digest, Error> {
        let push = PushManifest {
            digest: None,
            tags: tags.iter().map(|tag| (*tag).clone()).collect(),
            precondition: Precondition::None,
            content_type: None,
            content: bytes.to_vec(),
        };
        Ok(registry.put_manifest(repository, push)?.digest)
    }

    /// The bytes of a blob, all read; `None` if it is not here.
    pub(crate) fn read_blob(
        registry: &Registry,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Option<Vec<u8>> {
        match registry.open_blob(repository, digest) {
            Ok(open) => Some(match open.content {
                Content::Bytes(bytes) => bytes,
                Content::Reader(mut reader) => {
                    let mut bytes = Vec::new();
                    reader.read_to_end(&mut bytes).expect("read");
                    bytes
                }
            }),
            Err(Error::BlobUnknown(_)) => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    pub(crate) fn read_manifest(
        registry: &Registry,
        repository: &RepositoryName,
        digest: Digest,
    ) -> Option<Vec<u8>> {
        read(registry, repository, &ManifestName::Digest(digest))
    }

    pub(crate) fn read_tag(
        registry: &Registry,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Option<Vec<u8>> {
        read(registry, repository, &ManifestName::Tag(tag.clone()))
    }

    /// A manifest with these layers and content 0 as its config.
    pub(crate) fn image(layers: &[u8], subject: Option<&[u8]>) -> Vec<u8> {
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

    pub(crate) fn index(children: &[Vec<u8>]) -> Vec<u8> {
        let children: Vec<_> = children
            .iter()
            .map(|child| descriptor(IMAGE, child))
            .collect();
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": children })
            .to_string()
            .into_bytes()
    }
}

fn read(registry: &Registry, repository: &RepositoryName, name: &ManifestName) -> Option<Vec<u8>> {
    match registry.manifest(repository, name) {
        Ok(record) => Some(record.content),
        Err(Error::ManifestUnknown(_)) => None,
        Err(error) => panic!("{error:?}"),
    }
}

fn open(directory: &Path, clock: &Arc<ManualClock>) -> Registry {
    Registry::new(Parts {
        blobs: FsBlobStore::open(directory, Durability::Fast).expect("store"),
        metadata: Arc::new(SqliteMetadata::open(directory.join("meta.db")).expect("metadata")),
        clock: clock.clone(),
        limits: Limits {
            reserve_bytes: 0,
            upload_time: HOUR * UPLOAD,
            ..Limits::STANDARD
        },
        collect: Collect {
            untagged: HOUR * UNTAGGED,
            unreferenced: HOUR * UNREFERENCED,
            protect: HOUR,
            ..Collect::STANDARD
        },
        sparse: Sparse::default(),
        names: Vec::new(),
    })
    .expect("records")
}

/// Without the index of the log: who opens the copy must recover.
fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("directory") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            fs::create_dir_all(&target).expect("create");
            copy_tree(&entry.path(), &target);
        } else if entry.file_name() != "meta.db-shm" {
            fs::copy(entry.path(), &target).expect("copy");
        }
    }
}

pub(crate) fn name(text: &str) -> RepositoryName {
    text.parse().expect("a name")
}

pub(crate) fn tag(text: &str) -> Tag {
    text.parse().expect("a tag")
}

/// Content number `number`; every third is large enough to be a file.
pub(crate) fn content(number: u8) -> Vec<u8> {
    let length = if number.is_multiple_of(3) { 70_000 } else { 10 };
    vec![number; length + usize::from(number)]
}

pub(crate) fn digest(number: u8) -> Digest {
    Digest::sha256(content(number))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::sha256(bytes).to_string(), "size": bytes.len() })
}
