//! Images of an OCI image layout.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use rbuild_image::{Descriptor, Digest, Index, Manifest, RepositoryName, Tag, annotations};

use super::super::{AdminError, at};
use super::{DEPTH, Imported};
use crate::metadata::{ManifestName, Precondition};
use crate::service::{Error, PushManifest, Registry};

/// Pushes every image of the layout in `path` to the repository.
///
/// Each keeps the tag that the layout gives it (`org.opencontainers.image.ref.name`);
/// an only image without one gets `tag`.
pub fn import(
    registry: &Registry,
    path: &Path,
    repository: &RepositoryName,
    tag: Option<&Tag>,
) -> Result<Imported, AdminError> {
    let layout = Layout {
        registry,
        path,
        repository,
    };
    let index = path.join("index.json");
    let text = fs::read(&index).map_err(at(&index))?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| AdminError::Layout {
        path: path.to_owned(),
        reason: format!("`index.json`: {error}"),
    })?;
    let mut imported = Imported::default();
    let alone = index.manifests.len() == 1;
    for descriptor in &index.manifests {
        let own: Option<Tag> = descriptor
            .annotations
            .get(annotations::REF_NAME)
            .and_then(|name| name.rsplit(':').next()?.parse().ok());
        let tag = match (alone, tag, own) {
            (true, Some(tag), _) => Some(tag.clone()),
            (_, _, own) => own,
        };
        layout.push(descriptor, tag, DEPTH, &mut imported)?;
    }
    Ok(imported)
}

struct Layout<'a> {
    registry: &'a Registry,
    path: &'a Path,
    repository: &'a RepositoryName,
}

impl Layout<'_> {
    /// Pushes a manifest after everything that it refers to.
    fn push(
        &self,
        descriptor: &Descriptor,
        tag: Option<Tag>,
        depth: usize,
        imported: &mut Imported,
    ) -> Result<(), AdminError> {
        let digest = descriptor.digest;
        let name = ManifestName::Digest(digest);
        let is_here = self.registry.manifest(self.repository, &name).is_ok();
        if is_here && tag.is_none() {
            return Ok(());
        }
        let path = self.blob(digest);
        let content = fs::read(&path).map_err(at(&path))?;
        if !is_here {
            if descriptor.media_type.is_index() {
                if depth == 0 {
                    return Err(self.wrong(digest, "indexes are nested too deeply"));
                }
                let index: Index = serde_json::from_slice(&content)
                    .map_err(|error| self.wrong(digest, &error.to_string()))?;
                for child in &index.manifests {
                    self.push(child, None, depth - 1, imported)?;
                }
            } else {
                let manifest: Manifest = serde_json::from_slice(&content)
                    .map_err(|error| self.wrong(digest, &error.to_string()))?;
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    self.copy(blob, imported)?;
                }
            }
        }
        let push = PushManifest {
            digest: Some(digest),
            tags: tag.iter().cloned().collect(),
            precondition: Precondition::None,
            content_type: Some(descriptor.media_type.as_str().to_owned()),
            content,
        };
        self.registry
            .put_manifest(self.repository, push)
            .map_err(refused(digest))?;
        imported.manifests += 1;
        imported.tags.extend(tag);
        Ok(())
    }

    fn copy(&self, blob: &Descriptor, imported: &mut Imported) -> Result<(), AdminError> {
        let digest = blob.digest;
        if self.registry.stat_blob(self.repository, &digest).is_ok() {
            return Ok(());
        }
        let path = self.blob(digest);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            // A layer that is only elsewhere; the registry decides whether the manifest may name it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(&path)(error)),
        };
        let refused = refused(digest);
        let mut writer = self
            .registry
            .write_blob(self.repository, digest.algorithm())
            .map_err(&refused)?;
        let mut chunk = vec![0; 1 << 20];
        loop {
            let count = file.read(&mut chunk).map_err(at(&path))?;
            if count == 0 {
                break;
            }
            writer.write(&chunk[..count]).map_err(&refused)?;
        }
        let written = writer.commit(digest).map_err(&refused)?;
        imported.blobs += 1;
        imported.bytes += written.size;
        Ok(())
    }

    fn blob(&self, digest: Digest) -> PathBuf {
        let mut path = self.path.join("blobs");
        path.push(digest.algorithm().as_str());
        path.push(digest.hex());
        path
    }

    fn wrong(&self, digest: Digest, reason: &str) -> AdminError {
        AdminError::Layout {
            path: self.path.to_owned(),
            reason: format!("manifest `{digest}`: {reason}"),
        }
    }
}

pub(super) fn refused(digest: Digest) -> impl Fn(Error) -> AdminError {
    move |source| AdminError::Refused {
        name: digest.to_string(),
        source,
    }
}
