//! Where copied files go: the sorted list of entries that the layer of a step will have.
//!
//! The list holds what is copied, the directories that had to be made, and, with their own attributes, the
//! directories of the lower layers that lead there: engines that unpack a layer beside the others would else
//! make those up. What the layer depends on in the root file system below is thereby in the list, and nothing
//! else of it: the digest of the list is the key of the step (design: same facts on a new base, same layer).

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use rbuild_image::layer::{Entry, Kind, ResolveError, Rootfs, Time, compare_paths, parent};
use rbuild_image::{Digest, Hasher};

use super::mode::ModeChange;
use super::owner::Owners;
use super::source::{Content, Node, NodeKind};

/// The time of directories and files that no source gives one: 1980-01-02, never the clock's.
///
/// Not 1970, because ZIP archives (so Python wheels) cannot hold it; a day later than 1980 because of time zones.
pub(crate) const CREATED_TIME: Time = Time::from_seconds(315_619_200);

/// What is changed about every file that is placed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meta {
    /// `--chown`.
    pub(crate) owners: Option<Owners>,
    /// `--chmod`.
    pub(crate) mode: Option<ModeChange>,
    /// Time of what is made.
    pub(crate) created: Option<Time>,
}

/// Why a file cannot go where it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("cannot copy into `{0}`: it is not a directory")]
    NotDirectory(String),
    #[error("cannot copy a file onto the directory `{0}`")]
    IsDirectory(String),
    #[error("cannot follow the destination: {0}")]
    Resolve(#[from] ResolveError),
}

/// One entry of the layer to be.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) entry: Entry,
    pub(crate) content: Option<Content>,
    identity: Option<(usize, u64, u64)>,
}

/// The entries of the layer to be, in canonical order.
#[derive(Debug)]
pub(crate) struct Placement<'a> {
    view: &'a Rootfs,
    meta: Meta,
    entries: BTreeMap<PathKey, Placed>,
    /// Which source is being placed: names of one file are links of each other only within a source.
    source: usize,
    /// The directory that was last made sure of; most files have the parent of the file before.
    known_parent: Option<Vec<u8>>,
    changes: bool,
}

/// A path in canonical order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PathKey(Vec<u8>);

impl Ord for PathKey {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_paths(&self.0, &other.0)
    }
}

