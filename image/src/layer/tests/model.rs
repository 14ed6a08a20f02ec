//! Random layers, and the naive way to stack them.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::layer::{
    Entry, Kind, LayerSummary, LayerWriter, Node, Time, compare_paths, is_within, parent,
};

/// An entry with the content of a file.
pub(super) type Item = (Entry, Vec<u8>);

/// A layer in canonical order that a writer takes.
pub(super) fn layer() -> impl Strategy<Value = Vec<Item>> {
    vec(item(), 0..14).prop_map(canonical)
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        Just("a"),
        Just("a-b"),
        Just("b"),
        Just("a.b"),
        Just("é"),
        Just("long-name-long-name-long-name-long-name-long-name-long-name-long-name-long-name"),
    ];
    vec(name, 1..4).prop_map(|names| names.join("/").into_bytes())
}

fn time() -> impl Strategy<Value = Time> {
    let seconds = prop_oneof![Just(0), -3_i64..3, Just(1_700_000_000), Just(1_i64 << 40)];
    let nanoseconds = prop_oneof![Just(0), 0_u32..1_000_000_000, Just(500_000_000)];
    (seconds, nanoseconds).prop_map(|(seconds, nanoseconds)| Time {
        seconds,
        nanoseconds,
    })
}

fn xattrs() -> impl Strategy<Value = BTreeMap<Vec<u8>, Vec<u8>>> {
    let name = prop_oneof![
        Just(b"user.a".to_vec()),
        Just(b"security.capability".to_vec())
    ];
    btree_map(name, vec(any::<u8>(), 0..20), 0..3)
}

fn item() -> impl Strategy<Value = Item> {
    let id = prop_oneof![Just(0), Just(1000), Just(u32::MAX - 1)];
    let content = prop_oneof![vec(any::<u8>(), 0..3), vec(any::<u8>(), 500..1500)];
    let attributes = (0_u32..0o10000, id.clone(), id, time(), xattrs());
    (path(), 0_u8..14, attributes, content).prop_map(
        |(path, choice, (mode, uid, gid, mtime, xattrs), content)| {
            let size = content.len() as u64;
            let kind = match choice {
                0..3 => Kind::Directory,
                3..7 => Kind::File { size },
                7 => Kind::Symlink(b"../b/./x".to_vec()),
                8 => Kind::Symlink([&b"/"[..], &[b'y'; 150]].concat()),
                // The target is put right by `canonical`.
                9 => Kind::Hardlink(Vec::new()),
                10 => Kind::CharDevice { major: 1, minor: 3 },
                11 => Kind::Fifo,
                12 => Kind::Whiteout,
                _ => Kind::Opaque,
            };
            let has_attributes = !matches!(kind, Kind::Whiteout | Kind::Opaque);
            let entry = if has_attributes {
                Entry {
                    path,
                    kind,
                    mode,
                    uid,
                    gid,
                    mtime,
                    xattrs,
                }
            } else {
                Entry::new(path, kind)
            };
            (entry, content)
        },
    )
}

/// Sorted, without doubles, nothing inside what is no directory, links to earlier files.
fn canonical(mut items: Vec<Item>) -> Vec<Item> {
    let is_opaque = |item: &Item| item.0.kind == Kind::Opaque;
    items.sort_by(|left, right| {
        compare_paths(&left.0.path, &right.0.path).then(is_opaque(left).cmp(&is_opaque(right)))
    });
    items.dedup_by(|next, kept| next.0.path == kept.0.path && is_opaque(next) == is_opaque(kept));
    let mut kept: Vec<Item> = Vec::new();
    for (mut entry, content) in items {
        let is_leaf = |kind: &Kind| !matches!(kind, Kind::Directory | Kind::Opaque);
        let inside = |outer: &Item| is_leaf(&outer.0.kind) && is_within(&entry.path, &outer.0.path);
        if kept.iter().any(inside) {
            continue;
        }
        if let Kind::Hardlink(_) = entry.kind {
            let mut files = kept
                .iter()
                .filter(|item| matches!(item.0.kind, Kind::File { .. }));
            let Some((file, _)) = files.next() else {
                continue;
            };
            entry = Entry {
                kind: Kind::Hardlink(file.path.clone()),
                path: entry.path,
                ..file.clone()
            };
        }
        kept.push((entry, content));
    }
    kept
}

pub(super) fn write(items: &[Item]) -> (Vec<u8>, LayerSummary) {
    let mut writer = LayerWriter::new(Vec::new());
    for (entry, content) in items {
        match entry.kind {
            Kind::File { .. } => {
                writer.file(entry, &mut &content[..], None).unwrap();
            }
            _ => writer.entry(entry).unwrap(),
        }
    }
    writer.finish().unwrap()
}

/// A file system as a map from path to entry, the root left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Model(pub(super) BTreeMap<Vec<u8>, Item>);

impl Model {
    pub(super) fn apply(&mut self, layer: &[Item]) {
        for (entry, _) in layer {
            let hidden = match entry.kind {
                Kind::Whiteout => true,
                Kind::Opaque => false,
                _ => continue,
            };
            let path = &entry.path;
            self.0
                .retain(|other, _| !is_within(other, path) || (!hidden && other == path));
        }
        for (entry, content) in layer {
            self.make_directories(parent(&entry.path).unwrap_or_default());
            match &entry.kind {
                Kind::Whiteout => {}
                Kind::Opaque => self.make_directories(&entry.path),
                Kind::Directory => {
                    self.make_directories(&entry.path);
                    self.0
                        .insert(entry.path.clone(), (entry.clone(), Vec::new()));
                }
                Kind::Hardlink(target) => {
                    self.remove(&entry.path);
                    let (mut file, content) = self.0[target].clone();
                    file.path.clone_from(&entry.path);
                    self.0.insert(entry.path.clone(), (file, content));
                }
                _ => {
                    self.remove(&entry.path);
                    self.0
                        .insert(entry.path.clone(), (entry.clone(), content.clone()));
                }
            }
        }
    }

    fn remove(&mut self, path: &[u8]) {
        self.0.retain(|other, _| !is_within(other, path));
    }

    fn make_directories(&mut self, path: &[u8]) {
        let Some(above) = parent(path) else { return };
        self.make_directories(above);
        if !self
            .0
            .get(path)
            .is_some_and(|(entry, _)| entry.kind == Kind::Directory)
        {
            self.remove(path);
            let entry = Entry::new(path, Kind::Directory);
            self.0.insert(path.to_vec(), (entry, Vec::new()));
        }
    }

    /// What a walk over the same tree gives, in canonical order.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<_> = self.0.values().map(|(entry, _)| entry.clone()).collect();
        entries.sort_by(|left, right| compare_paths(&left.path, &right.path));
        entries
    }
}

pub(super) fn entries(nodes: impl IntoIterator<Item = Node>) -> Vec<Entry> {
    nodes.into_iter().map(|node| node.entry).collect()
}
