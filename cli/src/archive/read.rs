//! Reading an archive: one pass over a stream, blobs go straight into the store.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::AsFd;

use rbuild_image::layer::compress;
use rbuild_image::{
    Compression, Descriptor, Digest, ImageConfig, Index, Manifest, MediaType, Platform, Reference,
    annotations,
};
use rbuild_store::local::LocalStore;
use rbuild_store::{BlobInfo, BlobStore, CommitError, Expected};
use serde::de::DeserializeOwned;

use super::DockerEntry;
use super::stream::{beside, normal, unpack};
use crate::exit::{Doing, Failure, Outcome};
use crate::interrupt::{Interrupt, Watched};
use crate::registry::check_layer;

/// An image of an archive that is in the store now.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Its image id.
    pub(crate) id: Digest,
    /// The names that it was given.
    pub(crate) names: Vec<Reference>,
}

/// Files that describe the archive.
const DOCUMENTS: [&str; 4] = ["index.json", "manifest.json", "oci-layout", "repositories"];
/// The longest of them that is read, in bytes.
const DOCUMENT_LIMIT: u64 = 16 << 20;
/// More nested indexes than this are no image.
const INDEX_DEPTH: usize = 4;

/// Reads an archive into the store and names its images.
pub(crate) fn read(
    store: &LocalStore,
    interrupt: &Interrupt,
    input: impl Read + AsFd + Send + 'static,
) -> Outcome<Vec<Loaded>> {
    let contents = Contents::read(store, Watched::new(input, interrupt))?;
    let mut loaded = Vec::new();
    for (descriptor, names) in contents.images(store)? {
        check(store, interrupt, &descriptor)?;
        let image = store
            .record_image(&descriptor)
            .doing(|| "cannot record a loaded image")?;
        for name in &names {
            store
                .tag(name, &descriptor)
                .doing(|| format!("cannot name `{}`", name.familiar()))?;
        }
        loaded.push(Loaded {
            id: image.image_id,
            names,
        });
    }
    if loaded.is_empty() {
        return Err(Failure::input(
            "the archive holds no image for this platform",
        ));
    }
    Ok(loaded)
}

/// What an archive holds: its files are blobs of the store.
#[derive(Debug, Default)]
struct Contents {
    files: BTreeMap<String, BlobInfo>,
    /// The documents of the archive itself, which are nothing of an image.
    documents: BTreeMap<String, Vec<u8>>,
    /// Links, as docker before version 25 wrote for layers that it had written already.
    links: BTreeMap<String, String>,
}

impl Contents {
    fn read(store: &LocalStore, input: impl Read + Send + 'static) -> Outcome<Self> {
        let reading = || "cannot read the archive";
        let unpacked = unpack(input)?;
        let mut archive = tar::Archive::new(unpacked);
        let mut contents = Self::default();
        for entry in archive.entries().doing(reading)? {
            let mut entry = entry.map_err(|error| broken(&error))?;
            let name = normal(&String::from_utf8_lossy(&entry.path_bytes()));
            let kind = entry.header().entry_type();
            if kind.is_symlink() || kind.is_hard_link() {
                let target = entry
                    .link_name_bytes()
                    .map(|target| String::from_utf8_lossy(&target).into_owned())
                    .unwrap_or_default();
                let target = if kind.is_symlink() {
                    beside(&name, &target)
                } else {
                    normal(&target)
                };
                contents.links.insert(name, target);
            } else if kind.is_file() && DOCUMENTS.contains(&name.as_str()) {
                let mut bytes = Vec::new();
                (&mut entry)
                    .take(DOCUMENT_LIMIT)
                    .read_to_end(&mut bytes)
                    .map_err(|error| broken(&error))?;
                contents.documents.insert(name, bytes);
            } else if kind.is_file() {
                let blob = keep(store, &name, &mut entry)?;
                contents.files.insert(name, blob);
            }
        }
        if contents.files.is_empty() && contents.documents.is_empty() {
            return Err(Failure::input("the archive is empty").hint(
                "`rbuild load` reads what `docker save`, `rbuild save` and `skopeo copy` write",
            ));
        }
        Ok(contents)
    }

