//! The entries of a tar as they come, brought into canonical form.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::super::entry::{self, Entry, Kind};
use super::super::toc::{MAX_ENTRIES, TocBuilder};
use super::super::{FileContent, Toc, TocError};
use super::LayerError;
use super::member::Attributes;

/// Links that may stand in the way of one path, as in engines.
const MAX_LINKS: usize = 255;
/// Bytes of paths, targets and attributes that one layer may hold.
const MAX_TEXT: usize = 1 << 30;

/// A path with `/` as NUL: plain comparison of such keys is the canonical order.
type Key = Vec<u8>;

#[derive(Debug, Default)]
pub(super) struct Changes {
    slots: BTreeMap<Key, Slot>,
    files: Vec<Inode>,
    text: usize,
    /// A directory that is known to have no link in its way.
    plain_directory: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Position of what is here, if anything is.
    file: Option<usize>,
    whiteout: bool,
    opaque: bool,
}

/// What one or more paths name.
#[derive(Debug)]
struct Inode {
    kind: Kind,
    attributes: Attributes,
    content: Option<FileContent>,
}

fn key(path: &[u8]) -> Key {
    let zero = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    path.iter().map(zero).collect()
}

fn path_of(key: &[u8]) -> Vec<u8> {
    let slash = |byte: &u8| if *byte == 0 { b'/' } else { *byte };
    key.iter().map(slash).collect()
}

/// The keys of all that is below a path.
fn below(path: &[u8]) -> (Bound<Key>, Bound<Key>) {
    if path.is_empty() {
        return (Bound::Excluded(Vec::new()), Bound::Unbounded);
    }
    let with = |last: u8| {
        let mut key = key(path);
        key.push(last);
        key
    };
    (Bound::Excluded(with(0)), Bound::Excluded(with(1)))
}

impl Changes {
    pub(super) fn file(
        &mut self,
        path: &[u8],
        attributes: Attributes,
        content: FileContent,
    ) -> Result<(), LayerError> {
        let kind = Kind::File { size: content.size };
        self.put(path, kind, attributes, Some(content))
    }

    pub(super) fn other(
        &mut self,
        path: &[u8],
        kind: Kind,
        attributes: Attributes,
    ) -> Result<(), LayerError> {
        self.put(path, kind, attributes, None)
    }

