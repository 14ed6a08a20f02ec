//! What the helper process does besides running the command: unpack layers before, make a layer after.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_cache::LayerRecord;
use rbuild_image::layer::{LayerWriter, Rootfs, Toc, join};
use rbuild_image::{ChainId, DiffId, Digest};
use rbuild_store::local::{Area, LocalStore};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CommandMount, mount};
use crate::copy::store_layer;
use crate::sandbox::{Context, Handler, HandlerError, Outcome, Request, StepSpec};
use crate::snapshot::{Active, ForeignOwners, LayerSource, SnapshotId, SnapshotStore, diff};

/// The part of a request that the sandbox does not look into.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Work {
    /// Root directory of the local store.
    store: PathBuf,
    task: Task,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Task {
    /// Run on these layers; the changes become a layer.
    Step {
        layers: Vec<LayerRecord>,
        mounts: Vec<CommandMount>,
    },
    /// Run on these layers; the changes are thrown away.
    Discard { layers: Vec<LayerRecord> },
    /// Remove the snapshots of other layers and stacks.
    Sweep { keep: Vec<Digest> },
}

impl Work {
    pub(super) fn step(
        store: &LocalStore,
        layers: &[LayerRecord],
        mounts: Vec<CommandMount>,
    ) -> Self {
        Self {
            store: store.root().to_owned(),
            task: Task::Step {
                layers: layers.to_vec(),
                mounts,
            },
        }
    }

    pub(super) fn discard(store: &LocalStore, layers: &[LayerRecord]) -> Self {
        Self {
            store: store.root().to_owned(),
            task: Task::Discard {
                layers: layers.to_vec(),
            },
        }
    }

    pub(super) fn sweep(store: &LocalStore, keep: Vec<Digest>) -> Self {
        Self {
            store: store.root().to_owned(),
            task: Task::Sweep { keep },
        }
    }
}

/// Carries work out in the helper process.
#[derive(Debug, Default)]
pub(super) struct Worker {
    /// The directories of the command, from before it runs until it has ended.
    active: RefCell<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    store: LocalStore,
    snapshots: SnapshotStore,
    active: Active,
    chain: Option<ChainId>,
    /// Of cache mounts.
    _locks: Vec<fs::File>,
}

impl Handler for Worker {
    fn prepare(&self, request: &mut Request, ctx: &Context<'_>) -> Result<(), HandlerError> {
        let work: Work = serde_json::from_value(request.payload.clone())?;
        let (layers, mounts) = match work.task {
            Task::Step { layers, mounts } => (layers, mounts),
            Task::Discard { layers } => (layers, Vec::new()),
            Task::Sweep { .. } => return Ok(()),
        };
        let Some(step) = &mut request.step else {
            return Err("a step without a command".into());
        };
        let store = LocalStore::open(&work.store)?;
        let snapshots = SnapshotStore::open(store.dir(Area::Snapshots))?;
        let lay_out = |layers: &[LayerRecord]| lay_out(&store, &snapshots, layers, ctx);
        let (view, lower) = lay_out(&layers)?;
        step.lower = lower;
        let active = snapshots.active(&view)?;
        step.upper.clone_from(&active.upper);
        step.work.clone_from(&active.work);
        make_workdir(step, &view)?;
        let mut locks = Vec::new();
        for (number, mount) in mounts.into_iter().enumerate() {
            // Beside the upper directory: it goes when the command's directories go.
            let scratch = || {
                let directory = active.upper.with_file_name(format!("scratch-{number}"));
                fs::create_dir(&directory)?;
                Ok(directory)
            };
            let trees = |layers: &[LayerRecord]| {
                lay_out(layers)
                    .map(|(_, lower)| lower)
                    .map_err(io::Error::other)
            };
            let prepared = mount::prepare(
                mount,
                &trees,
                &scratch,
                &store.dir(Area::Cache).join("mounts"),
            )?;
            step.mounts.push(prepared.mount);
            locks.extend(prepared.lock);
        }
        let diff_ids: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id).collect();
        *self.active.borrow_mut() = Some(Running {
            chain: ChainId::of(&diff_ids),
            active,
            _locks: locks,
            snapshots,
            store,
        });
        Ok(())
    }

    fn finish(
        &self,
        request: &Request,
        outcome: Option<Outcome>,
        ctx: &Context<'_>,
    ) -> Result<Value, HandlerError> {
        let work: Work = serde_json::from_value(request.payload.clone())?;
        match work.task {
            Task::Sweep { keep } => {
                let store = LocalStore::open(&work.store)?;
                let snapshots = SnapshotStore::open(store.dir(Area::Snapshots))?;
                let keep: HashSet<String> = keep.iter().map(Digest::hex).collect();
                snapshots.sweep()?;
                let mut removed = 0_u64;
                for id in snapshots.list()? {
                    let hex = id.as_str().split('-').nth(1).unwrap_or_default();
                    if !keep.contains(hex) {
                        snapshots.remove(&id)?;
                        removed += 1;
                    }
                }
                Ok(removed.into())
            }
            Task::Discard { .. } => Ok(Value::Null),
            Task::Step { .. } => {
                let Some(running) = self.active.take() else {
                    return Err("finished before it was prepared".into());
                };
                if !outcome.is_some_and(Outcome::success) {
                    return Ok(Value::Null);
                }
                let layer = running.make_layer(ctx)?;
                Ok(layer
                    .map(serde_json::to_value)
                    .transpose()?
                    .unwrap_or_default())
            }
        }
    }
}

