//! The flattened file tree of an image, and what two of them differ in.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;

use anyhow::{Context as _, Result};

use crate::archive::{Image, sha256};

/// Every path of the image, without a leading slash; modification times are left out.
pub(crate) type Tree = BTreeMap<String, Node>;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// What it is, with its content.
    pub(crate) kind: Kind,
    /// Permission bits with set-id and sticky; 0 for symbolic links, where they mean nothing.
    pub(crate) mode: u32,
    /// Numeric owner.
    pub(crate) uid: u64,
    /// Numeric group.
    pub(crate) gid: u64,
    /// Extended attributes, values in hex.
    pub(crate) xattrs: BTreeMap<String, String>,
    /// Which file this is: paths that are hard links of each other share the number.
    inode: u64,
}

/// The type of a file and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory.
    Directory,
    /// A regular file: size and SHA-256.
    File(usize, String),
    /// A symbolic link and its target.
    Symlink(String),
    /// A device or pipe, by its tar type, with major and minor number.
    Special(char, u32, u32),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("directory"),
            Self::File(size, digest) => {
                write!(f, "file({size},{})", digest.get(..12).unwrap_or(digest))
            }
            Self::Symlink(target) => write!(f, "symlink({target})"),
            Self::Special(kind, major, minor) => write!(f, "special({kind},{major},{minor})"),
        }
    }
}

/// Lays the layers over each other.
pub(crate) fn flatten(image: &Image) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut inodes = 0;
    for (number, layer) in image.layers.iter().enumerate() {
        apply(&mut tree, layer, &mut inodes).with_context(|| format!("layer {number}"))?;
    }
    Ok(tree)
}

fn apply(tree: &mut Tree, layer: &[u8], inodes: &mut u64) -> Result<()> {
    // Whiteouts speak of the layers below, wherever they stand in the tar.
    let lower: Vec<String> = tree.keys().cloned().collect();
    let mut fresh: Vec<String> = Vec::new();
    let mut removed: Vec<String> = Vec::new();
    let mut upper = Tree::new();
    for entry in tar::Archive::new(layer).entries()? {
        let mut entry = entry?;
        let path = entry
            .path()?
            .to_string_lossy()
            .trim_start_matches("./")
            .trim_matches('/')
            .to_owned();
        if path.is_empty() || path == "." {
            continue;
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if let Some(hidden) = name.strip_prefix(".wh.") {
            let opaque = hidden == ".wh..opq";
            let base = if parent.is_empty() || opaque {
                String::new()
            } else {
                format!("{parent}/")
            };
            let target = if opaque {
                format!("{parent}/")
            } else {
                format!("{base}{hidden}")
            };
            removed.push(target);
            continue;
        }
        let node =
            node(&mut entry, &upper, tree, inodes).with_context(|| format!("entry `{path}`"))?;
        fresh.push(path.clone());
        upper.insert(path, node);
    }
    for path in &lower {
        let gone = removed.iter().any(|hidden| {
            path == hidden
                || path
                    .strip_prefix(hidden.trim_end_matches('/'))
                    .is_some_and(|rest| rest.starts_with('/'))
        });
        if gone {
            tree.remove(path);
        }
    }
    for path in fresh {
        let Some(node) = upper.remove(&path) else {
            continue;
        };
        // A file or link in place of a directory takes everything below away with it.
        if node.kind != Kind::Directory {
            let prefix = format!("{path}/");
            tree.retain(|other, _| !other.starts_with(&prefix));
        }
        tree.insert(path, node);
    }
    Ok(())
}

fn node(
    entry: &mut tar::Entry<'_, &[u8]>,
    upper: &Tree,
    lower: &Tree,
    inodes: &mut u64,
) -> Result<Node> {
    let header = entry.header().clone();
    let xattrs = xattrs(entry)?;
    let kind = match header.entry_type() {
        tar::EntryType::Directory => Kind::Directory,
        tar::EntryType::Symlink => Kind::Symlink(link_target(entry)?),
        tar::EntryType::Link => {
            let target = link_target(entry)?;
            let target = target.trim_start_matches("./").trim_matches('/');
            return upper
                .get(target)
                .or_else(|| lower.get(target))
                .cloned()
                .with_context(|| format!("hard link to `{target}`, which is not there"));
        }
        tar::EntryType::Char | tar::EntryType::Block | tar::EntryType::Fifo => {
            let letter = char::from(header.entry_type().as_byte());
            Kind::Special(
                letter,
                header.device_major()?.unwrap_or(0),
                header.device_minor()?.unwrap_or(0),
            )
        }
        _ => {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            Kind::File(content.len(), sha256(&content))
        }
    };
    let mode = if matches!(kind, Kind::Symlink(_)) {
        0
    } else {
        header.mode()? & 0o7777
    };
    *inodes += 1;
    Ok(Node {
        kind,
        mode,
        uid: header.uid()?,
        gid: header.gid()?,
        xattrs,
        inode: *inodes,
    })
}

fn link_target(entry: &tar::Entry<'_, &[u8]>) -> Result<String> {
    let target = entry.link_name()?.context("a link without a target")?;
    Ok(target.to_string_lossy().into_owned())
}

fn xattrs(entry: &mut tar::Entry<'_, &[u8]>) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        if let Some(name) = extension.key()?.strip_prefix("SCHILY.xattr.") {
            let value = extension
                .value_bytes()
                .iter()
                .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
            found.insert(name.to_owned(), value);
        }
    }
    Ok(found)
}

