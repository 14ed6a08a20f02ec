//! Every invariant of an image, computed again from its bytes.
//!
//! It believes nothing: not sizes, not digests, not what a config says about its layers.
//! It goes on after the first problem, and each problem names both sides of what does not agree.

mod layer;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read};

use serde::de::DeserializeOwned;

use crate::{Descriptor, Digest, ImageConfig, Index, Manifest, MediaType, Platform};

/// The longest document that is read, in bytes. Registries take less.
const MAX_DOCUMENT: u64 = 16 << 20;
/// More indexes inside one another than this are no image.
const MAX_DEPTH: usize = 4;

/// Opens a blob; none when it is not there.
pub type Open<'a> = dyn Fn(&Digest) -> io::Result<Option<Box<dyn Read + Send>>> + Sync + 'a;

/// What is done about blobs that an index names and that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Manifests of an index may be missing: a store keeps the platforms that it needs. Everything else must be there.
    Platforms,
    /// Nothing may be missing.
    Nothing,
}

/// What a blob is in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// An index or a manifest list.
    Index,
    /// A manifest.
    Manifest,
    /// A config.
    Config,
    /// A layer, counted from the lowest, which is 1.
    Layer(usize),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index => f.write_str("index"),
            Self::Manifest => f.write_str("manifest"),
            Self::Config => f.write_str("config"),
            Self::Layer(number) => write!(f, "layer {number}"),
        }
    }
}

/// Something in an image that does not agree with something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A blob is not there.
    #[error("{role} `{digest}` is missing")]
    Missing {
        /// What it would be.
        role: Role,
        /// Its digest.
        digest: Digest,
    },
    /// A blob has another length than its descriptor says.
    #[error("{role} `{digest}` has {got} bytes, and its descriptor says {want}")]
    Size {
        /// What it is.
        role: Role,
        /// Its digest in the descriptor.
        digest: Digest,
        /// The descriptor's size.
        want: u64,
        /// Its size.
        got: u64,
    },
    /// A blob has another digest than its descriptor says.
    #[error("{role} has digest `{got}`, and its descriptor says `{want}`")]
    Digest {
        /// What it is.
        role: Role,
        /// The descriptor's digest.
        want: Digest,
        /// Its digest.
        got: Digest,
    },
    /// A media type is not one of those that may stand there.
    #[error("{role} `{digest}` has the media type `{got}`, which is none of {want}")]
    MediaType {
        /// What it is.
        role: Role,
        /// Its digest.
        digest: Digest,
        /// What may stand there.
        want: &'static str,
        /// What stands there.
        got: MediaType,
    },
    /// A document says that it is of another type than its descriptor says.
    #[error("{role} `{digest}` calls itself `{own}`, and its descriptor calls it `{named}`")]
    OwnMediaType {
        /// What it is.
        role: Role,
        /// Its digest.
        digest: Digest,
        /// What it says.
        own: MediaType,
        /// What the descriptor says.
        named: MediaType,
    },
    /// A document cannot be read as what it is.
    #[error("{role} `{digest}` is malformed: {reason}")]
    Malformed {
        /// What it is.
        role: Role,
        /// Its digest.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// The schema version is not 2.
    #[error("{role} `{digest}` has schema version {got}, and 2 is the only one")]
    SchemaVersion {
        /// What it is.
        role: Role,
        /// Its digest.
        digest: Digest,
        /// What stands there.
        got: u32,
    },
    /// The config has another number of diff ids than the manifest has layers.
    #[error("config `{config}` has {diff_ids} diff ids, and its manifest has {layers} layers")]
    LayerCount {
        /// The config.
        config: Digest,
        /// Diff ids of the config.
        diff_ids: usize,
        /// Layers of the manifest.
        layers: usize,
    },
    /// The history has another number of entries with a layer than there are layers.
    #[error("the history of config `{config}` tells of {history} layers, and there are {layers}")]
    HistoryCount {
        /// The config.
        config: Digest,
        /// Entries that made a layer.
        history: usize,
        /// Layers.
        layers: usize,
    },
    /// A layer's tar has another digest than the config says.
    #[error("layer {layer} has the diff id `{got}`, and the config says `{want}`")]
    DiffId {
        /// Which layer, from 1.
        layer: usize,
        /// The config's.
        want: Digest,
        /// Its own.
        got: Digest,
    },
    /// A layer is no layer.
    #[error("layer {layer} `{digest}` cannot be read: {reason}")]
    Layer {
        /// Which layer, from 1.
        layer: usize,
        /// Its digest.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// The platform of an index's entry is not that of the config.
    #[error("manifest `{manifest}` is for {config} by its config, and for {index} by its index")]
    Platform {
        /// The manifest.
        manifest: Digest,
        /// As the config says.
        config: String,
        /// As the index says.
        index: String,
    },
    /// The root file system of a config is of an unknown type.
    #[error(
        "config `{config}` has a root file system of type `{got}`, and `layers` is the only one"
    )]
    RootFs {
        /// The config.
        config: Digest,
        /// What stands there.
        got: String,
    },
    /// Indexes lie too deep inside one another.
    #[error("index `{0}` lies more than 4 indexes deep")]
    Depth(Digest),
}