    fn find(&self, path: &str) -> Option<BlobInfo> {
        let mut path = normal(path);
        for _ in 0..8 {
            if let Some(blob) = self.files.get(&path) {
                return Some(*blob);
            }
            path.clone_from(self.links.get(&path)?);
        }
        None
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Outcome<Option<T>> {
        let Some(bytes) = self.documents.get(name) else {
            return Ok(None);
        };
        understood(bytes, name).map(Some)
    }

    /// Manifests with their names.
    fn images(&self, store: &LocalStore) -> Outcome<Vec<(Descriptor, Vec<Reference>)>> {
        let docker: Option<Vec<DockerEntry>> = self.json("manifest.json")?;
        if let Some(index) = self.json::<Index>("index.json")? {
            let mut images = Vec::new();
            for entry in &index.manifests {
                let Some(manifest) = choose(store, entry, INDEX_DEPTH)? else {
                    continue;
                };
                let mut names: Vec<Reference> = name_of(entry).into_iter().collect();
                if names.is_empty() {
                    names = self.docker_names(store, &manifest, docker.as_deref())?;
                }
                add(&mut images, manifest, names);
            }
            return Ok(images);
        }
        let docker = docker.ok_or_else(|| {
            Failure::input("the archive is neither docker's nor an OCI layout: it has no `manifest.json` and no `index.json`")
        })?;
        let mut images = Vec::new();
        for entry in &docker {
            let manifest = self.make_manifest(store, entry)?;
            add(&mut images, manifest, entry_names(entry)?);
        }
        Ok(images)
    }

    fn docker_names(
        &self,
        store: &LocalStore,
        manifest: &Descriptor,
        docker: Option<&[DockerEntry]>,
    ) -> Outcome<Vec<Reference>> {
        let manifest: Manifest = document(store, &manifest.digest, "a manifest")?;
        let mut names = Vec::new();
        for entry in docker.unwrap_or_default() {
            let same = self
                .find(&entry.config)
                .is_some_and(|blob| blob.digest == manifest.config.digest);
            if same {
                names.extend(entry_names(entry)?);
            }
        }
        Ok(names)
    }

    /// The manifest of an image that an archive in docker's old form describes without one.
    fn make_manifest(&self, store: &LocalStore, entry: &DockerEntry) -> Outcome<Descriptor> {
        let writing = || "cannot store a manifest";
        let config = self
            .find(&entry.config)
            .ok_or_else(|| missing(&entry.config))?;
        let mut layers = Vec::new();
        for path in entry.layers.iter().flatten() {
            let blob = self.find(path).ok_or_else(|| missing(path))?;
            let media_type = match compression(store, &blob)? {
                Compression::None => MediaType::LAYER,
                Compression::Gzip => MediaType::LAYER_GZIP,
                Compression::Zstd => MediaType::LAYER_ZSTD,
            };
            layers.push(Descriptor::new(media_type, blob.digest, blob.size));
        }
        let config = Descriptor::new(MediaType::CONFIG, config.digest, config.size);
        let bytes = serde_json::to_vec(&Manifest::oci(config, layers))
            .map_err(io::Error::from)
            .doing(writing)?;
        store
            .put_document(MediaType::MANIFEST, &bytes)
            .doing(writing)
    }
}

/// The image manifest that an entry of an index leads to; `None` if none is for this platform.
fn choose(store: &LocalStore, entry: &Descriptor, depth: usize) -> Outcome<Option<Descriptor>> {
    let is_here = || {
        store
            .blobs()
            .stat(&entry.digest)
            .doing(|| "cannot read the local store")
    };
    if entry.media_type.is_manifest() {
        // An artifact (a signature, an attestation) is no image.
        if is_here()?.is_none() {
            return Err(missing(&entry.digest.to_string()));
        }
        let manifest: Manifest = document(store, &entry.digest, "a manifest")?;
        return Ok(manifest
            .config
            .media_type
            .is_config()
            .then(|| entry.clone()));
    }
    if !entry.media_type.is_index() || depth == 0 || is_here()?.is_none() {
        return Ok(None);
    }
    let index: Index = document(store, &entry.digest, "an index")?;
    match index.choose(&Platform::host()) {
        Some(chosen) => choose(store, chosen, depth - 1),
        None => Ok(None),
    }
}

/// Checks that the layers are what the config promises, and notes it.
fn check(store: &LocalStore, interrupt: &Interrupt, manifest: &Descriptor) -> Outcome<()> {
    let manifest: Manifest = document(store, &manifest.digest, "a manifest")?;
    let config: ImageConfig = document(store, &manifest.config.digest, "a config")?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        return Err(Failure::input(format!(
            "an image of the archive has {} layers and its config {}",
            manifest.layers.len(),
            diff_ids.len()
        )));
    }
    for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
        check_layer(store, interrupt, layer, *diff_id)?;
    }
    Ok(())
}

