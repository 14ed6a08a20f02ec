//! Entries of a layer, and the one order that they stand in.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The longest path and the longest link target that a layer may hold, in bytes: Linux takes no longer ones.
pub const MAX_PATH: usize = 4_095;

/// Begins the name of a whiteout (image-spec, layer.md, "Whiteouts").
pub(crate) const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// Begins the names of whiteouts with a meaning of their own, and of AUFS's bookkeeping.
pub(crate) const WHITEOUT_META_PREFIX: &[u8] = b".wh..wh.";
/// The name that makes a directory opaque.
pub(crate) const OPAQUE_NAME: &[u8] = b".wh..wh..opq";

/// A moment: seconds since 1970 (negative before it) plus nanoseconds in `0..1_000_000_000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// The rest.
    pub nanoseconds: u32,
}

impl Time {
    /// 1970-01-01T00:00:00Z: the time of what we imply ourselves.
    pub const EPOCH: Self = Self {
        seconds: 0,
        nanoseconds: 0,
    };

    /// A moment at a whole second.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self {
            seconds,
            nanoseconds: 0,
        }
    }
}

/// What an entry is. `B` holds link targets: owned, or borrowed from a table of contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind<B = Vec<u8>> {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Bytes of content.
        size: u64,
    },
    /// A symbolic link to this text.
    Symlink(B),
    /// Another name of the file at this path, in the form of [`Entry::path`].
    Hardlink(B),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// The path of the entry is hidden: what lower layers have there is gone.
    Whiteout,
    /// The directory at the path of the entry shows nothing of lower layers.
    Opaque,
}

impl<B: AsRef<[u8]>> Kind<B> {
    /// The same, borrowed.
    pub fn borrowed(&self) -> Kind<&[u8]> {
        match self {
            Self::Directory => Kind::Directory,
            Self::File { size } => Kind::File { size: *size },
            Self::Symlink(target) => Kind::Symlink(target.as_ref()),
            Self::Hardlink(target) => Kind::Hardlink(target.as_ref()),
            Self::CharDevice { major, minor } => Kind::CharDevice {
                major: *major,
                minor: *minor,
            },
            Self::BlockDevice { major, minor } => Kind::BlockDevice {
                major: *major,
                minor: *minor,
            },
            Self::Fifo => Kind::Fifo,
            Self::Whiteout => Kind::Whiteout,
            Self::Opaque => Kind::Opaque,
        }
    }
}

impl Kind<&[u8]> {
    /// The same, owned.
    pub fn to_owned(self) -> Kind {
        match self {
            Self::Directory => Kind::Directory,
            Self::File { size } => Kind::File { size },
            Self::Symlink(target) => Kind::Symlink(target.to_vec()),
            Self::Hardlink(target) => Kind::Hardlink(target.to_vec()),
            Self::CharDevice { major, minor } => Kind::CharDevice { major, minor },
            Self::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            Self::Fifo => Kind::Fifo,
            Self::Whiteout => Kind::Whiteout,
            Self::Opaque => Kind::Opaque,
        }
    }
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root, components joined by single `/`; empty is the root itself.
    ///
    /// Of a whiteout: the path that is hidden, without `.wh.`.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky: `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was last modified.
    pub mtime: Time,
    /// Extended attributes by full name: `user.note`, `security.capability`.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Entry {
    /// An entry of root's without extended attributes, of time [`Time::EPOCH`] and the usual mode:
    /// 0755 for directories, 0777 for symbolic links, 0644 for the rest.
    pub fn new(path: impl Into<Vec<u8>>, kind: Kind) -> Self {
        let mode = match kind {
            Kind::Directory => 0o755,
            Kind::Symlink(_) => 0o777,
            _ => 0o644,
        };
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Time::EPOCH,
            xattrs: BTreeMap::new(),
        }
    }
}

/// Orders paths by component: a directory, then all below it, then what follows it.
///
/// ```
/// use rbuild_image::layer::compare_paths;
/// let mut paths = [&b"a-b"[..], b"a/b", b"a", b""];
/// paths.sort_by(|left, right| compare_paths(left, right));
/// assert_eq!(paths, [&b""[..], b"a", b"a/b", b"a-b"]);
/// ```
pub fn compare_paths(left: &[u8], right: &[u8]) -> Ordering {
    // A separator ends a component, so it counts less than every byte that a component may hold.
    let weight = |byte: u8| if byte == b'/' { 0 } else { byte };
    match left.iter().zip(right).position(|(a, b)| a != b) {
        Some(at) => weight(left[at]).cmp(&weight(right[at])),
        None => left.len().cmp(&right.len()),
    }
}

/// Whether `path` is `directory` or lies below it.
pub fn is_within(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The directory that holds `path`; none for the root.
pub fn parent(path: &[u8]) -> Option<&[u8]> {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => Some(&path[..slash]),
        None if path.is_empty() => None,
        None => Some(b""),
    }
}

/// The last component of `path`; empty for the root.
pub fn file_name(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => &path[slash + 1..],
        None => path,
    }
}

/// `directory` and `name` as one path.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    if !directory.is_empty() && !name.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Whether `path` has the form that [`Entry::path`] promises.
pub fn is_normal(path: &[u8]) -> bool {
    let component = |name: &[u8]| !matches!(name, b"" | b"." | b"..");
    path.is_empty()
        || (path.len() <= MAX_PATH
            && !path.contains(&0)
            && path.split(|byte| *byte == b'/').all(component))
}

/// Brings a path as people and archives write it into the form of [`Entry::path`]: it is taken as absolute,
/// and `..` stops at the root. None when it holds a NUL byte or is longer than [`MAX_PATH`].
///
/// ```
/// use rbuild_image::layer::normalise_path;
/// assert_eq!(normalise_path(b"/../a/./b//c/.."), Some(b"a/b".to_vec()));
/// ```
pub fn normalise_path(path: &[u8]) -> Option<Vec<u8>> {
    if path.contains(&0) {
        return None;
    }
    let mut clean: Vec<u8> = Vec::with_capacity(path.len());
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                let end = parent(&clean).map_or(0, <[u8]>::len);
                clean.truncate(end);
            }
            _ => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(name);
            }
        }
    }
    (clean.len() <= MAX_PATH).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_inside_the_root_are_normal() {
        for (path, want) in [
            (&b""[..], true),
            (b"a", true),
            (b"a/.b", true),
            (b"...", true),
            (b"/a", false),
            (b"a/", false),
            (b"a//b", false),
            (b"a/./b", false),
            (b"..", false),
            (b"a/../b", false),
            (b"a\0b", false),
        ] {
            assert_eq!(is_normal(path), want, "{path:?}");
        }
    }

    #[test]
    fn normalised_paths_stay_in_the_root() {
        for (path, want) in [
            (&b"../../etc/passwd"[..], &b"etc/passwd"[..]),
            (b"a/../../../b", b"b"),
            (b"./", b""),
            (b"/", b""),
            (b"a/b/..", b"a"),
        ] {
            assert_eq!(normalise_path(path).as_deref(), Some(want));
        }
        assert_eq!(normalise_path(b"a\0"), None);
    }

    #[test]
    fn a_directory_holds_what_is_below_it_and_no_neighbour() {
        for (path, directory, want) in [
            (&b"a/b"[..], &b"a"[..], true),
            (b"a", b"a", true),
            (b"a-b", b"a", false),
            (b"anything", b"", true),
            (b"a", b"a/b", false),
        ] {
            assert_eq!(is_within(path, directory), want);
        }
    }
}
