//! Removing what nobody keeps.

use std::collections::HashSet;
use std::io;

use rbuild_image::{ChainId, DiffId, Digest};

use super::{LocalStore, file};
use crate::BlobStore;
use crate::gc::{self, Marked};

/// Something that an area keeps alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Root {
    /// An image manifest, with its config and layers.
    Manifest(Digest),
    /// A layer, in whatever form it is stored.
    Layer(DiffId),
    /// One blob.
    Blob(Digest),
}

/// Somebody who keeps things in an [`Area`](super::Area) and takes part in a prune.
pub trait Tenant {
    /// Names what must stay.
    fn roots(&self, keep: &mut dyn FnMut(Root)) -> io::Result<()>;

    /// Removes what was derived from layers that are not alive, and says how many bytes on disk that gave back.
    ///
    /// Nobody else works in the store meanwhile.
    fn sweep(&self, live: &Live) -> io::Result<u64>;
}

/// Which images a prune removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneScope {
    /// None; only what belongs to nobody.
    Garbage,
    /// Those without a name.
    Dangling,
    /// Those without a name, and every second form of a layer that can be made again from the first.
    Everything,
}

/// What is alive: reached from an image or from a tenant's root.
#[derive(Debug, Default)]
pub struct Live {
    blobs: Marked,
    layers: HashSet<DiffId>,
    chains: HashSet<ChainId>,
}

/// What a prune removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Image ids.
    pub images: Vec<Digest>,
    /// Number of blobs.
    pub blobs: u64,
    /// Number of temporary directories and unfinished writes that their owners left.
    pub leftovers: u64,
    /// Bytes that all of it had, those of tenants included.
    pub bytes: u64,
}

impl Live {
    /// Whether a layer is alive.
    pub fn layer(&self, layer: DiffId) -> bool {
        self.layers.contains(&layer)
    }

    /// The layers that are alive.
    pub fn layers(&self) -> impl Iterator<Item = DiffId> + '_ {
        self.layers.iter().copied()
    }

    /// The stacks of layers that images have, and the beginnings of these.
    pub fn chains(&self) -> impl Iterator<Item = ChainId> + '_ {
        self.chains.iter().copied()
    }

    /// Whether a blob is alive.
    pub fn blob(&self, digest: &Digest) -> bool {
        self.blobs.contains(digest)
    }
}

impl LocalStore {
    /// Removes what neither a kept image nor a tenant reaches; `None` if somebody is working in the store.
    pub fn prune(&self, scope: PruneScope, tenants: &[&dyn Tenant]) -> io::Result<Option<Pruned>> {
        let Some(_quiet) = self.quiet()? else {
            return Ok(None);
        };
        let mut pruned = Pruned::default();
        if scope != PruneScope::Garbage {
            pruned.images = self.remove_dangling()?;
        }
        let live = self.mark(scope != PruneScope::Everything, tenants)?;
        for tenant in tenants {
            pruned.bytes += tenant.sweep(&live)?;
        }
        self.forget_layers(&live)?;
        let report = gc::sweep(self.blobs(), &live.blobs, &mut |_| false, false)?;
        pruned.blobs = report.removed_blobs;
        pruned.bytes += report.removed_bytes;
        let ingests = self.blobs().sweep(std::time::SystemTime::now())?;
        pruned.bytes += ingests.bytes;
        pruned.leftovers = ingests.ingests + self.sweep_scratch()? + self.sweep_pending()?;
        Ok(Some(pruned))
    }

