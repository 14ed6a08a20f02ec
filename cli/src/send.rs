//! Sending an image to a registry: which blobs in which form, and the manifest that names them.
//!
//! Layers that were made here are stored uncompressed. The first push compresses them, in parallel, always to the same bytes,
//! and the store remembers the outcome; later pushes know the digests without the bytes.
//! An image that came from a registry is sent as it came: the same manifest, byte for byte.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_image::layer::compress;
use rbuild_image::{
    Compression, Descriptor, DiffId, Manifest, MediaType, Raw, Reference, RepositoryName,
};
use rbuild_registry_client::{BlobContent, BlobSource, Blocking, Observer, TransferEvent};
use rbuild_store::local::LocalStore;
use rbuild_store::{BlobStore, CommitError, Expected};

use crate::exit::{Doing, Failure, Outcome};
use crate::interrupt::{Interrupt, Watched, interrupted};
use crate::registry::{failure, interruptible};
use crate::session::Session;

/// What the registry has now.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The manifest that was sent.
    pub(crate) manifest: Descriptor,
}

/// More repositories to mount from are seldom of use.
const MOUNT_LIMIT: usize = 4;

/// Pushes the image with this manifest under a name.
pub(crate) fn push(
    client: &Blocking,
    session: &Session,
    store: &LocalStore,
    name: &Reference,
    local: &Descriptor,
    observer: &dyn Observer,
) -> Outcome<Sent> {
    let _ = session.interrupt.watch();
    let pushing = || format!("cannot push `{}`", name.familiar());
    let original = store
        .manifest(&local.digest)
        .doing(pushing)?
        .ok_or_else(|| {
            Failure::unable(format!(
                "the manifest of `{}` is not in the local store",
                name.familiar()
            ))
            .hint("build, pull or load it again")
        })?;
    let manifest = packed_manifest(session, store, name, local, original, observer)?;
    let descriptor = manifest.descriptor(local.media_type.clone());
    let blobs = blob_sources(store, session, name, manifest.value())?;
    interruptible(
        client,
        session,
        client.client().push_image(
            name,
            manifest.bytes(),
            &descriptor.media_type,
            blobs,
            observer,
        ),
    )?
    .map_err(|error| failure(pushing(), &error))?;
    store
        .tag(&name.with_digest(descriptor.digest), local)
        .doing(|| format!("cannot note the digest of `{}`", name.familiar()))?;
    Ok(Sent {
        manifest: descriptor,
    })
}

/// The manifest to send: the stored one, or the same with compressed layers.
fn packed_manifest(
    session: &Session,
    store: &LocalStore,
    name: &Reference,
    local: &Descriptor,
    original: Raw<Manifest>,
    observer: &dyn Observer,
) -> Outcome<Raw<Manifest>> {
    let plain =
        |layer: &Descriptor| layer.media_type.layer_compression() == Some(Compression::None);
    if !original.value().layers.iter().any(plain) || came_from_registry(store, local)? {
        return Ok(original);
    }
    let mut manifest = original.value().clone();
    let pending: Vec<usize> = (0..manifest.layers.len())
        .filter(|index| plain(&manifest.layers[*index]))
        .collect();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Outcome<Descriptor>)>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(pending.len()) {
            scope.spawn(|| {
                while let Some(index) = pending.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let layer = &manifest.layers[*index];
                    let packed = if session.interrupt.is_set() {
                        Err(interrupted())
                    } else {
                        packed_layer(store, &session.interrupt, layer, observer)
                    };
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((*index, packed));
                }
            });
        }
    });
    for (index, packed) in done.into_inner().unwrap_or_else(PoisonError::into_inner) {
        manifest.layers[index] = packed?;
    }
    Raw::write(manifest).map_err(|error| {
        Failure::unable(format!(
            "cannot write the manifest of `{}`",
            name.familiar()
        ))
        .caused_by(&error)
    })
}

/// Whether a registry has exactly this manifest.
fn came_from_registry(store: &LocalStore, local: &Descriptor) -> Outcome<bool> {
    let names = store.names().doing(|| "cannot read the local store")?;
    Ok(names
        .iter()
        .any(|(reference, _)| reference.digest == Some(local.digest)))
}

/// The compressed form of an uncompressed layer; made if nobody has made it yet.
fn packed_layer(
    store: &LocalStore,
    interrupt: &Interrupt,
    layer: &Descriptor,
    observer: &dyn Observer,
) -> Outcome<Descriptor> {
    let packing = || format!("cannot compress layer `{}`", layer.digest.short());
    let diff_id = DiffId(layer.digest);
    if let Some(known) = store.compressed(diff_id).doing(packing)? {
        return Ok(as_oci(&known));
    }
    observer.on_event(&TransferEvent::Started { descriptor: layer });
    let packed = compress_into(store, interrupt, layer);
    if interrupt.is_set() {
        return Err(interrupted());
    }
    let packed = packed.doing(packing)?;
    store.note_compressed(diff_id, &packed).doing(packing)?;
    Ok(packed)
}