    pub(super) fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), LayerError> {
        let refuse = || LayerError::Link {
            path: lossy(path),
            target: lossy(target),
        };
        let path = self.follow(path)?;
        let target = self.follow(target)?;
        if path == target || target.is_empty() {
            return Err(refuse());
        }
        match self.slots.get(&key(&target)).and_then(|slot| slot.file) {
            Some(file) if matches!(self.files[file].kind, Kind::Directory) => Err(refuse()),
            Some(file) => self.place(&path, file),
            // It is the file of a lower layer.
            None => {
                let file = self.make(Kind::Hardlink(target), Attributes::default(), None)?;
                self.place(&path, file)
            }
        }
    }

    pub(super) fn whiteout(&mut self, path: &[u8]) -> Result<(), LayerError> {
        let path = self.follow(path)?;
        self.slot(&path)?.whiteout = true;
        Ok(())
    }

    pub(super) fn opaque(&mut self, path: &[u8]) -> Result<(), LayerError> {
        // The mark lies inside the directory, so a link there is in its way.
        let inner = self.follow(&entry::join(path, b"mark"))?;
        let path = entry::parent(&inner).unwrap_or_default();
        self.slot(path)?.opaque = true;
        Ok(())
    }

    fn put(
        &mut self,
        path: &[u8],
        kind: Kind,
        attributes: Attributes,
        content: Option<FileContent>,
    ) -> Result<(), LayerError> {
        let path = self.follow(path)?;
        let file = self.make(kind, attributes, content)?;
        self.place(&path, file)
    }

    fn make(
        &mut self,
        kind: Kind,
        attributes: Attributes,
        content: Option<FileContent>,
    ) -> Result<usize, LayerError> {
        let target = match &kind {
            Kind::Symlink(target) | Kind::Hardlink(target) => target.len(),
            _ => 0,
        };
        let attributes_text = attributes.xattrs.iter();
        let attributes_text: usize = attributes_text
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.count_text(target + attributes_text)?;
        // Entries that are overwritten stay in the list, so the list has the limit too.
        if self.files.len() >= MAX_ENTRIES {
            return Err(TocError::TooLarge.into());
        }
        self.files.push(Inode {
            kind,
            attributes,
            content,
        });
        Ok(self.files.len() - 1)
    }

    fn count_text(&mut self, length: usize) -> Result<(), LayerError> {
        self.text += length;
        if self.text > MAX_TEXT {
            return Err(TocError::TooLarge.into());
        }
        Ok(())
    }

    /// Gives the path its new content. Only a directory over a directory keeps what is below.
    fn place(&mut self, path: &[u8], file: usize) -> Result<(), LayerError> {
        let is_directory = matches!(self.files[file].kind, Kind::Directory);
        if !is_directory {
            if path.is_empty() {
                return Err(TocError::Root.into());
            }
            self.clear_below(path);
        }
        let slot = self.slot(path)?;
        slot.file = Some(file);
        if !is_directory {
            slot.opaque = false;
        }
        Ok(())
    }

    fn clear_below(&mut self, path: &[u8]) {
        let known = self.plain_directory.as_deref();
        if known.is_some_and(|known| entry::is_within(known, path)) {
            self.plain_directory = None;
        }
        while let Some((key, _)) = self.slots.range(below(path)).next() {
            let key = key.clone();
            self.slots.remove(&key);
        }
    }

    fn slot(&mut self, path: &[u8]) -> Result<&mut Slot, LayerError> {
        self.count_text(path.len())?;
        if self.slots.len() >= MAX_ENTRIES {
            return Err(TocError::TooLarge.into());
        }
        Ok(self.slots.entry(key(path)).or_default())
    }

    /// The path with the links in its way followed, those that this layer has. A link at its end stays.
    fn follow(&mut self, path: &[u8]) -> Result<Vec<u8>, LayerError> {
        let parent = entry::parent(path);
        if parent.is_none() || parent == Some(b"") || parent == self.plain_directory.as_deref() {
            return Ok(path.to_vec());
        }
        let mut current = path.to_vec();
        for _ in 0..MAX_LINKS {
            let Some(next) = self.first_link(&current)? else {
                self.plain_directory = entry::parent(&current).map(<[u8]>::to_vec);
                return Ok(current);
            };
            current = next;
        }
        Err(LayerError::TooManyLinks(lossy(path)))
    }

    /// The path with the first link in its way replaced by its target; none when there is no link.
    fn first_link(&self, path: &[u8]) -> Result<Option<Vec<u8>>, LayerError> {
        let key = key(path);
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for (slash, _) in slashes {
            let (ancestor, rest) = (&path[..slash], &path[slash + 1..]);
            let slot = self.slots.get(&key[..slash]);
            let Some(file) = slot.and_then(|slot| slot.file) else {
                continue;
            };
            match &self.files[file].kind {
                Kind::Directory => {}
                Kind::Symlink(target) => {
                    let base = if target.starts_with(b"/") {
                        &b""[..]
                    } else {
                        entry::parent(ancestor).unwrap_or_default()
                    };
                    let joined = [base, b"/", target, b"/", rest].concat();
                    let clean = entry::normalise_path(&joined);
                    return clean.map(Some).ok_or_else(|| LayerError::Path(lossy(path)));
                }
                _ => {
                    return Err(TocError::InsideLeaf {
                        path: lossy(path),
                        leaf: lossy(ancestor),
                    }
                    .into());
                }
            }
        }
        Ok(None)
    }

    /// The table of what all entries have come to.
    pub(super) fn finish(self) -> Result<Toc, LayerError> {
        let mut builder = TocBuilder::new();
        let mut names: Vec<Option<Vec<u8>>> = vec![None; self.files.len()];
        let mut slots = self.slots.iter().peekable();
        while let Some((key, slot)) = slots.next() {
            let path = path_of(key);
            let has_children = slots
                .peek()
                .is_some_and(|(next, _)| entry::is_within(&path_of(next), &path));
            for (entry, content) in self.entries_of(path, slot, has_children, &mut names) {
                builder.check(&entry)?;
                builder.push(&entry, content.as_ref())?;
            }
        }
        Ok(builder.finish()?)
    }

    fn entries_of(
        &self,
        path: Vec<u8>,
        slot: &Slot,
        has_children: bool,
        names: &mut [Option<Vec<u8>>],
    ) -> Vec<(Entry, Option<FileContent>)> {
        let opaque = || (Entry::new(path.clone(), Kind::Opaque), None);
        let Some(position) = slot.file else {
            return match (slot.whiteout, slot.opaque || has_children) {
                // It was removed and made again, by what is below it.
                (true, true) => vec![(Entry::new(path.clone(), Kind::Directory), None), opaque()],
                (true, false) => vec![(Entry::new(path, Kind::Whiteout), None)],
                (false, true) if slot.opaque => vec![opaque()],
                (false, _) => Vec::new(),
            };
        };
        let file = &self.files[position];
        let is_directory = matches!(file.kind, Kind::Directory);
        let (kind, content) = match &names[position] {
            Some(first) if !is_directory && !matches!(file.kind, Kind::Hardlink(_)) => {
                (Kind::Hardlink(first.clone()), None)
            }
            _ => (file.kind.clone(), file.content),
        };
        names[position].get_or_insert_with(|| path.clone());
        let attributes = file.attributes.clone();
        let own = Entry {
            path: path.clone(),
            kind,
            mode: attributes.mode,
            uid: attributes.uid,
            gid: attributes.gid,
            mtime: attributes.mtime,
            xattrs: attributes.xattrs,
        };
        let mut entries = vec![(own, content)];
        if is_directory && (slot.opaque || slot.whiteout) {
            entries.push(opaque());
        }
        entries
    }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(300).collect()
}
