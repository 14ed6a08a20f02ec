//! Image records: every image manifest that was built, pulled or loaded, named or not.

use std::fs;
use std::io::{self, Write};
use std::time::SystemTime;

use rbuild_image::{Descriptor, Digest, ImageConfig, Manifest, MediaType, Raw, Reference};
use serde::{Deserialize, Serialize};

use super::{LocalStore, file};
use crate::{BlobStore, CommitError, Expected};

/// Manifests and configs are small; more is refused.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// An image that is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its manifest.
    pub descriptor: Descriptor,
    /// Digest of its config: what docker calls the image id.
    pub image_id: Digest,
}

/// What a user's text means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The image.
    pub image: ImageRecord,
    /// The name it was found by; `None` if it was found by its id.
    pub reference: Option<Reference>,
}

/// The outcome of looking for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// One image.
    Found(Box<Found>),
    /// The beginning of several image ids.
    Ambiguous(Vec<Digest>),
    /// Nothing.
    Missing,
}

impl LocalStore {
    /// Stores a manifest or config that is in memory.
    pub fn put_document(&self, media_type: MediaType, bytes: &[u8]) -> io::Result<Descriptor> {
        let descriptor = Descriptor::of(media_type, bytes);
        if self.blobs().stat(&descriptor.digest)?.is_none() {
            let mut ingest = self.ingest()?;
            ingest.write_all(bytes)?;
            ingest
                .commit(Expected::Digest(descriptor.digest))
                .map_err(|error| match error {
                    CommitError::Io(error) => error,
                    other => io::Error::other(other),
                })?;
        }
        Ok(descriptor)
    }

    /// Reads a small blob whole; `None` if it is not here.
    pub fn document(&self, digest: &Digest) -> io::Result<Option<Vec<u8>>> {
        let Some((mut open, size)) = self.blobs().open_file(digest)? else {
            return Ok(None);
        };
        if size > DOCUMENT_LIMIT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("`{digest}` has {size} bytes: too long for a manifest or config"),
            ));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        io::Read::read_to_end(&mut open, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// The image manifest of that digest; `None` if it is not here.
    pub fn manifest(&self, digest: &Digest) -> io::Result<Option<Raw<Manifest>>> {
        self.parsed(digest, "image manifest")
    }

    /// The image config of that digest (an image id); `None` if it is not here.
    pub fn config(&self, digest: &Digest) -> io::Result<Option<Raw<ImageConfig>>> {
        self.parsed(digest, "image config")
    }

    fn parsed<T: serde::de::DeserializeOwned>(
        &self,
        digest: &Digest,
        what: &str,
    ) -> io::Result<Option<Raw<T>>> {
        let Some(bytes) = self.document(digest)? else {
            return Ok(None);
        };
        Raw::parse(bytes).map(Some).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("`{digest}` is no {what}: {error}"),
            )
        })
    }

    /// Records an image whose manifest is stored, so that it stays without a name.
    pub fn record_image(&self, descriptor: &Descriptor) -> io::Result<ImageRecord> {
        if let Some(record) = self.image(&descriptor.digest)? {
            self.touch_image(&descriptor.digest)?;
            return Ok(record);
        }
        let manifest = self.manifest(&descriptor.digest)?.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("manifest `{}` is not in the local store", descriptor.digest),
            )
        })?;
        let record = ImageRecord {
            // What refers to the image may say more of it than is true everywhere (annotations, platform).
            descriptor: Descriptor::new(
                descriptor.media_type.clone(),
                descriptor.digest,
                descriptor.size,
            ),
            image_id: manifest.value().config.digest,
        };
        file::write(&self.image_path(&descriptor.digest), &record)?;
        Ok(record)
    }

    /// The record of a manifest; `None` if there is none.
    pub fn image(&self, manifest: &Digest) -> io::Result<Option<ImageRecord>> {
        file::read(&self.image_path(manifest))
    }

    /// All image records, by manifest digest.
    pub fn images(&self) -> io::Result<Vec<ImageRecord>> {
        let mut records = Vec::new();
        for name in file::list(&self.path(&["images"]))? {
            records.extend(file::read::<ImageRecord>(&self.path(&["images", &name]))?);
        }
        Ok(records)
    }

    /// Notes that an image is used now.
    pub fn touch_image(&self, manifest: &Digest) -> io::Result<()> {
        let path = self.image_path(manifest);
        match fs::File::open(&path).and_then(|open| open.set_modified(SystemTime::now())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file::at(&path)(error)),
            _ => Ok(()),
        }
    }

    /// When an image was last used; `None` if it is not recorded.
    pub fn image_used(&self, manifest: &Digest) -> io::Result<Option<SystemTime>> {
        let path = self.image_path(manifest);
        match fs::metadata(&path).and_then(|metadata| metadata.modified()) {
            Ok(time) => Ok(Some(time)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file::at(&path)(error)),
        }
    }

    /// Forgets an image and every name of it; its bytes stay until a sweep. `false`: it was not recorded.
    pub fn remove_image(&self, manifest: &Digest) -> io::Result<bool> {
        for (reference, descriptor) in self.names()? {
            if descriptor.digest == *manifest {
                self.untag(&reference)?;
            }
        }
        file::remove(&self.image_path(manifest))
    }

    /// Looks for an image by what a user typed: a name, an image id or manifest digest (with or without `sha256:`), or the beginning of an id.
    pub fn find(&self, text: &str) -> io::Result<Lookup> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let is_hex = !hex.is_empty()
            && hex.len() <= 64
            && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        // A name made of hex digits alone wins over an id's beginning, not over a whole one (docker's order).
        if !(is_hex && (hex.len() == 64 || hex.len() != text.len()))
            && let Ok(reference) = text.parse::<Reference>()
            && let Some(descriptor) = self.resolve(&reference)?
        {
            let image = self.record_image(&descriptor)?;
            return Ok(Lookup::Found(Box::new(Found {
                image,
                reference: Some(reference),
            })));
        }
        if !is_hex {
            return Ok(Lookup::Missing);
        }
        let mut found: Vec<ImageRecord> = Vec::new();
        for record in self.images()? {
            let matches = |digest: &Digest| {
                digest.hex().starts_with(hex) && digest.to_string().starts_with("sha256:")
            };
            if matches(&record.image_id) || (hex.len() == 64 && matches(&record.descriptor.digest))
            {
                found.push(record);
            }
        }
        let mut ids: Vec<Digest> = found.iter().map(|record| record.image_id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() > 1 {
            return Ok(Lookup::Ambiguous(ids));
        }
        // Several manifests of one image (built here and pulled): the one that was used last.
        let mut best: Option<(Option<SystemTime>, ImageRecord)> = None;
        for record in found {
            let used = self.image_used(&record.descriptor.digest)?;
            if best.as_ref().is_none_or(|(time, _)| used > *time) {
                best = Some((used, record));
            }
        }
        Ok(best.map_or(Lookup::Missing, |(_, image)| {
            Lookup::Found(Box::new(Found {
                image,
                reference: None,
            }))
        }))
    }

    fn image_path(&self, manifest: &Digest) -> std::path::PathBuf {
        self.path(&["images", &manifest.hex()])
    }
}
