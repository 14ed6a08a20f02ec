//! Writing canonical layer tars.
//!
//! Equal entries give equal bytes: sorted, numeric owners only, one form for every number, ustar headers with
//! PAX records where ustar has no room. Times keep their nanoseconds (as a PAX `mtime`), as `BuildKit` does.

mod header;

use std::io::{self, Read, Write};

use super::entry::{self, Entry, Kind};
use super::hash::{CHUNK, ChunkHasher};
use super::toc::TocBuilder;
use super::{FileContent, LayerSummary};
use crate::{DiffId, Digest, Hasher};

const BLOCK: usize = 512;
const ZEROS: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Why an entry cannot be written. It comes inside an [`io::Error`] of kind `InvalidInput`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The entry is out of order, or a path that no layer can hold.
    #[error(transparent)]
    Toc(#[from] super::TocError),
    /// Every reader of layers would take the entry for a whiteout.
    #[error("`{0}` cannot be in a layer: names that begin with `.wh.` mean removed files there")]
    ReservedName(String),
    /// A hard link leads to nothing that came before it.
    #[error("hard link `{path}` leads to `{target}`, which is no earlier file of the layer")]
    Link {
        /// The link.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// A file with content was given without it.
    #[error("file `{0}` has content, and none was given")]
    NoContent(String),
    /// Content was given for something that has none.
    #[error("`{0}` is no file, and content was given for it")]
    NotFile(String),
    /// The content is not as long as was said.
    #[error(
        "file `{path}` has {got} bytes, and {want} were announced; it changed while it was read"
    )]
    Size {
        /// The file.
        path: String,
        /// Announced.
        want: u64,
        /// Found; `want + 1` stands for any greater length.
        got: u64,
    },
    /// A number or name has no form in a tar.
    #[error("{what} of `{path}` cannot be written into a tar")]
    Unrepresentable {
        /// The entry.
        path: String,
        /// The part of it.
        what: &'static str,
    },
    /// The digest that is said to be known is of another algorithm.
    #[error("contents are known by their sha256")]
    Algorithm,
    /// An earlier call failed in the middle of an entry.
    #[error("the layer is broken: an earlier entry failed")]
    Broken,
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// Writes a layer's tar, and computes its identities and its table of contents as the bytes go by.
///
/// Entries come in canonical order ([`super::compare_paths`]); anything else is refused.
/// Once a call has failed the tar may be cut in the middle, and all further calls fail.
#[derive(Debug)]
pub struct LayerWriter<W> {
    out: W,
    /// The bytes not yet handed on are the first `filled` ones.
    chunk: Vec<u8>,
    filled: usize,
    hasher: ChunkHasher,
    written: u64,
    toc: TocBuilder,
    file_bytes: u64,
    entries: u64,
    broken: bool,
}

impl<W: Write> LayerWriter<W> {
    /// Writes to `out`, in large pieces. A long layer is hashed on a second thread.
    pub fn new(out: W) -> Self {
        Self::with_hasher(out, ChunkHasher::new())
    }

    /// As [`Self::new`], but never starts a thread.
    pub fn single_threaded(out: W) -> Self {
        Self::with_hasher(out, ChunkHasher::inline())
    }

    fn with_hasher(out: W, hasher: ChunkHasher) -> Self {
        Self {
            out,
            chunk: vec![0; CHUNK],
            filled: 0,
            hasher,
            written: 0,
            toc: TocBuilder::new(),
            file_bytes: 0,
            entries: 0,
            broken: false,
        }
    }

