//! Pushing images: blobs in parallel, the manifest last.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Cursor, Read, Seek};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::{StreamExt, TryStreamExt};
use rbuild_image::{Descriptor, MediaType, Reference, RepositoryName};
use rbuild_store::BlobStore;

use crate::client::Endpoint;
use crate::upload::Pusher;
use crate::{Client, Observer, Result, blob};

/// The content of a blob, read from any place in it (a broken upload goes on where it was).
pub trait BlobContent: Read + Seek + Send {}

impl<T: Read + Seek + Send> BlobContent for T {}

type Open = dyn Fn() -> io::Result<Box<dyn BlobContent>> + Send + Sync;

/// A blob to push. It is opened only if the registry lacks it, on a thread that may block, and anew for every try.
#[derive(Clone)]
pub struct BlobSource {
    descriptor: Descriptor,
    open: Arc<Open>,
    mount_from: Vec<RepositoryName>,
}

impl BlobSource {
    /// A blob with the content that `open` gives.
    pub fn new(
        descriptor: Descriptor,
        open: impl Fn() -> io::Result<Box<dyn BlobContent>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            descriptor,
            open: Arc::new(open),
            mount_from: Vec::new(),
        }
    }

    /// A blob of a store.
    pub fn from_store(descriptor: Descriptor, store: Arc<dyn BlobStore>) -> Self {
        let digest = descriptor.digest;
        Self::new(descriptor, move || match store.open(&digest)? {
            Some(reader) => Ok(Box::new(reader)),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("blob `{digest}` is not in the store"),
            )),
        })
    }

    /// A blob in memory.
    pub fn from_bytes(descriptor: Descriptor, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self::new(descriptor, move || {
            Ok(Box::new(Cursor::new(Arc::clone(&bytes))))
        })
    }

    /// The same blob, with repositories of the same registry that may have it, the likeliest first.
    #[must_use]
    pub fn mount_from(mut self, repositories: Vec<RepositoryName>) -> Self {
        self.mount_from = repositories;
        self
    }

    pub(crate) fn mount_candidates(&self) -> &[RepositoryName] {
        &self.mount_from
    }

    pub(crate) fn open(&self) -> io::Result<Box<dyn BlobContent>> {
        (self.open)()
    }

    /// Digest, size and media type.
    pub const fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }
}

impl fmt::Debug for BlobSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobSource")
            .field("descriptor", &self.descriptor)
            .field("mount_from", &self.mount_from)
            .finish_non_exhaustive()
    }
}

/// What a registry has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Media type, digest and size of the manifest.
    pub descriptor: Descriptor,
}

impl Client {
    /// Pushes an image or artifact: the blobs in parallel, then the manifest under the name's tag or digest.
    pub async fn push_image(
        &self,
        reference: &Reference,
        manifest: &[u8],
        media_type: &MediaType,
        blobs: Vec<BlobSource>,
        observer: &dyn Observer,
    ) -> Result<Pushed> {
        self.push_blobs(reference, blobs, observer).await?;
        self.push_manifest(reference, manifest, media_type).await
    }

    /// Pushes blobs in parallel into the repository of `reference`; those that it has are skipped.
    pub async fn push_blobs(
        &self,
        reference: &Reference,
        blobs: Vec<BlobSource>,
        observer: &dyn Observer,
    ) -> Result<()> {
        let endpoint = &Endpoint::upstream(reference);
        // The same layer may stand at several places.
        let mut seen = HashSet::new();
        let blobs = blobs.iter();
        let blobs = blobs.filter(|source| seen.insert(source.descriptor.digest));
        let pushes: Vec<_> = blobs
            .map(|source| self.push_blob_to(endpoint, source, observer))
            .collect();
        futures_util::stream::iter(pushes)
            .buffer_unordered(self.config().parallel.max(1))
            .try_collect()
            .await
    }

    async fn push_blob_to(
        &self,
        endpoint: &Endpoint,
        source: &BlobSource,
        observer: &dyn Observer,
    ) -> Result<()> {
        let what = blob::describe(source.descriptor());
        let _permit = self.transfer_permit(&endpoint.host).await;
        let pusher = Pusher {
            client: self,
            endpoint,
            source,
            what: &what,
            observer,
            has_new_token: AtomicBool::new(false),
        };
        pusher.run().await
    }
}