/// What differs, one line each: `tree PATH FIELD OURS THEIRS`.
pub(crate) fn differences(ours: &Tree, theirs: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, our) in ours {
        let Some(their) = theirs.get(path) else {
            lines.push(format!("tree /{path} only-rbuild {}", our.kind));
            continue;
        };
        let mut field = |name: &str, our: &dyn fmt::Display, their: &dyn fmt::Display| {
            lines.push(format!("tree /{path} {name} {our} {their}"));
        };
        if our.kind != their.kind {
            field("content", &our.kind, &their.kind);
        }
        if our.mode != their.mode {
            field(
                "mode",
                &format!("{:04o}", our.mode),
                &format!("{:04o}", their.mode),
            );
        }
        if (our.uid, our.gid) != (their.uid, their.gid) {
            field(
                "owner",
                &format!("{}:{}", our.uid, our.gid),
                &format!("{}:{}", their.uid, their.gid),
            );
        }
        if our.xattrs != their.xattrs {
            field(
                "xattrs",
                &format!("{:?}", our.xattrs),
                &format!("{:?}", their.xattrs),
            );
        }
        let (our_links, their_links) = (links(ours, path, our), links(theirs, path, their));
        if our_links != their_links {
            field("hard-links", &our_links.join(","), &their_links.join(","));
        }
    }
    lines.extend(
        theirs
            .iter()
            .filter(|(path, _)| !ours.contains_key(*path))
            .map(|(path, node)| format!("tree /{path} only-peer {}", node.kind)),
    );
    lines
}

/// The other paths of the same file.
fn links<'a>(tree: &'a Tree, path: &str, node: &Node) -> Vec<&'a str> {
    if !matches!(node.kind, Kind::File(..)) {
        return Vec::new();
    }
    tree.iter()
        .filter(|(other, candidate)| candidate.inode == node.inode && *other != path)
        .map(|(other, _)| other.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Kind, differences, flatten};
    use crate::archive::Image;

    /// A layer of `(path, content)`; a path with a trailing slash is a directory.
    fn layer(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_entry_type(if path.ends_with('/') {
                tar::EntryType::Directory
            } else {
                tar::EntryType::Regular
            });
            header.set_size(content.len() as u64);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, path, content.as_bytes())
                .unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn paths(layers: &[&[(&str, &str)]]) -> Vec<String> {
        let image = Image {
            config: serde_json::Value::Null,
            layers: layers.iter().map(|entries| layer(entries)).collect(),
        };
        flatten(&image).unwrap().into_keys().collect()
    }

    #[test]
    fn whiteouts_hide_lower_layers_only() {
        assert_eq!(paths(&[&[("a", "1"), ("b", "2")], &[(".wh.a", "")]]), ["b"]);
        assert_eq!(
            paths(&[
                &[("d/", ""), ("d/a", "1"), ("e", "")],
                &[("d/", ""), ("d/new", "2"), ("d/.wh..wh..opq", "")]
            ]),
            ["d", "d/new", "e"]
        );
        assert_eq!(
            paths(&[&[("d/", ""), ("d/a", "1"), ("dd", "")], &[(".wh.d", "")]]),
            ["dd"]
        );
    }

    #[test]
    fn a_file_replaces_a_directory_with_what_is_in_it() {
        assert_eq!(
            paths(&[&[("d/", ""), ("d/a", "1")], &[("d", "now a file")]]),
            ["d"]
        );
    }

    #[test]
    fn differences_name_path_field_and_both_sides() {
        let tree = |entries: &[(&str, &str)]| {
            flatten(&Image {
                config: serde_json::Value::Null,
                layers: vec![layer(entries)],
            })
            .unwrap()
        };
        let (ours, mut theirs) = (
            tree(&[("a", "1"), ("b", "1")]),
            tree(&[("a", "1"), ("c/", "")]),
        );
        theirs.get_mut("a").unwrap().mode = 0o600;
        let b = ours["b"].kind.clone();
        assert!(matches!(b, Kind::File(1, _)));
        assert_eq!(
            differences(&ours, &theirs),
            [
                "tree /a mode 0644 0600".to_owned(),
                format!("tree /b only-rbuild {b}"),
                "tree /c only-peer directory".to_owned()
            ]
        );
    }
}
