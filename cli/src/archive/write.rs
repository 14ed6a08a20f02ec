//! Writing an archive.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use rbuild_image::{Descriptor, Digest, Index, Raw, Reference, annotations};
use rbuild_store::local::LocalStore;
use tar::{Builder, EntryType, Header};

use super::DockerEntry;
use crate::args::SaveFormat;
use crate::exit::{Doing, Failure, Outcome};

/// An image to write.
#[derive(Debug)]
pub(crate) struct Saved {
    /// Its manifest.
    pub(crate) descriptor: Descriptor,
    /// The names that the archive gives it.
    pub(crate) names: Vec<Reference>,
}

/// Writes images. The same images give the same bytes.
pub(crate) fn write(
    store: &LocalStore,
    images: &[Saved],
    format: SaveFormat,
    out: &mut dyn Write,
) -> Outcome<()> {
    let mut archive = Archive {
        tar: Builder::new(out),
        written: BTreeSet::new(),
    };
    let writing = || "cannot write the archive";
    let mut index = Vec::new();
    let mut docker = Vec::new();
    let mut digests: BTreeSet<(Digest, bool)> = BTreeSet::new();
    for image in images {
        let name = image.descriptor.digest.short();
        let missing = || {
            Failure::unable(format!(
                "image `{name}` is damaged: its manifest is missing"
            ))
        };
        let manifest = store
            .manifest(&image.descriptor.digest)
            .doing(writing)?
            .ok_or_else(missing)?;
        let manifest = manifest.value();
        digests.insert((image.descriptor.digest, false));
        digests.insert((manifest.config.digest, false));
        digests.extend(manifest.layers.iter().map(|layer| (layer.digest, true)));
        docker.push(DockerEntry {
            config: path(&manifest.config.digest),
            repo_tags: Some(image.names.iter().map(Reference::familiar).collect()),
            layers: Some(
                manifest
                    .layers
                    .iter()
                    .map(|layer| path(&layer.digest))
                    .collect(),
            ),
        });
        index.extend(index_entries(image));
    }
    archive
        .directories(digests.iter().map(|(digest, _)| digest))
        .doing(writing)?;
    for (digest, _) in &digests {
        archive.blob(store, digest)?;
    }
    let index = Raw::write(Index::oci(index))
        .map_err(io::Error::from)
        .doing(writing)?;
    archive.file("index.json", index.bytes()).doing(writing)?;
    if format == SaveFormat::Docker {
        let text = serde_json::to_vec(&docker)
            .map_err(io::Error::from)
            .doing(writing)?;
        archive.file("manifest.json", &text).doing(writing)?;
    }
    archive
        .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
        .doing(writing)?;
    archive.tar.finish().doing(writing)
}

/// One entry for each name; containerd and docker read the whole name, others the tag.
fn index_entries(image: &Saved) -> Vec<Descriptor> {
    let plain = Descriptor::new(
        image.descriptor.media_type.clone(),
        image.descriptor.digest,
        image.descriptor.size,
    );
    if image.names.is_empty() {
        return vec![plain];
    }
    let named = |name: &Reference| {
        let mut entry = plain.clone();
        let mut set = |key: &str, value: String| entry.annotations.insert(key.to_owned(), value);
        set(annotations::CONTAINERD_IMAGE_NAME, name.to_string());
        if let Some(tag) = &name.tag {
            set(annotations::REF_NAME, tag.as_str().to_owned());
        }
        entry
    };
    image.names.iter().map(named).collect()
}

fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

struct Archive<W: Write> {
    tar: Builder<W>,
    written: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    fn directories<'a>(&mut self, digests: impl Iterator<Item = &'a Digest>) -> io::Result<()> {
        let mut directories = BTreeSet::from(["blobs/".to_owned()]);
        directories.extend(digests.map(|digest| format!("blobs/{}/", digest.algorithm().as_str())));
        for directory in directories {
            self.entry(&directory, EntryType::Directory, 0, &mut io::empty())?;
        }
        Ok(())
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.entry(name, EntryType::Regular, bytes.len() as u64, &mut &*bytes)
    }

    fn blob(&mut self, store: &LocalStore, digest: &Digest) -> Outcome<()> {
        let short = digest.short();
        let (mut file, size) = store
            .blobs()
            .open_file(digest)
            .doing(|| format!("cannot read blob `{short}`"))?
            .ok_or_else(|| {
                Failure::unable(format!("blob `{short}` is missing or damaged"))
                    .hint("build, pull or load the image again")
            })?;
        self.entry(&path(digest), EntryType::Regular, size, &mut file)
            .doing(|| "cannot write the archive")
    }

    /// Adds an entry that has no owner and no time, so that the archive depends on its content alone.
    fn entry(
        &mut self,
        name: &str,
        kind: EntryType,
        size: u64,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        if !self.written.insert(name.to_owned()) {
            return Ok(());
        }
        let mut header = Header::new_ustar();
        header.set_path(name)?;
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(if kind == EntryType::Directory {
            0o755
        } else {
            0o644
        });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        self.tar.append(&header, content)
    }
}
