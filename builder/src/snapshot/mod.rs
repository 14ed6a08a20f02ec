//! Derived directories: layers laid out for overlayfs, and the changes that steps make on top of them.
//!
//! They are made from layers and can be deleted at any time that no build runs; that costs only time.
//! Several processes may work in one store at once. A directory gets its name when it is complete, so a
//! process that is killed leaves only what [`SnapshotStore::sweep`] removes.
//!
//! It runs where the ids of files mean what layers say: in the sandbox's helper process.

mod attributes;
mod diff;
mod error;
mod extract;
mod lock;
mod place;
mod remove;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rbuild_image::layer::{Entry, Kind, Rootfs, Toc, is_within, parent};
use rbuild_image::{ChainId, DiffId};

use crate::sandbox::OverlayMode;
pub use attributes::ForeignOwners;
pub use diff::{DiffStats, diff};
use error::Doing;
pub use error::SnapshotError;
use lock::NameLock;

/// One layer of a stack, and how to read it.
#[derive(Clone)]
pub struct LayerSource<'a> {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Identity of the stack up to this layer.
    pub chain_id: ChainId,
    /// What the layer has.
    pub toc: Arc<Toc>,
    /// Opens the uncompressed tar at its beginning.
    pub open: &'a (dyn Fn() -> io::Result<Box<dyn Read + Send>> + Sync),
}

impl fmt::Debug for LayerSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerSource")
            .field("diff_id", &self.diff_id)
            .field("chain_id", &self.chain_id)
            .finish_non_exhaustive()
    }
}

/// The name of a derived directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotId(String);

impl SnapshotId {
    /// The name of the directory of a layer.
    ///
    /// It is the diff id when the directory follows from the layer alone, so that all stacks share it. Where
    /// lower layers decide about it (directories that are only implied, hard links into lower layers) it is the
    /// chain id.
    pub fn of(
        diff_id: DiffId,
        chain_id: ChainId,
        toc: &Toc,
        mode: OverlayMode,
        foreign: ForeignOwners,
    ) -> Self {
        let digest = if is_self_contained(toc) {
            diff_id.0
        } else {
            chain_id.digest()
        };
        let mode = match (mode, foreign) {
            (OverlayMode::Trusted, ForeignOwners::Refuse) => "",
            (OverlayMode::User, ForeignOwners::Refuse) => "-user",
            (OverlayMode::Trusted, ForeignOwners::Squash) => "-squashed",
            (OverlayMode::User, ForeignOwners::Squash) => "-user-squashed",
        };
        Self(format!(
            "{}-{}{mode}",
            digest.algorithm().as_str(),
            digest.hex()
        ))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the directory of a layer does not depend on what is below it: every directory that it needs is in it,
/// and every file that a hard link leads to.
pub fn is_self_contained(toc: &Toc) -> bool {
    // The directories that lead to the entry before: in canonical order they stand right before what they hold.
    let mut open: Vec<&[u8]> = Vec::new();
    toc.iter().all(|entry| {
        let path = entry.path();
        while open.last().is_some_and(|last| !is_within(path, last)) {
            open.pop();
        }
        let needed = match entry.kind() {
            Kind::Opaque => Some(path),
            _ => parent(path),
        };
        let has_directory = needed.is_none_or(|needed| {
            needed.is_empty() || open.last().is_some_and(|last| *last == needed)
        });
        match entry.kind() {
            Kind::Directory => open.push(path),
            Kind::Hardlink(target) => return has_directory && toc.find(target).is_some(),
            _ => {}
        }
        has_directory
    })
}

/// The directory of derived directories.
///
/// ```text
/// ROOT/<id>/fs      a layer, laid out
/// ROOT/<id>/boot    since which start of the machine it is there
/// ROOT/.active/     what is being made, and the changes of running steps
/// ROOT/.locks/      who makes it
/// ```
#[derive(Debug, Clone)]
pub struct SnapshotStore {
    root: PathBuf,
    foreign: ForeignOwners,
    /// Identity of this run of the kernel.
    boot: String,
}

/// The directories of a running step. Dropping it removes them.
#[derive(Debug)]
pub struct Active {
    container: PathBuf,
    lock: Option<NameLock>,
    /// Takes the changes.
    pub upper: PathBuf,
    /// Overlayfs's own.
    pub work: PathBuf,
}

impl Drop for Active {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // What is left is swept later.
            let _ = remove::tree(&self.container);
        }
    }
}