/// Checks an image, or all images of an index, and returns all problems. An error means that reading failed.
pub fn validate(root: &Descriptor, open: &Open<'_>, absent: Absent) -> io::Result<Vec<Problem>> {
    let mut check = Check {
        open,
        absent,
        problems: Vec::new(),
        seen: BTreeSet::new(),
    };
    check.any(root, 0)?;
    Ok(check.problems)
}

struct Check<'a> {
    open: &'a Open<'a>,
    absent: Absent,
    problems: Vec<Problem>,
    seen: BTreeSet<Digest>,
}

impl Check<'_> {
    fn any(&mut self, descriptor: &Descriptor, depth: usize) -> io::Result<()> {
        if descriptor.media_type.is_index() {
            return self.index(descriptor, depth);
        }
        if descriptor.media_type.is_manifest() {
            return self.manifest(descriptor);
        }
        self.problems.push(Problem::MediaType {
            role: Role::Manifest,
            digest: descriptor.digest,
            want: "the media types of manifests and indexes",
            got: descriptor.media_type.clone(),
        });
        Ok(())
    }

    fn index(&mut self, descriptor: &Descriptor, depth: usize) -> io::Result<()> {
        if depth >= MAX_DEPTH {
            self.problems.push(Problem::Depth(descriptor.digest));
            return Ok(());
        }
        let Some(index) = self.document::<Index>(descriptor, Role::Index)? else {
            return Ok(());
        };
        self.check_head(
            descriptor,
            Role::Index,
            index.schema_version,
            index.media_type.as_ref(),
        );
        for entry in &index.manifests {
            if self.absent == Absent::Platforms && (self.open)(&entry.digest)?.is_none() {
                continue;
            }
            self.any(entry, depth + 1)?;
        }
        Ok(())
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> io::Result<()> {
        if !self.seen.insert(descriptor.digest) {
            return Ok(());
        }
        let Some(manifest) = self.document::<Manifest>(descriptor, Role::Manifest)? else {
            return Ok(());
        };
        self.check_head(
            descriptor,
            Role::Manifest,
            manifest.schema_version,
            manifest.media_type.as_ref(),
        );
        if !manifest.config.media_type.is_config() {
            // An artifact: what it is made of has a meaning for others only.
            self.opaque(&manifest.config, Role::Config)?;
            for (index, layer) in manifest.layers.iter().enumerate() {
                self.opaque(layer, Role::Layer(index + 1))?;
            }
            return Ok(());
        }
        let config = self.document::<ImageConfig>(&manifest.config, Role::Config)?;
        if let Some(config) = &config {
            self.config(descriptor, &manifest, config);
        }
        let diff_ids = config.map(|config| config.rootfs.diff_ids);
        let diff_ids = diff_ids.unwrap_or_default();
        for (index, layer) in manifest.layers.iter().enumerate() {
            let want = diff_ids.get(index).map(|diff_id| diff_id.0);
            self.layer(layer, index + 1, want)?;
        }
        Ok(())
    }

    fn config(&mut self, descriptor: &Descriptor, manifest: &Manifest, config: &ImageConfig) {
        let digest = manifest.config.digest;
        let layers = manifest.layers.len();
        let diff_ids = config.rootfs.diff_ids.len();
        if diff_ids != layers {
            self.problems.push(Problem::LayerCount {
                config: digest,
                diff_ids,
                layers,
            });
        }
        let made = config.history.iter().filter(|entry| !entry.empty_layer);
        let history = made.count();
        if !config.history.is_empty() && history != layers {
            self.problems.push(Problem::HistoryCount {
                config: digest,
                history,
                layers,
            });
        }
        if config.rootfs.kind != "layers" {
            self.problems.push(Problem::RootFs {
                config: digest,
                got: config.rootfs.kind.clone(),
            });
        }
        let own = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
        if let Some(named) = &descriptor.platform
            && !own.satisfies(named)
        {
            self.problems.push(Problem::Platform {
                manifest: descriptor.digest,
                config: show(&own),
                index: show(named),
            });
        }
    }

    fn check_head(
        &mut self,
        descriptor: &Descriptor,
        role: Role,
        schema_version: u32,
        own: Option<&MediaType>,
    ) {
        let digest = descriptor.digest;
        if schema_version != 2 {
            self.problems.push(Problem::SchemaVersion {
                role,
                digest,
                got: schema_version,
            });
        }
        if let Some(own) = own.filter(|own| **own != descriptor.media_type) {
            self.problems.push(Problem::OwnMediaType {
                role,
                digest,
                own: own.clone(),
                named: descriptor.media_type.clone(),
            });
        }
    }

    /// Reads a document; none when it is not there or not usable, which is a problem then.
    fn document<T: DeserializeOwned>(
        &mut self,
        descriptor: &Descriptor,
        role: Role,
    ) -> io::Result<Option<T>> {
        let Some(blob) = self.open(descriptor, role)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        blob.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes)?;
        let got = Digest::of(descriptor.digest.algorithm(), &bytes);
        self.check_blob(descriptor, role, got, bytes.len() as u64);
        match serde_json::from_slice(&bytes) {
            Ok(document) => Ok(Some(document)),
            Err(error) => {
                self.problems.push(Problem::Malformed {
                    role,
                    digest: descriptor.digest,
                    reason: error.to_string(),
                });
                Ok(None)
            }
        }
    }

    fn open(
        &mut self,
        descriptor: &Descriptor,
        role: Role,
    ) -> io::Result<Option<Box<dyn Read + Send>>> {
        let blob = (self.open)(&descriptor.digest)?;
        if blob.is_none() {
            self.problems.push(Problem::Missing {
                role,
                digest: descriptor.digest,
            });
        }
        Ok(blob)
    }

    fn check_blob(&mut self, descriptor: &Descriptor, role: Role, got: Digest, size: u64) {
        if size != descriptor.size {
            self.problems.push(Problem::Size {
                role,
                digest: descriptor.digest,
                want: descriptor.size,
                got: size,
            });
        }
        if got != descriptor.digest {
            self.problems.push(Problem::Digest {
                role,
                want: descriptor.digest,
                got,
            });
        }
    }
}

fn show(platform: &Platform) -> String {
    let mut text = format!("{}/{}", platform.os, platform.architecture);
    if let Some(variant) = &platform.variant {
        text.push('/');
        text.push_str(variant);
    }
    text
}

#[cfg(test)]
mod tests;
