//! Content ids: what a layer holds, whatever its times.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::entry::Kind;
use crate::{Digest, Hasher};

/// Says how content ids are made; it moves when their meaning does.
const VERSION: &[u8] = b"rbuild content id 1\n";
const CHAIN_VERSION: &[u8] = b"rbuild content chain 1\n";

/// A digest over the sorted entries of a layer, or over the content ids of a stack of layers.
///
/// Of each entry it covers path, type, mode, owner, group, link target, extended attributes but overlayfs's
/// own, content digest and device numbers. It covers no time: the same work at another time gives the same
/// content id, and another diff id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentId(Digest);

impl ContentId {
    /// A content id that was computed before and kept somewhere.
    pub const fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest itself.
    pub const fn digest(&self) -> Digest {
        self.0
    }

    /// The content id of a stack of layers, lowest first; there is one for no layers too.
    pub fn chain(layers: impl IntoIterator<Item = Self>) -> Self {
        let mut hasher = Hasher::sha256();
        hasher.update(CHAIN_VERSION);
        for layer in layers {
            hasher.update(layer.0.as_bytes());
        }
        Self(hasher.finish())
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether overlayfs keeps its own state in this attribute; such attributes are no content.
pub fn is_overlay_xattr(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// What the content id takes of an entry besides path and kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Computes the content id of a layer from its entries in canonical order.
#[derive(Debug)]
pub(crate) struct ContentHasher {
    hasher: Hasher,
    line: Vec<u8>,
}

impl ContentHasher {
    pub(crate) fn new() -> Self {
        let mut hasher = Hasher::sha256();
        hasher.update(VERSION);
        Self {
            hasher,
            line: Vec::new(),
        }
    }

    /// Takes the next entry. `digest` is that of a file's content.
    pub(crate) fn entry<'a>(
        &mut self,
        path: &[u8],
        kind: Kind<&[u8]>,
        attributes: Attributes,
        xattrs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        digest: Option<&Digest>,
    ) {
        let line = &mut self.line;
        line.clear();
        field(line, path);
        line.push(tag(kind));
        match kind {
            // A further name of a file has nothing of its own.
            Kind::Hardlink(target) => field(line, target),
            Kind::Whiteout | Kind::Opaque => {}
            _ => own_part(line, kind, attributes, xattrs, digest),
        }
        self.hasher.update(line);
    }

    pub(crate) fn finish(self) -> ContentId {
        ContentId(self.hasher.finish())
    }
}

fn own_part<'a>(
    line: &mut Vec<u8>,
    kind: Kind<&[u8]>,
    attributes: Attributes,
    xattrs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    digest: Option<&Digest>,
) {
    // Linux has no modes of symbolic links, and archivers make up different ones.
    let mode = match kind {
        Kind::Symlink(_) => 0o777,
        _ => attributes.mode,
    };
    for number in [mode, attributes.uid, attributes.gid] {
        line.extend_from_slice(&number.to_be_bytes());
    }
    match kind {
        Kind::File { size } => {
            line.extend_from_slice(&size.to_be_bytes());
            field(line, digest.map_or(&[], Digest::as_bytes));
        }
        Kind::Symlink(target) => field(line, target),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            line.extend_from_slice(&major.to_be_bytes());
            line.extend_from_slice(&minor.to_be_bytes());
        }
        Kind::Directory | Kind::Hardlink(_) | Kind::Fifo | Kind::Whiteout | Kind::Opaque => {}
    }
    for (name, value) in xattrs.filter(|(name, _)| !is_overlay_xattr(name)) {
        line.push(b'x');
        field(line, name);
        field(line, value);
    }
    line.push(b'.');
}

/// With its length before it, so that no two lists of fields run together.
fn field(line: &mut Vec<u8>, value: &[u8]) {
    line.extend_from_slice(&(value.len() as u64).to_be_bytes());
    line.extend_from_slice(value);
}

const fn tag(kind: Kind<&[u8]>) -> u8 {
    match kind {
        Kind::Directory => b'd',
        Kind::File { .. } => b'f',
        Kind::Symlink(_) => b'l',
        Kind::Hardlink(_) => b'h',
        Kind::CharDevice { .. } => b'c',
        Kind::BlockDevice { .. } => b'b',
        Kind::Fifo => b'p',
        Kind::Whiteout => b'w',
        Kind::Opaque => b'o',
    }
}