    /// Writes an entry without content: anything but a file that is not empty.
    ///
    /// A hard link leads to an earlier entry, and takes mode, owner, time and attributes from it.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.whole(|writer| match &entry.kind {
            Kind::File { size: 0 } => {
                let content = &mut io::empty();
                writer.whole_file(entry, content, None).map(|_digest| ())
            }
            Kind::File { .. } => Err(WriteError::NoContent(lossy(&entry.path)).into()),
            Kind::Hardlink(target) => {
                let link = writer.link(entry, target)?;
                writer.plain(&link)
            }
            _ => writer.plain(entry),
        })
    }

    /// Writes a file with its content, which must be as long as the entry says. Returns its SHA-256.
    ///
    /// `known_digest` is the SHA-256 of the content where it is known already; it is believed.
    pub fn file(
        &mut self,
        entry: &Entry,
        content: &mut dyn Read,
        known_digest: Option<Digest>,
    ) -> io::Result<Digest> {
        self.whole(|writer| writer.whole_file(entry, content, known_digest))
    }

    /// Ends the tar; returns where it went, and what it is.
    pub fn finish(mut self) -> io::Result<(W, LayerSummary)> {
        if self.broken {
            return Err(WriteError::Broken.into());
        }
        self.put(&ZEROS)?;
        self.out.write_all(&self.chunk[..self.filled])?;
        let diff_id = DiffId(self.hasher.finish(&self.chunk[..self.filled]));
        let toc = self.toc.finish().map_err(WriteError::Toc)?;
        let summary = LayerSummary {
            diff_id,
            content_id: toc.content_id(),
            size: self.written + self.filled as u64,
            toc,
            file_bytes: self.file_bytes,
            entries: self.entries,
        };
        Ok((self.out, summary))
    }

    /// Remembers a failure: half an entry is in the tar then.
    fn whole<T>(&mut self, step: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        if self.broken {
            return Err(WriteError::Broken.into());
        }
        let result = step(self);
        self.broken = result.is_err();
        result
    }

    fn whole_file(
        &mut self,
        entry: &Entry,
        content: &mut dyn Read,
        known_digest: Option<Digest>,
    ) -> io::Result<Digest> {
        let Kind::File { size } = entry.kind else {
            return Err(WriteError::NotFile(lossy(&entry.path)).into());
        };
        if known_digest.is_some_and(|digest| !matches!(digest, Digest::Sha256(_))) {
            return Err(WriteError::Algorithm.into());
        }
        self.check(entry)?;
        self.header(entry)?;
        let offset = self.written + self.filled as u64;
        let digest = self.content(entry, size, content, known_digest)?;
        self.pad(size)?;
        let content = FileContent {
            digest,
            size,
            offset,
        };
        self.take(entry, Some(&content))?;
        self.file_bytes += size;
        Ok(digest)
    }

    fn plain(&mut self, entry: &Entry) -> io::Result<()> {
        self.check(entry)?;
        self.header(entry)?;
        self.take(entry, None)
    }

    fn take(&mut self, entry: &Entry, content: Option<&FileContent>) -> io::Result<()> {
        self.toc.push(entry, content).map_err(WriteError::Toc)?;
        self.entries += 1;
        Ok(())
    }

    fn check(&self, entry: &Entry) -> Result<(), WriteError> {
        self.toc.check(entry)?;
        let reserved = |name: &[u8]| name.starts_with(entry::WHITEOUT_PREFIX);
        if entry.path.split(|byte| *byte == b'/').any(reserved) {
            return Err(WriteError::ReservedName(lossy(&entry.path)));
        }
        Ok(())
    }

    /// The link with the attributes of the file: engines set them once more for every name.
    fn link(&self, entry: &Entry, target: &[u8]) -> Result<Entry, WriteError> {
        let found = self.toc.find(target).filter(|found| {
            !matches!(
                found.kind(),
                Kind::Directory | Kind::Hardlink(_) | Kind::Whiteout | Kind::Opaque
            )
        });
        let Some(found) = found else {
            return Err(WriteError::Link {
                path: lossy(&entry.path),
                target: lossy(target),
            });
        };
        Ok(Entry {
            path: entry.path.clone(),
            kind: entry.kind.clone(),
            ..found.to_entry()
        })
    }

    fn header(&mut self, entry: &Entry) -> io::Result<()> {
        let blocks = header::blocks(entry)?;
        self.put(&blocks)
    }

    fn content(
        &mut self,
        entry: &Entry,
        size: u64,
        content: &mut dyn Read,
        known_digest: Option<Digest>,
    ) -> io::Result<Digest> {
        let wrong = |got| WriteError::Size {
            path: lossy(&entry.path),
            want: size,
            got,
        };
        let mut hasher = known_digest.is_none().then(Hasher::sha256);
        let mut left = size;
        while left > 0 {
            let room = CHUNK - self.filled;
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(room);
            let space = &mut self.chunk[self.filled..self.filled + most];
            let count = read_some(content, space)?;
            if count == 0 {
                return Err(wrong(size - left).into());
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(&space[..count]);
            }
            self.filled += count;
            left -= count as u64;
            self.hand_on()?;
        }
        if read_some(content, &mut [0])? != 0 {
            return Err(wrong(size.saturating_add(1)).into());
        }
        Ok(match (hasher, known_digest) {
            (Some(hasher), _) => hasher.finish(),
            (None, Some(digest)) => digest,
            (None, None) => Digest::sha256(b""),
        })
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let missing = size.next_multiple_of(BLOCK as u64) - size;
        self.put(&ZEROS[..usize::try_from(missing).unwrap_or(0)])
    }

    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = bytes.len().min(CHUNK - self.filled);
            let (now, later) = bytes.split_at(count);
            self.chunk[self.filled..self.filled + count].copy_from_slice(now);
            self.filled += count;
            bytes = later;
            self.hand_on()?;
        }
        Ok(())
    }

    /// Writes and hashes the chunk when it is full.
    fn hand_on(&mut self) -> io::Result<()> {
        if self.filled < CHUNK {
            return Ok(());
        }
        self.out.write_all(&self.chunk)?;
        self.written += CHUNK as u64;
        self.filled = 0;
        let chunk = std::mem::take(&mut self.chunk);
        self.chunk = self.hasher.swap(chunk);
        Ok(())
    }
}

fn read_some(content: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match content.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
