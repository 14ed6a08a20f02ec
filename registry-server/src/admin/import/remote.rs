//! Images of another registry, fetched while it serves: indexes with all their children, referrers, exact bytes.

use std::collections::HashSet;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use rbuild_image::{
    Descriptor, Digest, Index, Manifest, MediaType, Reference, RepositoryName, Tag,
};
use rbuild_registry_client::{Blocking, Client, ClientError, TransferEvent};
use rbuild_store::BlobStore;

use super::super::AdminError;
use super::target::Target;
use super::{DEPTH, Imported};
use crate::metadata::{ManifestName, Precondition};
use crate::service::{Error, PushManifest, Registry};

/// Blobs that are fetched at once.
const PARALLEL: usize = 4;

/// What is fetched from another registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// One image, by tag or digest.
    Image(Reference),
    /// All tags of a repository; tag and digest of the reference are empty.
    Repository(Reference),
    /// All repositories of this host.
    Registry(String),
}

/// Why a text names nothing to import.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no source: {reason} (docker://HOST[:PORT]/REPOSITORY[:TAG|@DIGEST], or docker://HOST[:PORT] for everything)"
)]
pub struct ParseOriginError {
    text: String,
    reason: String,
}

/// What happens while images are fetched.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A blob has arrived and is verified.
    Blob(&'a Descriptor),
    /// A request failed and is tried again after this time.
    Retrying(&'a ClientError, Duration),
    /// An image is here, with everything that belongs to it, under this name.
    Image(&'a str, Digest),
    /// An image could not be imported; others may be.
    Failed(&'a str, &'a AdminError),
}

/// Hears what happens; called from several threads.
type Listener<'a> = &'a (dyn Fn(&Event<'_>) + Send + Sync);

impl FromStr for Origin {
    type Err = ParseOriginError;

    /// Reads the name of an image, a repository or a registry, as skopeo writes it.
    ///
    /// ```
    /// use rbuild_registry_server::admin::Origin;
    ///
    /// let origin: Origin = "docker://registry.example/team/app:1".parse()?;
    /// assert!(matches!(origin, Origin::Image(_)));
    /// # Ok::<(), rbuild_registry_server::admin::ParseOriginError>(())
    /// ```
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |reason: String| ParseOriginError {
            text: text.to_owned(),
            reason,
        };
        let Some(name) = text.strip_prefix("docker://") else {
            return Err(wrong("it does not begin with `docker://`".to_owned()));
        };
        let parse = |name: &str| {
            let reference: Result<Reference, _> = name.parse();
            reference.map_err(|error| wrong(error.to_string()))
        };
        let Some((_, path)) = name.trim_end_matches('/').split_once('/') else {
            let host = name.trim_end_matches('/');
            // A name without a dot, a port or `localhost` is an image of the default registry.
            let probe = parse(&format!("{host}/x"))?;
            return if *probe.registry == *host {
                Ok(Self::Registry(host.to_owned()))
            } else {
                Ok(named(parse(name)?, name))
            };
        };
        Ok(named(parse(name)?, path))
    }
}

/// Tells an image from a repository: the text names a tag or a digest, or neither.
fn named(reference: Reference, text: &str) -> Origin {
    let last = text.rsplit('/').next().unwrap_or(text);
    if last.contains([':', '@']) {
        Origin::Image(reference)
    } else {
        Origin::Repository(Reference {
            tag: None,
            digest: None,
            ..reference
        })
    }
}

/// Imports what `origin` names.
///
/// An image goes to `repository`, or to one of its own name; it keeps its tag, or gets `tag`.
/// A whole registry keeps the names of its repositories, below `repository` if that is given.
/// What fails is told and counted, and the rest goes on; an error means that nothing more could be done.
/// SIGINT and SIGTERM end it; parts of blobs are kept for the next time as soon as `client` is dropped.
/// Blocks; must not be called from async code.
pub fn import_remote(
    registry: &Registry,
    client: &Blocking,
    origin: &Origin,
    repository: Option<&RepositoryName>,
    tag: Option<&Tag>,
    listener: Listener<'_>,
) -> Result<Imported, AdminError> {
    let import = Import {
        registry,
        client: client.client(),
        listener,
        blobs: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    };
    let mut imported = Imported::default();
    client.run(async {
        tokio::select! {
            outcome = import.run(origin, repository, tag, &mut imported) => outcome,
            stop = super::super::asked_to_stop() => Err(match stop {
                Ok(()) => AdminError::Interrupted,
                Err(source) => AdminError::File {
                    path: "signals".into(),
                    source,
                },
            }),
        }
    })?;
    imported.blobs = import.blobs.load(Ordering::Relaxed);
    imported.bytes = import.bytes.load(Ordering::Relaxed);
    Ok(imported)
}

struct Import<'a> {
    registry: &'a Registry,
    client: &'a Client,
    listener: Listener<'a>,
    blobs: AtomicU64,
    bytes: AtomicU64,
}

impl Import<'_> {
    async fn run(
        &self,
        origin: &Origin,
        repository: Option<&RepositoryName>,
        tag: Option<&Tag>,
        imported: &mut Imported,
    ) -> Result<(), AdminError> {
        match origin {
            Origin::Image(reference) => {
                let to = repository.unwrap_or(&reference.repository);
                let tag = match (tag, &reference.digest) {
                    (Some(tag), _) => Some(tag),
                    (None, None) => reference.tag.as_ref(),
                    (None, Some(_)) => None,
                };
                Copy::new(self, reference, to, false)
                    .image(reference, tag, imported)
                    .await
            }
            Origin::Repository(reference) => {
                let to = repository.unwrap_or(&reference.repository);
                self.repository(reference, to, imported).await
            }
            Origin::Registry(host) => {
                let names = self.client.catalogue(host).await;
                for name in names.map_err(remote(host))? {
                    let to = match repository {
                        Some(prefix) => format!("{prefix}/{name}").parse(),
                        None => Ok(name.clone()),
                    };
                    let reference = Reference {
                        registry: host.as_str().into(),
                        repository: name.clone(),
                        tag: None,
                        digest: None,
                    };
                    let outcome = match to {
                        Ok(to) => self.repository(&reference, &to, imported).await,
                        Err(error) => Err(AdminError::Content {
                            name: name.to_string(),
                            reason: error.to_string(),
                        }),
                    };
                    self.settle(name.as_str(), outcome, imported)?;
                }
                Ok(())
            }
        }
    }

    async fn repository(
        &self,
        reference: &Reference,
        to: &RepositoryName,
        imported: &mut Imported,
    ) -> Result<(), AdminError> {
        let tags = self.client.tags(reference).await;
        let mut copy = Copy::new(self, reference, to, true);
        for tag in tags.map_err(remote(&reference.familiar_name()))? {
            let name = reference.with_tag(tag.clone());
            let outcome = copy.image(&name, Some(&tag), imported).await;
            self.settle(&name.familiar(), outcome, imported)?;
        }
        Ok(())
    }

    /// Goes on after a failure that concerns one name.
    fn settle(
        &self,
        name: &str,
        outcome: Result<(), AdminError>,
        imported: &mut Imported,
    ) -> Result<(), AdminError> {
        match outcome {
            Err(error) if !is_final(&error) => {
                imported.failed += 1;
                (self.listener)(&Event::Failed(name, &error));
                Ok(())
            }
            other => other,
        }
    }

    fn on_transfer(&self, event: &TransferEvent<'_>) {
        match event {
            TransferEvent::Done { descriptor } => {
                self.blobs.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(descriptor.size, Ordering::Relaxed);
                (self.listener)(&Event::Blob(descriptor));
            }
            TransferEvent::Retrying { error, delay, .. } => {
                (self.listener)(&Event::Retrying(error, *delay));
            }
            _ => {}
        }
    }
}

/// Whether this registry failed, so that other names would fare no better.
fn is_final(error: &AdminError) -> bool {
    match error {
        AdminError::Refused { source, .. } => {
            matches!(
                source,
                Error::NoSpace | Error::Store(_) | Error::Metadata(_)
            )
        }
        AdminError::Remote { source, .. } => matches!(**source, ClientError::Local { .. }),
        AdminError::Content { .. } => false,
        _ => true,
    }
}

fn remote(name: &str) -> impl FnOnce(ClientError) -> AdminError + '_ {
    move |source| AdminError::Remote {
        name: name.to_owned(),
        source: Box::new(source),
    }
}