fn add(
    images: &mut Vec<(Descriptor, Vec<Reference>)>,
    manifest: Descriptor,
    names: Vec<Reference>,
) {
    match images
        .iter_mut()
        .find(|(known, _)| known.digest == manifest.digest)
    {
        Some((_, known)) => known.extend(names),
        None => images.push((manifest, names)),
    }
}

fn missing(path: &str) -> Failure {
    Failure::input(format!("the archive names `{path}` but does not hold it"))
}

fn broken(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull => Failure::io("cannot read the archive", error),
        _ => Failure::input("the archive is damaged, or no tar").caused_by(error),
    }
}

fn document<T: DeserializeOwned>(store: &LocalStore, digest: &Digest, what: &str) -> Outcome<T> {
    let bytes = store
        .document(digest)
        .doing(|| "cannot read the local store")?
        .ok_or_else(|| missing(&digest.to_string()))?;
    understood(&bytes, what)
}

fn understood<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Outcome<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::input(format!("{what} of the archive cannot be understood")).caused_by(&error)
    })
}

/// Stores a file of the archive; a path that is a digest is a promise.
fn keep(store: &LocalStore, name: &str, content: &mut impl Read) -> Outcome<BlobInfo> {
    let storing = || format!("cannot store `{name}` of the archive");
    let promised = name
        .strip_prefix("blobs/")
        .and_then(|rest| rest.replacen('/', ":", 1).parse::<Digest>().ok());
    let mut ingest = store.ingest().doing(storing)?;
    io::copy(content, &mut ingest).map_err(|error| broken(&error))?;
    let expected = promised.map_or(Expected::Any, Expected::Digest);
    ingest.commit(expected).map_err(|error| match error {
        CommitError::Io(error) => Failure::io(storing(), &error),
        other => Failure::input(format!("`{name}` of the archive is damaged")).caused_by(&other),
    })
}

fn name_of(entry: &Descriptor) -> Option<Reference> {
    let annotation = |key: &str| entry.annotations.get(key);
    annotation(annotations::CONTAINERD_IMAGE_NAME)
        // Podman and others write the whole name here; a tag alone names no repository.
        .or_else(|| annotation(annotations::REF_NAME).filter(|name| name.contains([':', '/'])))
        .and_then(|name| name.parse::<Reference>().ok())
        .filter(|name| name.digest.is_none())
}

fn entry_names(entry: &DockerEntry) -> Outcome<Vec<Reference>> {
    entry
        .repo_tags
        .iter()
        .flatten()
        .map(|name| {
            name.parse::<Reference>().map_err(|error| {
                Failure::input(format!("the archive has an image with the name `{name}`"))
                    .caused_by(&error)
            })
        })
        .collect()
}

fn compression(store: &LocalStore, blob: &BlobInfo) -> Outcome<Compression> {
    let mut head = [0; 4];
    let reading = || "cannot read a layer";
    if let Some((file, _)) = store.blobs().open_file(&blob.digest).doing(reading)? {
        let mut read = 0;
        let mut file = file.take(4);
        while let count @ 1.. = file.read(&mut head[read..]).doing(reading)? {
            read += count;
        }
    }
    Ok(compress::detect(&head))
}