impl PartialOrd for PathKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> Placement<'a> {
    /// An empty list above the root file system `view`.
    pub(crate) fn new(view: &'a Rootfs, meta: Meta) -> Self {
        Self {
            view,
            meta,
            entries: BTreeMap::new(),
            source: 0,
            known_parent: None,
            changes: false,
        }
    }

    /// The real path of a destination, links followed; whether it is a directory already.
    pub(crate) fn destination(&self, path: &str) -> Result<(Vec<u8>, bool), PlaceError> {
        let resolved = self.view.resolve(path.as_bytes(), true)?;
        let is_directory = resolved
            .node
            .is_some_and(|node| node.entry.kind == Kind::Directory)
            || self.is_placed_directory(&resolved.path);
        Ok((resolved.path, is_directory))
    }

    /// Begins the next source.
    pub(crate) fn next_source(&mut self) {
        self.source += 1;
    }

    /// Makes sure of a directory and those above it.
    pub(crate) fn directory(&mut self, path: &[u8]) -> Result<(), PlaceError> {
        if path.is_empty() || self.known_parent.as_deref() == Some(path) {
            return Ok(());
        }
        if !self.is_placed_directory(path) {
            self.directory(parent(path).unwrap_or_default())?;
            let placed = match self.view.lookup(path) {
                Some(node) if node.entry.kind == Kind::Directory => node.entry,
                Some(_) => return Err(PlaceError::NotDirectory(shown(path))),
                None => {
                    self.changes = true;
                    self.made(path)
                }
            };
            self.insert(Placed {
                entry: placed,
                content: None,
                identity: None,
            });
        }
        self.known_parent = Some(path.to_vec());
        Ok(())
    }

    /// Places a file of a source at a path whose last component is no link. An existing directory takes the
    /// attributes of the source's; a file does not go onto a directory, nor a directory onto a file.
    pub(crate) fn put(&mut self, path: &[u8], node: &Node) -> Result<(), PlaceError> {
        self.directory(parent(path).unwrap_or_default())?;
        let there = self.is_directory(path);
        match (there, node.is_directory()) {
            (Some(false), true) => return Err(PlaceError::NotDirectory(shown(path))),
            (Some(true), false) => return Err(PlaceError::IsDirectory(shown(path))),
            _ => {}
        }
        self.place(path, node);
        Ok(())
    }

    /// Places a file of an archive: like `tar`, it replaces what is in its way, and goes through links to directories.
    pub(crate) fn put_unpacked(
        &mut self,
        base: &[u8],
        relative: &[u8],
        node: &Node,
    ) -> Result<(), PlaceError> {
        let mut at = base.to_vec();
        let (above, name) = match relative.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&relative[..slash], &relative[slash + 1..]),
            None => (&b""[..], relative),
        };
        for component in above
            .split(|byte| *byte == b'/')
            .filter(|component| !component.is_empty())
        {
            at = rbuild_image::layer::join(&at, component);
            if !self.entries.contains_key(&PathKey(at.clone())) {
                at = self.view.resolve(&at, true)?.path;
            }
        }
        self.directory(&at)?;
        let path = rbuild_image::layer::join(&at, name);
        self.place(&path, node);
        Ok(())
    }

    /// Whether the step changes anything.
    pub(crate) const fn has_changes(&self) -> bool {
        self.changes
    }

    /// The contents whose digest is not known yet.
    pub(crate) fn contents_mut(&mut self) -> impl Iterator<Item = &mut Content> {
        self.entries
            .values_mut()
            .filter_map(|placed| placed.content.as_mut())
    }

    /// The list, hard links made.
    pub(crate) fn finish(self) -> Vec<Placed> {
        let mut first: HashMap<(usize, u64, u64), Vec<u8>> = HashMap::new();
        let mut list: Vec<Placed> = self.entries.into_values().collect();
        for placed in &mut list {
            let Some(identity) = placed.identity else {
                continue;
            };
            match first.get(&identity) {
                Some(target) => {
                    placed.entry.kind = Kind::Hardlink(target.clone());
                    placed.content = None;
                }
                None => {
                    first.insert(identity, placed.entry.path.clone());
                }
            }
        }
        list
    }

    fn place(&mut self, path: &[u8], node: &Node) {
        self.changes = true;
        let (kind, content) = match &node.kind {
            NodeKind::Directory => (Kind::Directory, None),
            NodeKind::File { size, content } => (Kind::File { size: *size }, Some(content.clone())),
            NodeKind::Other(kind) => (kind.clone(), None),
        };
        let is_link = matches!(kind, Kind::Symlink(_));
        let mode = match &self.meta.mode {
            Some(change) if !is_link => change.apply(node.mode, node.is_directory()),
            _ => node.mode,
        };
        let own = Owners {
            uid: node.uid,
            gid: node.gid,
        };
        let owners = self.meta.owners.unwrap_or(own);
        let entry = Entry {
            path: path.to_vec(),
            kind,
            mode,
            uid: owners.uid,
            gid: owners.gid,
            mtime: node.mtime,
            xattrs: node.xattrs.clone(),
        };
        let identity = node
            .identity
            .map(|(left, right)| (self.source, left, right));
        self.insert(Placed {
            entry,
            content,
            identity,
        });
    }

    /// A directory that no source gives: 0755, or what `--chmod` and `--chown` say (rule 33).
    fn made(&self, path: &[u8]) -> Entry {
        let mut entry = Entry::new(path, Kind::Directory);
        if let Some(ModeChange::Octal(mode)) = self.meta.mode {
            entry.mode = mode;
        }
        let owners = self.meta.owners.unwrap_or_default();
        (entry.uid, entry.gid) = (owners.uid, owners.gid);
        entry.mtime = self.meta.created.unwrap_or(CREATED_TIME);
        entry
    }

    fn insert(&mut self, placed: Placed) {
        self.entries
            .insert(PathKey(placed.entry.path.clone()), placed);
    }

    fn is_placed_directory(&self, path: &[u8]) -> bool {
        self.entries
            .get(&PathKey(path.to_vec()))
            .is_some_and(|placed| placed.entry.kind == Kind::Directory)
    }

    fn is_directory(&self, path: &[u8]) -> Option<bool> {
        if path.is_empty() {
            return Some(true);
        }
        if let Some(placed) = self.entries.get(&PathKey(path.to_vec())) {
            return Some(placed.entry.kind == Kind::Directory);
        }
        self.view
            .lookup(path)
            .map(|node| node.entry.kind == Kind::Directory)
    }
}

/// The identity of a list: everything but times. All digests must be known.
pub(crate) fn digest_of(list: &[Placed]) -> Digest {
    let mut hasher = Hasher::sha256();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for placed in list {
        let entry = &placed.entry;
        part(&entry.path);
        let (tag, text, numbers) = match &entry.kind {
            Kind::Directory => (b"d", &[][..], [0, 0]),
            Kind::File { .. } => (b"f", &[][..], [0, 0]),
            Kind::Symlink(target) => (b"l", &target[..], [0, 0]),
            Kind::Hardlink(target) => (b"h", &target[..], [0, 0]),
            Kind::CharDevice { major, minor } => (b"c", &[][..], [*major, *minor]),
            Kind::BlockDevice { major, minor } => (b"b", &[][..], [*major, *minor]),
            Kind::Fifo => (b"p", &[][..], [0, 0]),
            Kind::Whiteout => (b"w", &[][..], [0, 0]),
            Kind::Opaque => (b"o", &[][..], [0, 0]),
        };
        part(tag);
        part(text);
        for number in [entry.mode, entry.uid, entry.gid, numbers[0], numbers[1]] {
            part(&number.to_le_bytes());
        }
        part(&(entry.xattrs.len() as u64).to_le_bytes());
        for (name, value) in &entry.xattrs {
            part(name);
            part(value);
        }
        if let Some(digest) = placed.content.as_ref().and_then(Content::digest) {
            part(digest.as_bytes());
        }
    }
    hasher.finish()
}

pub(crate) fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}