impl Running {
    /// Reads the upper directory once into a layer; then the directory is the snapshot of that layer.
    fn make_layer(self, ctx: &Context<'_>) -> Result<Option<LayerRecord>, HandlerError> {
        let mut writer = LayerWriter::new(self.store.ingest()?);
        let stats = diff(&self.active.upper, ctx.overlay(), &[], &mut writer)?;
        let (ingest, summary) = writer.finish()?;
        if summary.entries == 0 {
            ingest.abort()?;
            return Ok(None);
        }
        let layer = store_layer(&self.store, ingest, &summary)?;
        let chain = self.chain.map_or_else(
            || ChainId::base(layer.diff_id),
            |chain| chain.child(layer.diff_id),
        );
        // A directory with something that no layer can have does not stand for the layer.
        if stats.sockets == 0 {
            let foreign = ForeignOwners::Refuse;
            let id = SnapshotId::of(layer.diff_id, chain, &summary.toc, ctx.overlay(), foreign);
            self.snapshots.commit(self.active, &id)?;
        }
        Ok(Some(layer))
    }
}

fn table(store: &LocalStore, layer: DiffId) -> io::Result<Arc<Toc>> {
    store
        .toc(layer)?
        .ok_or_else(|| io::Error::other(format!("layer {layer} has no table of contents")))
}

/// Lays out a stack of layers: the view of it, and its directories, the topmost first.
fn lay_out(
    store: &LocalStore,
    snapshots: &SnapshotStore,
    layers: &[LayerRecord],
    ctx: &Context<'_>,
) -> Result<(Rootfs, Vec<PathBuf>), HandlerError> {
    let tables = layers
        .iter()
        .map(|layer| table(store, layer.diff_id))
        .collect::<io::Result<Vec<_>>>()?;
    let open: Vec<_> = layers
        .iter()
        .map(|layer| opener(store.clone(), layer.diff_id))
        .collect();
    let lower = snapshots.materialize(&sources(layers, &tables, &open), ctx.overlay())?;
    Ok((Rootfs::new(tables), lower))
}

/// Opens the uncompressed tar of a layer.
fn opener(
    store: LocalStore,
    layer: DiffId,
) -> impl Fn() -> io::Result<Box<dyn Read + Send>> + Sync {
    move || {
        let missing = || io::Error::other(format!("layer {layer} is not in the store"));
        store.open_layer_stream(layer)?.ok_or_else(missing)
    }
}

fn sources<'a, F>(
    layers: &[LayerRecord],
    tables: &[Arc<Toc>],
    open: &'a [F],
) -> Vec<LayerSource<'a>>
where
    F: Fn() -> io::Result<Box<dyn Read + Send>> + Sync,
{
    let mut chain: Option<ChainId> = None;
    let mut sources = Vec::new();
    for ((layer, toc), open) in layers.iter().zip(tables).zip(open) {
        let diff_id = layer.diff_id;
        let next = chain.map_or_else(|| ChainId::base(diff_id), |chain| chain.child(diff_id));
        chain = Some(next);
        sources.push(LayerSource {
            diff_id,
            chain_id: next,
            toc: Arc::clone(toc),
            open,
        });
    }
    sources
}

/// A working directory that no layer has (an image may name one without having it) is made, as a container engine would.
///
/// It appears in the upper directory, so those above it must appear there too, as they are below.
fn make_workdir(step: &StepSpec, view: &Rootfs) -> io::Result<()> {
    let resolved = view
        .resolve(step.workdir.as_bytes(), true)
        .map_err(io::Error::other)?;
    if resolved.missing.is_empty() {
        return Ok(());
    }
    let mut path = Vec::new();
    for component in resolved
        .path
        .split(|byte| *byte == b'/')
        .filter(|component| !component.is_empty())
    {
        path = join(&path, component);
        let directory = below(&step.upper, &path);
        fs::create_dir(&directory)?;
        if let Some(node) = view.lookup(&path) {
            chown(&directory, Some(node.entry.uid), Some(node.entry.gid))?;
            fs::set_permissions(&directory, fs::Permissions::from_mode(node.entry.mode))?;
        }
    }
    Ok(())
}

fn below(root: &Path, path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    root.join(std::ffi::OsStr::from_bytes(path))
}
