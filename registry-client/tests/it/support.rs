//! What the tests of this crate share: images made from nothing, clients with short patience, observers that note.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rbuild_image::{
    Descriptor, DiffId, Digest, ImageConfig, Manifest, MediaType, Platform, Raw, Reference, RootFs,
};
use rbuild_registry_client::{
    Anonymous, BlobSource, Client, ClientConfig, Credentials, HostRules, Observer, RetryPolicy,
    TransferEvent,
};
use rbuild_store::{BlobStore, MemoryBlobStore};

/// An image whose layers are any bytes: the client opens none.
pub(crate) struct Image {
    pub(crate) manifest: Raw<Manifest>,
    pub(crate) config: Raw<ImageConfig>,
    pub(crate) layers: Vec<Vec<u8>>,
}

/// `size` bytes that look like nothing, another run of them for each seed.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u8::try_from(state >> 56).unwrap()
    };
    (0..size).map(|_| next()).collect()
}

impl Image {
    pub(crate) fn new(layers: Vec<Vec<u8>>) -> Self {
        let host = Platform::host();
        let config = Raw::write(ImageConfig {
            architecture: host.architecture,
            os: host.os,
            rootfs: RootFs {
                diff_ids: layers.iter().map(|l| DiffId(Digest::sha256(l))).collect(),
                ..RootFs::default()
            },
            ..ImageConfig::default()
        })
        .unwrap();
        let manifest = Raw::write(Manifest::oci(
            config.descriptor(MediaType::CONFIG),
            layers
                .iter()
                .map(|layer| Descriptor::of(MediaType::LAYER, layer))
                .collect(),
        ))
        .unwrap();
        Self {
            manifest,
            config,
            layers,
        }
    }

    pub(crate) fn sources(&self) -> Vec<BlobSource> {
        let config = BlobSource::from_bytes(
            self.config.descriptor(MediaType::CONFIG),
            self.config.bytes(),
        );
        let layers = self.manifest.value().layers.iter().zip(&self.layers);
        layers
            .map(|(descriptor, bytes)| BlobSource::from_bytes(descriptor.clone(), bytes.clone()))
            .chain([config])
            .collect()
    }

    #[track_caller]
    pub(crate) fn check_is_in(&self, store: &Arc<dyn BlobStore>) {
        let all = self.layers.iter().map(Vec::as_slice);
        for bytes in all.chain([self.config.bytes(), self.manifest.bytes()]) {
            let digest = Digest::sha256(bytes);
            let mut reader = store.open(&digest).unwrap().expect("blob is in the store");
            let mut stored = Vec::new();
            reader.read_to_end(&mut stored).unwrap();
            assert!(stored == bytes, "{digest}");
        }
    }
}

pub(crate) fn store() -> Arc<dyn BlobStore> {
    Arc::new(MemoryBlobStore::default())
}

pub(crate) fn client() -> Client {
    client_with(Arc::new(Anonymous), HostRules::default())
}

pub(crate) fn client_with(credentials: Arc<dyn Credentials>, hosts: HostRules) -> Client {
    Client::new(ClientConfig {
        hosts,
        retry: RetryPolicy {
            attempts: 4,
            first_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(5),
            max_retry_after: Duration::from_secs(2),
        },
        connect_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_secs(5),
        ..ClientConfig::new(credentials)
    })
}

pub(crate) fn reference(address: impl std::fmt::Display, rest: &str) -> Reference {
    format!("{address}/{rest}").parse().unwrap()
}

/// Notes what happened, in words.
#[derive(Default)]
pub(crate) struct Notes(Mutex<Vec<String>>);

impl Notes {
    pub(crate) fn count(&self, word: &str) -> usize {
        let notes = self.0.lock().unwrap();
        notes.iter().filter(|note| *note == word).count()
    }
}

impl Observer for Notes {
    fn on_event(&self, event: &TransferEvent<'_>) {
        let word = match event {
            TransferEvent::Exists { .. } => "exists",
            TransferEvent::Mounted { .. } => "mounted",
            TransferEvent::Started { .. } => "started",
            TransferEvent::Retrying { .. } => "retrying",
            TransferEvent::Done { .. } => "done",
            _ => return,
        };
        self.0.lock().unwrap().push(word.to_owned());
    }
}
