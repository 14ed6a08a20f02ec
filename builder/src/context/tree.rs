//! Looking at the context (builder-features rules 27 to 33).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rbuild_image::layer::{Kind, Time, file_name, join, parent};
use rbuild_parser::ignore::Ignore;
use rbuild_parser::suggest;
use walkdir::WalkDir;

use crate::copy::{Content, Node, NodeKind, Stamp, Tree};

/// The largest number of links that a path may lead through, as in the kernel.
const MAX_LINKS: usize = 40;

/// A directory that files are copied from.
#[derive(Debug)]
pub struct Context {
    root: PathBuf,
    ignore: Ignore,
    ignore_name: String,
}

impl Context {
    /// The context in `root`; `ignore_name` is what messages call the ignore file.
    pub fn new(root: PathBuf, ignore: Ignore, ignore_name: String) -> Self {
        Self {
            root,
            ignore,
            ignore_name,
        }
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn absolute(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() {
            self.root.clone()
        } else {
            self.root.join(OsStr::from_bytes(path))
        }
    }

    /// The real path below the root, links followed without leaving it; none when something is missing.
    fn resolve(&self, path: &[u8]) -> io::Result<Option<(Vec<u8>, Metadata)>> {
        let mut pending: Vec<Vec<u8>> = components(path);
        let mut at: Vec<u8> = Vec::new();
        let mut metadata = fs::metadata(&self.root)?;
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                at = parent(&at).unwrap_or_default().to_vec();
                metadata = fs::symlink_metadata(self.absolute(&at))?;
                continue;
            }
            let next = join(&at, &name);
            let absolute = self.absolute(&next);
            metadata = match fs::symlink_metadata(&absolute) {
                Ok(metadata) => metadata,
                Err(error) if is_missing(&error) => return Ok(None),
                Err(error) => return Err(named(&absolute, &error)),
            };
            if metadata.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::other(format!(
                        "too many links on the way of `{}`",
                        String::from_utf8_lossy(path)
                    )));
                }
                let target = fs::read_link(&absolute).map_err(|error| named(&absolute, &error))?;
                let target = target.as_os_str().as_bytes();
                if target.starts_with(b"/") {
                    at.clear();
                }
                pending.extend(components(target));
                metadata = fs::symlink_metadata(self.absolute(&at))?;
                continue;
            }
            at = next;
        }
        Ok(Some((at, metadata)))
    }

    /// Whether a file is left out. A directory that may hold something included again is not.
    fn is_out(&self, path: &[u8], is_directory: bool) -> bool {
        if path.is_empty() {
            return false;
        }
        let path = String::from_utf8_lossy(path);
        self.ignore.decide(&path).ignored
            && !(is_directory && self.ignore.may_contain_included(&path))
    }
}