/// From one repository to another.
struct Copy<'a> {
    import: &'a Import<'a>,
    from: Reference,
    to: RepositoryName,
    /// Manifests that are here with all that belongs to them.
    seen: HashSet<Digest>,
    /// Whether all tags come, and so the tags in which clients of old keep lists of referrers.
    has_all_tags: bool,
    lists_referrers: bool,
}

type Step<'a> = Pin<Box<dyn Future<Output = Result<(), AdminError>> + 'a>>;

impl<'a> Copy<'a> {
    fn new(
        import: &'a Import<'a>,
        from: &Reference,
        to: &RepositoryName,
        has_all_tags: bool,
    ) -> Self {
        Self {
            import,
            from: from.clone(),
            to: to.clone(),
            seen: HashSet::new(),
            has_all_tags,
            lists_referrers: true,
        }
    }

    /// An image under its name at the source, and everything that belongs to it.
    async fn image(
        &mut self,
        name: &Reference,
        tag: Option<&Tag>,
        imported: &mut Imported,
    ) -> Result<(), AdminError> {
        let shown = name.familiar();
        let top = self.import.client.resolve(name).await;
        let digest = top.map_err(remote(&shown))?.digest;
        self.manifest(digest, DEPTH, imported).await?;
        if let Some(tag) = tag {
            self.set(tag, digest, imported)?;
        }
        (self.import.listener)(&Event::Image(&shown, digest));
        Ok(())
    }