    /// What is alive: reached from images, and from the roots of `tenants`.
    ///
    /// With `spare_forms` a layer keeps every form of it that is stored, else one.
    pub(super) fn mark(&self, spare_forms: bool, tenants: &[&dyn Tenant]) -> io::Result<Live> {
        let mut live = Live::default();
        let mut roots: Vec<Root> = self
            .images()?
            .iter()
            .map(|record| Root::Manifest(record.descriptor.digest))
            .collect();
        // A name whose record was lost in a crash still keeps its image.
        for (_, descriptor) in self.names()? {
            roots.push(Root::Manifest(descriptor.digest));
        }
        for tenant in tenants {
            tenant.roots(&mut |root| roots.push(root))?;
        }
        for root in roots {
            match root {
                Root::Blob(digest) => {
                    live.blobs.mark(digest);
                }
                Root::Layer(layer) => {
                    live.layers.insert(layer);
                    if let Some(blob) = self.layer_blob(layer)? {
                        live.blobs.mark(blob.digest);
                    }
                }
                Root::Manifest(digest) => self.mark_manifest(&mut live, digest)?,
            }
        }
        if spare_forms {
            for layer in &live.layers {
                live.blobs.mark(layer.0);
                for packed in self.packed(*layer)? {
                    live.blobs.mark(packed.digest);
                }
            }
        }
        Ok(live)
    }

    fn mark_manifest(&self, live: &mut Live, digest: Digest) -> io::Result<()> {
        if !live.blobs.mark(digest) {
            return Ok(());
        }
        let Some(manifest) = readable(self.manifest(&digest))? else {
            return Ok(());
        };
        let manifest = manifest.value();
        live.blobs.mark(manifest.config.digest);
        for layer in &manifest.layers {
            live.blobs.mark(layer.digest);
        }
        if let Some(config) = readable(self.config(&manifest.config.digest))? {
            let layers = &config.value().rootfs.diff_ids;
            live.layers.extend(layers.iter().copied());
            let stacks = (1..=layers.len()).filter_map(|height| ChainId::of(&layers[..height]));
            live.chains.extend(stacks);
        }
        Ok(())
    }

    /// Forgets images that have no name, and tells their ids.
    fn remove_dangling(&self) -> io::Result<Vec<Digest>> {
        let names = self.names()?;
        let records = self.images()?;
        let named: HashSet<Digest> = names
            .iter()
            .filter(|(reference, _)| reference.digest.is_none())
            .filter_map(|(_, descriptor)| {
                let of =
                    |record: &&super::ImageRecord| record.descriptor.digest == descriptor.digest;
                records.iter().find(of).map(|record| record.image_id)
            })
            .collect();
        let mut removed = Vec::new();
        for record in &records {
            // Another manifest of a named image (pulled after it was built here) is no image of its own,
            // but its repo digest is worth keeping.
            if !named.contains(&record.image_id) && self.remove_image(&record.descriptor.digest)? {
                removed.push(record.image_id);
            }
        }
        removed.sort_unstable();
        removed.dedup();
        Ok(removed)
    }

    fn forget_layers(&self, live: &Live) -> io::Result<()> {
        let alive: HashSet<String> = live.layers.iter().map(|layer| layer.0.hex()).collect();
        for name in file::list(&self.path(&["layers"]))? {
            let hex = name.split('.').next().unwrap_or_default();
            if !alive.contains(hex) {
                file::remove(&self.path(&["layers", &name]))?;
            }
        }
        Ok(())
    }

    /// Removes small files whose writers were killed.
    fn sweep_pending(&self) -> io::Result<u64> {
        let mut removed = 0;
        for directory in ["names", "images", "layers"] {
            let directory = self.path(&[directory]);
            for entry in std::fs::read_dir(&directory).map_err(file::at(&directory))? {
                let path = entry.map_err(file::at(&directory))?.path();
                let pending = path
                    .to_str()
                    .is_some_and(|text| text.ends_with(file::PENDING));
                if pending && file::remove(&path)? {
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Whether every blob of an image is here, its layers in whatever form.
    pub fn is_complete(&self, manifest: &Digest) -> io::Result<bool> {
        let Some(manifest) = self.manifest(manifest)? else {
            return Ok(false);
        };
        let Some(config) = self.config(&manifest.value().config.digest)? else {
            return Ok(false);
        };
        let layers = manifest.value().layers.iter();
        let diff_ids = config.value().rootfs.diff_ids.iter();
        for (layer, diff_id) in layers.zip(diff_ids) {
            if self.blobs().stat(&layer.digest)?.is_none() && self.layer_blob(*diff_id)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What is damaged reaches nothing; what cannot be read at the moment must not be taken for that.
fn readable<T>(document: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match document {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        document => document,
    }
}