fn compress_into(
    store: &LocalStore,
    interrupt: &Interrupt,
    layer: &Descriptor,
) -> io::Result<Descriptor> {
    let (plain, _) = store.blobs().open_file(&layer.digest)?.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "it is not in the local store, or damaged",
        )
    })?;
    let mut ingest = store.ingest()?;
    let options = compress::Options {
        level: compress::DEFAULT_LEVEL,
        threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    };
    compress::gzip(Watched::new(plain, interrupt), &mut ingest, options)?;
    let blob = ingest.commit(Expected::Any).map_err(|error| match error {
        CommitError::Io(error) => error,
        other => io::Error::other(other),
    })?;
    Ok(Descriptor::new(
        MediaType::LAYER_GZIP,
        blob.digest,
        blob.size,
    ))
}

/// A layer as our own manifests name it: OCI's media type for the same bytes.
fn as_oci(layer: &Descriptor) -> Descriptor {
    let media_type = match layer.media_type.layer_compression() {
        Some(Compression::Gzip) => MediaType::LAYER_GZIP,
        Some(Compression::Zstd) => MediaType::LAYER_ZSTD,
        Some(Compression::None) => MediaType::LAYER,
        None => layer.media_type.clone(),
    };
    Descriptor::new(media_type, layer.digest, layer.size)
}

/// Config and layers, each opened only if the registry lacks it.
fn blob_sources(
    store: &LocalStore,
    session: &Session,
    name: &Reference,
    manifest: &Manifest,
) -> Outcome<Vec<BlobSource>> {
    let config = store
        .config(&manifest.config.digest)
        .doing(|| "cannot read the image's config")?;
    let diff_ids = config.map_or_else(Vec::new, |config| config.value().rootfs.diff_ids.clone());
    let blobs: Arc<dyn BlobStore> = Arc::new(store.blobs().clone());
    let mut sources = vec![BlobSource::from_store(
        manifest.config.clone(),
        Arc::clone(&blobs),
    )];
    for (index, layer) in manifest.layers.iter().enumerate() {
        let source = match diff_ids.get(index) {
            Some(diff_id) => {
                let (store, layer, diff_id) = (store.clone(), layer.clone(), *diff_id);
                let interrupt = session.interrupt.clone();
                BlobSource::new(layer.clone(), move || {
                    open_packed(&store, &interrupt, &layer, diff_id)
                })
            }
            None => BlobSource::from_store(layer.clone(), Arc::clone(&blobs)),
        };
        sources.push(source.mount_from(repositories_with(store, name, layer)?));
    }
    Ok(sources)
}

/// Opens a layer to send; compresses it again if only the uncompressed form is here.
fn open_packed(
    store: &LocalStore,
    interrupt: &Interrupt,
    layer: &Descriptor,
    diff_id: DiffId,
) -> io::Result<Box<dyn BlobContent>> {
    let opened =
        |file: Option<(File, u64)>| file.map(|(file, _)| Box::new(file) as Box<dyn BlobContent>);
    if let Some(content) = opened(store.blobs().open_file(&layer.digest)?) {
        return Ok(content);
    }
    let missing = |why: String| io::Error::new(io::ErrorKind::NotFound, why);
    let Some(plain) = store
        .layer_blob(diff_id)?
        .filter(|blob| blob.digest == diff_id.0)
    else {
        return Err(missing(format!(
            "layer `{}` is not in the local store",
            layer.digest.short()
        )));
    };
    let packed = compress_into(store, interrupt, &plain)?;
    if packed.digest != layer.digest {
        return Err(missing(format!(
            "layer `{}` is not in the local store, and compressing it again gives other bytes",
            layer.digest.short()
        )));
    }
    opened(store.blobs().open_file(&packed.digest)?)
        .ok_or_else(|| missing(format!("layer `{}` has gone", layer.digest.short())))
}

/// Other repositories of the same registry that have this layer, as far as we know.
fn repositories_with(
    store: &LocalStore,
    name: &Reference,
    layer: &Descriptor,
) -> Outcome<Vec<RepositoryName>> {
    let reading = || "cannot read the local store";
    let mut found: Vec<RepositoryName> = Vec::new();
    for (other, descriptor) in store.names().doing(reading)? {
        let candidate = other.digest.is_some()
            && other.registry == name.registry
            && other.repository != name.repository
            && !found.contains(&other.repository);
        if !candidate {
            continue;
        }
        let Some(manifest) = store.manifest(&descriptor.digest).doing(reading)? else {
            continue;
        };
        for own in &manifest.value().layers {
            let same = own.digest == layer.digest
                || store
                    .compressed(DiffId(own.digest))
                    .doing(reading)?
                    .is_some_and(|packed| packed.digest == layer.digest);
            if same {
                found.push(other.repository.clone());
                break;
            }
        }
        if found.len() == MOUNT_LIMIT {
            break;
        }
    }
    Ok(found)
}