    /// Lets a tag name a manifest that is here.
    fn set(&self, tag: &Tag, digest: Digest, imported: &mut Imported) -> Result<(), AdminError> {
        let registry = self.import.registry;
        let current = registry.manifest(&self.to, &ManifestName::Tag(tag.clone()));
        if current.is_ok_and(|current| current.digest == digest) {
            return Ok(());
        }
        let here = registry
            .manifest(&self.to, &ManifestName::Digest(digest))
            .map_err(super::layout::refused(digest))?;
        self.put(digest, here.media_type, here.content, Some(tag))?;
        imported.tags.push(tag.clone());
        Ok(())
    }

    fn put(
        &self,
        digest: Digest,
        media_type: String,
        content: Vec<u8>,
        tag: Option<&Tag>,
    ) -> Result<(), AdminError> {
        let push = PushManifest {
            digest: Some(digest),
            tags: tag.into_iter().cloned().collect(),
            precondition: Precondition::None,
            content_type: Some(media_type),
            content,
        };
        let pushed = self.import.registry.put_manifest(&self.to, push);
        pushed.map(|_| ()).map_err(super::layout::refused(digest))
    }

    /// A manifest or index after everything that it refers to, and then what refers to it.
    fn manifest<'b>(
        &'b mut self,
        digest: Digest,
        depth: usize,
        imported: &'b mut Imported,
    ) -> Step<'b> {
        Box::pin(async move {
            if !self.seen.insert(digest) {
                return Ok(());
            }
            let outcome = self.unseen(digest, depth, imported).await;
            if outcome.is_err() {
                // Another name for it fails for the same reason, and not because it seems to be here.
                self.seen.remove(&digest);
            }
            outcome
        })
    }

    async fn unseen(
        &mut self,
        digest: Digest,
        depth: usize,
        imported: &mut Imported,
    ) -> Result<(), AdminError> {
        if depth == 0 {
            return Err(content(digest, "it stands too deep in other manifests"));
        }
        let here = self
            .import
            .registry
            .manifest(&self.to, &ManifestName::Digest(digest))
            .ok();
        let is_here = here.is_some();
        let (media_type, bytes) = if let Some(record) = here {
            (MediaType::new(record.media_type), record.content)
        } else {
            let name = self.from.with_digest(digest);
            let document = self.import.client.manifest(&name).await;
            let document = document.map_err(remote(&name.familiar()))?;
            (document.descriptor.media_type, document.bytes)
        };
        if media_type.is_index() {
            let index: Index = serde_json::from_slice(&bytes)
                .map_err(|error| content(digest, &error.to_string()))?;
            for child in &index.manifests {
                match self.manifest(child.digest, depth - 1, imported).await {
                    // Whether an index may name what is nowhere is for the registry to say.
                    Err(AdminError::Remote { source, .. }) if source.is_not_found() => {}
                    other => other?,
                }
            }
        } else if !is_here {
            let manifest: Manifest = serde_json::from_slice(&bytes)
                .map_err(|error| content(digest, &error.to_string()))?;
            self.blobs(&manifest).await?;
        }
        if !is_here {
            self.put(digest, media_type.to_string(), bytes, None)?;
            imported.manifests += 1;
        }
        self.referrers(digest, depth - 1, imported).await
    }

    async fn blobs(&self, manifest: &Manifest) -> Result<(), AdminError> {
        let mut seen = HashSet::new();
        let blobs = manifest.layers.iter().chain([&manifest.config]);
        let fetches: Vec<_> = blobs
            .filter(|blob| seen.insert(blob.digest))
            .map(|blob| self.blob(blob))
            .collect();
        futures_util::stream::iter(fetches)
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await
    }

    async fn blob(&self, blob: &Descriptor) -> Result<(), AdminError> {
        let import = self.import;
        let store: Arc<dyn BlobStore> = Arc::new(Target::new(import.registry, &self.to, blob));
        let observer = |event: &TransferEvent<'_>| import.on_transfer(event);
        let fetched = import
            .client
            .pull_blob(&self.from, blob, &store, &observer)
            .await;
        match fetched {
            // A layer that is only elsewhere; the registry decides whether the manifest may name it.
            Err(error) if error.is_not_found() && is_foreign(&blob.media_type) => Ok(()),
            other => other.map_err(remote(&blob.digest.to_string())),
        }
    }

    /// What has this manifest as its subject: signatures, lists of contents, attestations.
    async fn referrers(
        &mut self,
        subject: Digest,
        depth: usize,
        imported: &mut Imported,
    ) -> Result<(), AdminError> {
        if self.lists_referrers {
            let listed = self.import.client.referrers(&self.from, subject).await;
            match listed.map_err(remote(&format!("referrers of {subject}")))? {
                Some(entries) => {
                    for entry in entries {
                        self.manifest(entry.digest, depth, imported).await?;
                    }
                    return Ok(());
                }
                None => self.lists_referrers = false,
            }
        }
        if self.has_all_tags {
            return Ok(());
        }
        let mut name = format!("{}-{}", subject.algorithm().as_str(), subject.hex());
        // The tag of a long digest is cut to what a tag may have (distribution-spec, "Referrers Tag Schema").
        name.truncate(128);
        let Ok(tag) = name.parse::<Tag>() else {
            return Ok(());
        };
        let name = self.from.with_tag(tag.clone());
        match self.import.client.resolve(&name).await {
            Ok(list) => {
                self.manifest(list.digest, depth, imported).await?;
                self.set(&tag, list.digest, imported)
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(remote(&name.familiar())(error)),
        }
    }
}

/// Layers that registries need not have (image-spec, "Non-Distributable Layers"; Docker's foreign layers).
fn is_foreign(media_type: &MediaType) -> bool {
    let text = media_type.as_str();
    text.contains("nondistributable") || text.contains(".foreign.")
}

fn content(digest: Digest, reason: &str) -> AdminError {
    AdminError::Content {
        name: digest.to_string(),
        reason: reason.to_owned(),
    }
}
