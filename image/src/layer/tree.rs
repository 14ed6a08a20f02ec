//! A stack of layers as the one file system that it makes.

mod merge;
mod resolve;

use std::sync::Arc;

use super::content::ContentId;
use super::{Entry, FileContent, Toc};

/// The merged view of a stack of layers.
#[derive(Debug, Clone, Default)]
pub struct Rootfs {
    layers: Vec<Arc<Toc>>,
}

/// What is at a path of a merged view. Never a whiteout, an opaque mark or a hard link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The entry, under the path that was asked for. A hard link is shown as the file that it names.
    pub entry: Entry,
    /// The layer that has it, counted from the lowest. For a directory that layers only imply: the lowest such.
    pub layer: usize,
    /// Position of the file's entry in the table of [`Self::layer`]; none for implied directories.
    /// Nodes with equal layer and position are names of one file.
    pub position: Option<usize>,
    /// Where the bytes of a file are, in the tar of [`Self::layer`].
    pub content: Option<FileContent>,
}

/// Where a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The path without links, as far as it exists, and then [`Self::missing`].
    pub path: Vec<u8>,
    /// What is there; none when something is missing.
    pub node: Option<Node>,
    /// The components at the end of [`Self::path`] that do not exist.
    pub missing: Vec<Vec<u8>>,
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// A component that is not the last is neither directory nor link.
    #[error("`{0}` is not a directory")]
    NotDirectory(String),
    /// Links lead in a circle, or through too many others.
    #[error("too many links on the way of `{0}`")]
    TooManyLinks(String),
    /// The path, or the target of a link in its way, is none.
    #[error("`{0}` is no path")]
    Path(String),
}

impl Rootfs {
    /// The view of `layers`, lowest first.
    pub const fn new(layers: Vec<Arc<Toc>>) -> Self {
        Self { layers }
    }

    /// The tables, lowest first.
    pub fn layers(&self) -> &[Arc<Toc>] {
        &self.layers
    }

    /// The content id of the stack: the chain of its layers'.
    pub fn content_id(&self) -> ContentId {
        ContentId::chain(self.layers.iter().map(|layer| layer.content_id()))
    }

    /// What is at `path` (in the form of [`Entry::path`]), links not followed. The root is always there.
    pub fn lookup(&self, path: &[u8]) -> Option<Node> {
        merge::at(self, path, self.layers.len()).node
    }

    /// Follows `path` from the root, through links, never out of it; a link at its end too if `follow_last`
    /// or if a slash stands behind it.
    ///
    /// `..` behind what does not exist takes that component away again, as in `BuildKit`.
    pub fn resolve(&self, path: &[u8], follow_last: bool) -> Result<Resolved, ResolveError> {
        resolve::resolve(self, path, follow_last)
    }

    /// What is directly in the directory at `path`, sorted by name; nothing when it is no directory.
    pub fn children(&self, path: &[u8]) -> Vec<Node> {
        let place = merge::at(self, path, self.layers.len());
        let mut children = merge::Children::new(path, place.parts);
        let mut nodes = Vec::new();
        while let Some(child) = children.next(self) {
            nodes.extend(child.node);
        }
        nodes
    }

    /// What is at `path` and all below it, in canonical order; links are not followed.
    pub fn walk(&self, path: &[u8]) -> Walk<'_> {
        let place = merge::at(self, path, self.layers.len());
        let levels = vec![merge::Children::new(path, place.parts)];
        Walk {
            rootfs: self,
            first: place.node,
            levels,
        }
    }
}

/// The entries of a subtree, in canonical order.
#[derive(Debug)]
pub struct Walk<'a> {
    rootfs: &'a Rootfs,
    first: Option<Node>,
    levels: Vec<merge::Children>,
}

impl Iterator for Walk<'_> {
    type Item = Node;

    fn next(&mut self) -> Option<Node> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let Some(child) = self.levels.last_mut()?.next(self.rootfs) else {
                self.levels.pop();
                continue;
            };
            let Some(node) = child.node else { continue };
            if !child.parts.is_empty() {
                let inner = merge::Children::new(&node.entry.path, child.parts);
                self.levels.push(inner);
            }
            return Some(node);
        }
    }
}
