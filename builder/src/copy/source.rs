//! Trees that files are copied from: the build context, the root file system of a step, an archive.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_image::layer::{self, Kind, Rootfs, Time};
use rbuild_image::{DiffId, Digest};

use super::archive::Spool;

/// A file system that can be looked at.
pub(crate) trait Tree {
    /// What is at `path` (relative, no leading `/`; empty is the root), links followed, also the last one.
    fn lookup(&self, path: &[u8]) -> io::Result<Option<Node>>;

    /// The names in a directory, sorted. Links in `path` are followed.
    fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>>;

    /// Everything below a directory in canonical order, without the directory itself; links are not followed.
    /// Paths of the nodes are relative to the directory.
    fn walk(&self, path: &[u8]) -> io::Result<Vec<Node>>;

    /// Why a path that seems to be meant is not there.
    fn why_missing(&self, path: &str) -> Option<String>;
}

/// A file of a tree.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Relative to the directory that was walked; of a looked-up node, the path in the tree.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: NodeKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Equal for names of one file that has several; none for a file with one name.
    pub(crate) identity: Option<(u64, u64)>,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum NodeKind {
    Directory,
    File {
        size: u64,
        content: Content,
    },
    /// Anything without content: links, devices, pipes.
    Other(Kind),
}

/// Where the bytes of a file are.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// In the context; the digest is known once it was hashed.
    File {
        path: PathBuf,
        stamp: Stamp,
        digest: Option<Digest>,
    },
    /// In the uncompressed tar of a layer.
    Layer {
        layer: DiffId,
        offset: u64,
        digest: Digest,
    },
    /// In an archive.
    Spool {
        spool: Arc<Spool>,
        offset: u64,
        digest: Digest,
    },
    /// In the Dockerfile.
    Text(Arc<[u8]>),
}

/// What tells that a file is still the one that was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) mtime: (i64, i64),
    pub(crate) ctime: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Content {
    /// The digest of the bytes, once it is known.
    pub(crate) fn digest(&self) -> Option<Digest> {
        match self {
            Self::File { digest, .. } => *digest,
            Self::Layer { digest, .. } | Self::Spool { digest, .. } => Some(*digest),
            Self::Text(text) => Some(Digest::sha256(text)),
        }
    }
}

impl Node {
    pub(crate) const fn is_directory(&self) -> bool {
        matches!(self.kind, NodeKind::Directory)
    }
}

/// The root file system of a step, or an archive, through its tables of contents.
#[derive(Debug)]
pub(crate) struct RootTree<'a> {
    pub(crate) view: &'a Rootfs,
    /// Where the bytes of layer `n` of the view are.
    pub(crate) bytes: Bytes,
}

/// Where the bytes of the layers of a view are.
#[derive(Debug)]
pub(crate) enum Bytes {
    Layers(Vec<DiffId>),
    Spool(Arc<Spool>),
}

impl RootTree<'_> {
    fn node(&self, node: layer::Node, path: Vec<u8>) -> Node {
        let entry = node.entry;
        let identity = node
            .position
            .map(|position| (node.layer as u64, position as u64));
        let kind = match (entry.kind, node.content) {
            (Kind::Directory, _) => NodeKind::Directory,
            (Kind::File { size }, Some(content)) => {
                let (offset, digest) = (content.offset, content.digest);
                let content = match &self.bytes {
                    Bytes::Layers(layers) => Content::Layer {
                        layer: layers[node.layer],
                        offset,
                        digest,
                    },
                    Bytes::Spool(spool) => Content::Spool {
                        spool: Arc::clone(spool),
                        offset,
                        digest,
                    },
                };
                NodeKind::File { size, content }
            }
            (Kind::File { .. }, None) => NodeKind::File {
                size: 0,
                content: Content::Text(Arc::from([])),
            },
            (other, _) => NodeKind::Other(other),
        };
        let identity = identity.filter(|_| matches!(kind, NodeKind::File { .. }));
        Node {
            path,
            kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: entry.xattrs,
            identity,
        }
    }

    fn resolve(&self, path: &[u8]) -> io::Result<Option<layer::Node>> {
        match self.view.resolve(path, true) {
            Ok(resolved) => Ok(resolved.node),
            Err(layer::ResolveError::NotDirectory(_)) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

impl Tree for RootTree<'_> {
    fn lookup(&self, path: &[u8]) -> io::Result<Option<Node>> {
        Ok(self.resolve(path)?.map(|node| {
            let path = node.entry.path.clone();
            self.node(node, path)
        }))
    }

    fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let Some(node) = self.resolve(path)? else {
            return Ok(Vec::new());
        };
        let children = self.view.children(&node.entry.path);
        Ok(children
            .iter()
            .map(|child| layer::file_name(&child.entry.path).to_vec())
            .collect())
    }

    fn walk(&self, path: &[u8]) -> io::Result<Vec<Node>> {
        let Some(top) = self.resolve(path)? else {
            return Ok(Vec::new());
        };
        let top = top.entry.path;
        let skip = if top.is_empty() { 0 } else { top.len() + 1 };
        let below = self
            .view
            .walk(&top)
            .filter(|node| node.entry.path.len() > top.len());
        Ok(below
            .map(|node| {
                let path = node.entry.path[skip..].to_vec();
                self.node(node, path)
            })
            .collect())
    }

    fn why_missing(&self, _: &str) -> Option<String> {
        None
    }
}