impl SnapshotStore {
    /// Opens the store in `root`, which is made if it is missing.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, SnapshotError> {
        let root = root.into();
        for directory in [root.join(".active"), root.join(".locks")] {
            fs::create_dir_all(&directory).doing("make", bytes(&directory))?;
        }
        // Without it nothing is known about power failures, and directories are trusted.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let boot = boot.unwrap_or_else(|_| "unknown".to_owned());
        Ok(Self {
            root,
            foreign: ForeignOwners::Refuse,
            boot,
        })
    }

    /// Says what becomes of owners without an id here; [`ForeignOwners::Refuse`] unless it is said.
    #[must_use]
    pub fn with_foreign_owners(mut self, foreign: ForeignOwners) -> Self {
        self.foreign = foreign;
        self
    }

    /// The name of the directory of a layer in this store.
    pub fn id_of(&self, layer: &LayerSource<'_>, mode: OverlayMode) -> SnapshotId {
        SnapshotId::of(
            layer.diff_id,
            layer.chain_id,
            &layer.toc,
            mode,
            self.foreign,
        )
    }

    /// The directory of a layer, if it is there and can be trusted.
    ///
    /// Directories are not synced to the disk. After the machine has started anew, a power failure may have
    /// emptied files of them, so they count as missing then and are made again.
    pub fn get(&self, id: &SnapshotId) -> Option<PathBuf> {
        let container = self.root.join(id.as_str());
        let boot = fs::read_to_string(container.join("boot")).ok()?;
        (boot == self.boot).then(|| container.join("fs"))
    }

    /// Makes sure that all `layers` (lowest first) are laid out, on as many threads as the machine has cores.
    ///
    /// Returns their directories for overlayfs: the topmost first, without empty and repeated layers.
    /// No thread is left behind.
    pub fn materialize(
        &self,
        layers: &[LayerSource<'_>],
        mode: OverlayMode,
    ) -> Result<Vec<PathBuf>, SnapshotError> {
        let view = Rootfs::new(layers.iter().map(|layer| Arc::clone(&layer.toc)).collect());
        let ids: Vec<_> = layers.iter().map(|layer| self.id_of(layer, mode)).collect();
        let stack = Stack {
            store: self,
            layers,
            view: &view,
            ids: &ids,
            mode,
        };
        // Layers with hard links into lower ones come after all others, because they copy from there.
        let (linked, free): (Vec<_>, Vec<_>) = (0..layers.len())
            .filter(|index| !layers[*index].toc.is_empty())
            .partition(|index| links_below(&layers[*index].toc));
        let mut seen = HashSet::new();
        let missing: Vec<usize> = free
            .into_iter()
            .filter(|index| self.get(&ids[*index]).is_none() && seen.insert(&ids[*index]))
            .collect();
        stack.make_all(&missing)?;
        for index in linked {
            stack.make(index)?;
        }
        // Overlayfs takes no directory twice. What a layer does is done by its topmost place alone.
        let mut seen = HashSet::new();
        let topmost = ids.iter().zip(layers).rev();
        Ok(topmost
            .filter(|(id, layer)| !layer.toc.is_empty() && seen.insert(*id))
            .map(|(id, _)| self.root.join(id.as_str()).join("fs"))
            .collect())
    }

    /// New directories for a step on top of `rootfs`, with the attributes that its root has.
    pub fn active(&self, rootfs: &Rootfs) -> Result<Active, SnapshotError> {
        loop {
            let name = random_name()?;
            let path = self.root.join(".locks").join(&name);
            let Some(lock) = NameLock::now(&path).doing("lock", bytes(&path))? else {
                continue;
            };
            let active = self.active_at(OsStr::new(&name), lock)?;
            let root = rootfs.lookup(b"").map(|node| node.entry);
            let root = root.unwrap_or_else(|| Entry::new("", Kind::Directory));
            extract::set_root(&active.upper, &root, self.foreign)?;
            return Ok(active);
        }
    }

    fn active_at(&self, name: &OsStr, lock: NameLock) -> Result<Active, SnapshotError> {
        let container = self.root.join(".active").join(name);
        remove::tree(&container).doing("remove", bytes(&container))?;
        let active = Active {
            upper: container.join("fs"),
            work: container.join("work"),
            container,
            lock: Some(lock),
        };
        for directory in [&active.container, &active.upper, &active.work] {
            fs::create_dir(directory).doing("make", bytes(directory))?;
        }
        place::inherit_nothing(&active.upper)?;
        Ok(active)
    }

    /// Keeps the changes of a step as the directory of the layer that they make. The first one to do so wins.
    ///
    /// The directory stands for the layer only if all of its entries went into it and nothing is below the
    /// upper directory that is not in the layer.
    pub fn commit(&self, mut active: Active, id: &SnapshotId) -> Result<PathBuf, SnapshotError> {
        let target = self.root.join(id.as_str());
        let lock = self.root.join(".locks").join(id.as_str());
        let _lock = NameLock::wait(&lock).doing("lock", bytes(&lock))?;
        if let Some(directory) = self.get(id) {
            return Ok(directory);
        }
        self.complete(&mut active, &target)?;
        Ok(target.join("fs"))
    }

    /// Gives the container its name. The caller has the lock of that name.
    fn complete(&self, active: &mut Active, target: &Path) -> Result<(), SnapshotError> {
        remove::tree(&active.work).doing("remove", bytes(&active.work))?;
        let boot = active.container.join("boot");
        fs::write(&boot, &self.boot).doing("write", bytes(&boot))?;
        // One of an earlier run of the machine, or half removed.
        remove::tree(target).doing("remove", bytes(target))?;
        fs::rename(&active.container, target).doing("rename", bytes(&active.container))?;
        active.lock = None;
        Ok(())
    }

    /// Removes the directory of a layer; it may be missing. No running step may use it.
    pub fn remove(&self, id: &SnapshotId) -> Result<(), SnapshotError> {
        let lock = self.root.join(".locks").join(id.as_str());
        let lock = NameLock::wait(&lock).doing("lock", bytes(&lock))?;
        let target = self.root.join(id.as_str());
        // First the name, so that nobody finds half of it.
        let container = self.root.join(".active").join(id.as_str());
        remove::tree(&container).doing("remove", bytes(&container))?;
        match fs::rename(&target, &container) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result.doing("rename", bytes(&target))?,
        }
        remove::tree(&container).doing("remove", bytes(&container))?;
        drop(lock);
        Ok(())
    }

    /// The names of all directories that are there.
    pub fn list(&self) -> Result<Vec<SnapshotId>, SnapshotError> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.root).doing("read", bytes(&self.root))? {
            let name = entry.doing("read", bytes(&self.root))?.file_name();
            let name = name.to_string_lossy().into_owned();
            if !name.starts_with('.') {
                ids.push(SnapshotId(name));
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// Removes what processes that are gone have left; returns how many directories that were.
    pub fn sweep(&self) -> Result<usize, SnapshotError> {
        let active = self.root.join(".active");
        let mut removed = 0;
        for entry in fs::read_dir(&active).doing("read", bytes(&active))? {
            let entry = entry.doing("read", bytes(&active))?;
            let lock = self.root.join(".locks").join(entry.file_name());
            let Some(_lock) = NameLock::now(&lock).doing("lock", bytes(&lock))? else {
                continue;
            };
            remove::tree(&entry.path()).doing("remove", bytes(&entry.path()))?;
            removed += 1;
        }
        Ok(removed)
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn random_name() -> Result<String, SnapshotError> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random)
        .map_err(|error| io::Error::other(error.to_string()))
        .doing("find a name in", b".active")?;
    Ok(format!("step-{:032x}", u128::from_ne_bytes(random)))
}

fn links_below(toc: &Toc) -> bool {
    toc.iter().any(|entry| match entry.kind() {
        Kind::Hardlink(target) => toc.find(target).is_none(),
        _ => false,
    })
}

/// A stack of layers that is being laid out.
struct Stack<'a> {
    store: &'a SnapshotStore,
    layers: &'a [LayerSource<'a>],
    view: &'a Rootfs,
    ids: &'a [SnapshotId],
    mode: OverlayMode,
}