/// Components, last first, so that the next one is popped.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path
        .split(|byte| *byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."));
    parts.rev().map(<[u8]>::to_vec).collect()
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A file of the context; none for a socket, which no image can hold.
fn node(path: Vec<u8>, absolute: PathBuf, metadata: &Metadata) -> io::Result<Option<Node>> {
    let kind = metadata.file_type();
    let number = |device: u64| (libc::major(device), libc::minor(device));
    let kind = if kind.is_dir() {
        NodeKind::Directory
    } else if kind.is_file() {
        let content = Content::File {
            path: absolute,
            stamp: Stamp::of(metadata),
            digest: None,
        };
        NodeKind::File {
            size: metadata.len(),
            content,
        }
    } else if kind.is_symlink() {
        let target = fs::read_link(&absolute).map_err(|error| named(&absolute, &error))?;
        NodeKind::Other(Kind::Symlink(target.into_os_string().as_bytes().to_vec()))
    } else if kind.is_fifo() {
        NodeKind::Other(Kind::Fifo)
    } else if kind.is_char_device() {
        let (major, minor) = number(metadata.rdev());
        NodeKind::Other(Kind::CharDevice { major, minor })
    } else if kind.is_block_device() {
        let (major, minor) = number(metadata.rdev());
        NodeKind::Other(Kind::BlockDevice { major, minor })
    } else {
        return Ok(None);
    };
    let is_link = matches!(kind, NodeKind::Other(Kind::Symlink(_)));
    let has_names = matches!(kind, NodeKind::File { .. }) && metadata.nlink() > 1;
    Ok(Some(Node {
        path,
        kind,
        mode: if is_link {
            0o777
        } else {
            metadata.mode() & 0o7777
        },
        uid: 0,
        gid: 0,
        mtime: Time {
            seconds: metadata.mtime(),
            nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or_default(),
        },
        xattrs: BTreeMap::new(),
        identity: has_names.then(|| (metadata.dev(), metadata.ino())),
    }))
}

impl Tree for Context {
    fn lookup(&self, path: &[u8]) -> io::Result<Option<Node>> {
        let Some((real, metadata)) = self.resolve(path)? else {
            return Ok(None);
        };
        if self.is_out(path, metadata.is_dir()) || self.is_out(&real, metadata.is_dir()) {
            return Ok(None);
        }
        let absolute = self.absolute(&real);
        node(real, absolute, &metadata)
    }

    fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let Some((real, metadata)) = self.resolve(path)? else {
            return Ok(Vec::new());
        };
        if !metadata.is_dir() {
            return Ok(Vec::new());
        }
        let absolute = self.absolute(&real);
        let mut names = Vec::new();
        for entry in fs::read_dir(&absolute).map_err(|error| named(&absolute, &error))? {
            let entry = entry?;
            let name = entry.file_name().as_bytes().to_vec();
            if !self.is_out(&join(&real, &name), entry.file_type()?.is_dir()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn walk(&self, path: &[u8]) -> io::Result<Vec<Node>> {
        let Some((real, _)) = self.resolve(path)? else {
            return Ok(Vec::new());
        };
        let top = self.absolute(&real);
        let mut found = Vec::new();
        // Directories that are left out but may hold something that is not: kept back until that shows.
        let mut waiting: Vec<(usize, Node)> = Vec::new();
        let mut walk = WalkDir::new(&top)
            .min_depth(1)
            .sort_by_file_name()
            .into_iter();
        while let Some(entry) = walk.next() {
            let entry = entry.map_err(|error| {
                let path = error.path().unwrap_or(&top).to_owned();
                error.into_io_error().map_or_else(
                    || io::Error::other("links lead in a circle"),
                    |error| named(&path, &error),
                )
            })?;
            let relative = entry
                .path()
                .strip_prefix(&top)
                .unwrap_or(entry.path())
                .as_os_str()
                .as_bytes()
                .to_vec();
            let in_context = join(&real, &relative);
            let is_directory = entry.file_type().is_dir();
            if self.is_out(&in_context, is_directory) {
                if is_directory {
                    walk.skip_current_dir();
                }
                continue;
            }
            waiting.retain(|(depth, _)| *depth < entry.depth());
            let metadata = entry
                .metadata()
                .map_err(|error| named(entry.path(), &error.into()))?;
            let depth = entry.depth();
            let Some(node) = node(relative, entry.into_path(), &metadata)? else {
                continue;
            };
            if is_directory
                && self
                    .ignore
                    .decide(&String::from_utf8_lossy(&in_context))
                    .ignored
            {
                waiting.push((depth, node));
                continue;
            }
            found.extend(waiting.drain(..).map(|(_, directory)| directory));
            found.push(node);
        }
        Ok(found)
    }

    fn why_missing(&self, path: &str) -> Option<String> {
        let clean = crate::copy::clean_path("/", path);
        let clean = clean.trim_start_matches('/');
        if let Ok(Some((real, _))) = self.resolve(clean.as_bytes()) {
            for path in [
                clean.to_owned(),
                String::from_utf8_lossy(&real).into_owned(),
            ] {
                let decision = self.ignore.decide(&path);
                if let (true, Some((line, pattern))) = (decision.ignored, decision.line) {
                    return Some(format!(
                        "it exists, but line {line} of {} (`{pattern}`) leaves it out",
                        self.ignore_name
                    ));
                }
            }
        }
        let above = parent(clean.as_bytes()).unwrap_or_default();
        let names = self.names(above).ok()?;
        let names: Vec<String> = names
            .iter()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        let wanted = String::from_utf8_lossy(file_name(clean.as_bytes())).into_owned();
        if let Some(nearest) = suggest(&wanted, names.iter().map(String::as_str)) {
            let full = join(above, nearest.as_bytes());
            return Some(format!(
                "did you mean `{}`?",
                String::from_utf8_lossy(&full)
            ));
        }
        Some(format!(
            "paths are relative to the build context, {}",
            self.root.display()
        ))
    }
}
