//! What a stack of layers shows at a path: each layer's part, from the highest down, until one hides the rest.

use std::ops::Range;

use super::super::entry::{self, Entry, Kind};
use super::super::toc::EntryRef;
use super::{Node, Rootfs};

/// What one layer has below a directory: the layer, and positions in its table.
type Part = (usize, Range<usize>);

/// What is at a path.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) node: Option<Node>,
    /// For a directory: what layers have below it, highest first.
    pub(super) parts: Vec<Part>,
}

/// What one layer says about a path.
struct Say<'a> {
    layer: usize,
    own: Option<EntryRef<'a>>,
    opaque: bool,
    below: Range<usize>,
}

/// Puts together what layers say about one path, highest first.
struct Merge<'a> {
    rootfs: &'a Rootfs,
    node: Option<Node>,
    /// The lowest layer so far that implies a directory here without an entry of its own.
    implied: Option<usize>,
    parts: Vec<Part>,
    /// Whether what lower layers have below the path is hidden.
    opaque: bool,
    /// Whether lower layers are hidden altogether.
    done: bool,
}

impl<'a> Merge<'a> {
    const fn new(rootfs: &'a Rootfs) -> Self {
        Self {
            rootfs,
            node: None,
            implied: None,
            parts: Vec::new(),
            opaque: false,
            done: false,
        }
    }

    fn take(&mut self, say: Say<'_>) {
        let is_directory = self.node.is_some() || self.implied.is_some();
        match say.own.map(|own| (own, own.kind())) {
            Some((_, Kind::Whiteout | Kind::Opaque)) => self.done = true,
            Some((own, Kind::Directory)) => {
                self.node.get_or_insert_with(|| node(own, say.layer));
            }
            Some((own, _)) => {
                if !is_directory {
                    self.node = self.file(own, say.layer);
                }
                self.done = true;
            }
            None if say.opaque || !say.below.is_empty() => {
                self.implied = Some(say.layer);
            }
            None => {}
        }
        if !say.below.is_empty() && !self.opaque {
            self.parts.push((say.layer, say.below));
        }
        // A directory that is only marked keeps the attributes that it has in lower layers.
        self.opaque |= say.opaque;
        self.done |= self.opaque && self.node.is_some();
    }

    /// What is no directory; a hard link as the file that has the bytes.
    fn file(&self, own: EntryRef<'_>, layer: usize) -> Option<Node> {
        let Kind::Hardlink(target) = own.kind() else {
            return Some(node(own, layer));
        };
        let found = match self.rootfs.layers[layer].find(target) {
            Some(file) if !matches!(file.kind(), Kind::Hardlink(_)) => Some(node(file, layer)),
            _ => at(self.rootfs, target, layer).node,
        };
        let mut file = found.filter(|node| node.entry.kind != Kind::Directory)?;
        file.entry.path = own.path().to_vec();
        Some(file)
    }

    fn finish(self, path: &[u8]) -> Place {
        let implied = |layer| Node {
            entry: Entry::new(path, Kind::Directory),
            layer,
            position: None,
            content: None,
        };
        Place {
            node: self.node.or_else(|| self.implied.map(implied)),
            parts: self.parts,
        }
    }
}

fn node(entry: EntryRef<'_>, layer: usize) -> Node {
    Node {
        entry: entry.to_entry(),
        layer,
        position: Some(entry.index()),
        content: entry.content(),
    }
}

/// What the lowest `count` layers show at `path`.
pub(super) fn at(rootfs: &Rootfs, path: &[u8], count: usize) -> Place {
    let mut merge = Merge::new(rootfs);
    if path.is_empty() {
        // The root exists whatever the layers say.
        merge.implied = Some(0);
    }
    for (layer, toc) in rootfs.layers[..count].iter().enumerate().rev() {
        let mut range = toc.subtree(path);
        let (own, opaque) = own_entries(rootfs, layer, path.len(), &mut range);
        merge.take(Say {
            layer,
            own,
            opaque,
            below: range,
        });
        if merge.done || hides_below(rootfs, layer, path) {
            break;
        }
    }
    merge.finish(path)
}

/// Takes the entries of the path itself, which has `length` bytes, from the start of the range of its subtree.
fn own_entries<'a>(
    rootfs: &'a Rootfs,
    layer: usize,
    length: usize,
    range: &mut Range<usize>,
) -> (Option<EntryRef<'a>>, bool) {
    let toc = &rootfs.layers[layer];
    let (mut own, mut opaque) = (None, false);
    for _ in 0..2 {
        let next = toc.range(range.clone()).next();
        let Some(entry) = next.filter(|entry| entry.path().len() == length) else {
            break;
        };
        if matches!(entry.kind(), Kind::Opaque) {
            opaque = true;
        } else {
            own = Some(entry);
        }
        range.start += 1;
    }
    (own, opaque)
}

/// Whether the layer hides what lower layers have at `path`, by what it has above that path.
fn hides_below(rootfs: &Rootfs, layer: usize, path: &[u8]) -> bool {
    let toc = &rootfs.layers[layer];
    let mut ancestor = path;
    while let Some(above) = entry::parent(ancestor) {
        let is_leaf = |found: EntryRef<'_>| !matches!(found.kind(), Kind::Directory);
        if toc.is_opaque(above) || toc.find(above).is_some_and(is_leaf) {
            return true;
        }
        ancestor = above;
    }
    false
}

/// Goes through the children of a directory by name.
#[derive(Debug)]
pub(super) struct Children {
    /// Where names begin in the paths of children.
    start: usize,
    parts: Vec<Part>,
}

impl Children {
    pub(super) const fn new(directory: &[u8], parts: Vec<Part>) -> Self {
        let start = match directory.len() {
            0 => 0,
            length => length + 1,
        };
        Self { start, parts }
    }

    /// The next child; one without a node has been removed.
    pub(super) fn next(&mut self, rootfs: &Rootfs) -> Option<Place> {
        let start = self.start;
        let path = |part: &Part| {
            let entry = rootfs.layers[part.0].get(part.1.start);
            entry.map_or(&[][..], |entry| child_path(entry.path(), start))
        };
        self.parts.retain(|part| !part.1.is_empty());
        let next = self.parts.iter().map(path).min()?.to_vec();
        let mut merge = Merge::new(rootfs);
        for part in &mut self.parts {
            let (layer, range) = part;
            let toc = &rootfs.layers[*layer];
            let first = toc.get(range.start);
            if first.is_none_or(|entry| child_path(entry.path(), start) != next) {
                continue;
            }
            let end = toc.end_of_subtree(&next, range.clone());
            let mut own_range = range.start..end;
            range.start = end;
            let (own, opaque) = own_entries(rootfs, *layer, next.len(), &mut own_range);
            if !merge.done {
                merge.take(Say {
                    layer: *layer,
                    own,
                    opaque,
                    below: own_range,
                });
            }
        }
        Some(merge.finish(&next))
    }
}

/// The part of `path` up to the end of the name that begins at `start`.
fn child_path(path: &[u8], start: usize) -> &[u8] {
    let name = path.get(start..).unwrap_or_default();
    let end = name.iter().position(|byte| *byte == b'/');
    end.map_or(path, |end| &path[..start + end])
}