impl Stack<'_> {
    fn make_all(&self, missing: &[usize]) -> Result<(), SnapshotError> {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        if missing.len() < 2 || cores < 2 {
            return missing.iter().try_for_each(|index| self.make(*index));
        }
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        let work = || {
            while let Some(index) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.make(*index) {
                    next.store(missing.len(), Ordering::Relaxed);
                    failed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(error);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..cores.min(missing.len()) {
                // Fewer threads only take longer.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Lays one layer out, unless another process does so first.
    fn make(&self, index: usize) -> Result<(), SnapshotError> {
        let (layer, id) = (&self.layers[index], &self.ids[index]);
        if self.store.get(id).is_some() {
            return Ok(());
        }
        let lock = self.store.root.join(".locks").join(id.as_str());
        let guard = NameLock::wait(&lock).doing("lock", bytes(&lock))?;
        if self.store.get(id).is_some() {
            return Ok(());
        }
        let diff_id = layer.diff_id.to_string();
        let mut tar = (layer.open)().map_err(|source| SnapshotError::Layer {
            diff_id: diff_id.clone(),
            source,
        })?;
        let lower = |index: usize| self.store.get(&self.ids[index]);
        let task = extract::Task {
            index,
            view: self.view,
            diff_id: &diff_id,
            mode: self.mode,
            foreign: self.store.foreign,
            lower: &lower,
        };
        let mut active = self.store.active_at(OsStr::new(id.as_str()), guard)?;
        extract::extract(&task, &active.upper, &mut tar)?;
        let target = self.store.root.join(id.as_str());
        self.store.complete(&mut active, &target)
    }
}
