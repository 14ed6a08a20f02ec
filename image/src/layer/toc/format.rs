//! The bytes of a table of contents. All numbers are little-endian.
//!
//! ```text
//! header   magic and version (8), number of records u32, length of the heap u32, content id (32)
//! records  88 bytes each, in the order of the layer
//! heap     paths, link targets and extended attributes, at the offsets that records give
//! ```
//!
//! A record: path offset u32, path length u16, kind u8, zero u8, mode u16, zero u16, uid u32, gid u32,
//! nanoseconds u32, seconds i64, size or device u64, data offset u64, extra offset u32, extra length u32,
//! content digest (32).
//! Extra, where its length is not 0: link length u32, link, then for each attribute name length u16, value
//! length u32, name, value.

use super::super::entry::{self, Entry, Kind, Time};
use super::{FileContent, TocError};
use crate::Digest;

pub(super) const MAGIC: &[u8; 8] = b"RBTOC\0\0\x01";
pub(super) const HEADER: usize = 48;
pub(super) const RECORD: usize = 88;

mod at {
    pub(super) const PATH: usize = 0;
    pub(super) const PATH_LENGTH: usize = 4;
    pub(super) const KIND: usize = 6;
    pub(super) const MODE: usize = 8;
    pub(super) const UID: usize = 12;
    pub(super) const GID: usize = 16;
    pub(super) const NANOSECONDS: usize = 20;
    pub(super) const SECONDS: usize = 24;
    pub(super) const SIZE: usize = 32;
    pub(super) const DATA: usize = 40;
    pub(super) const EXTRA: usize = 48;
    pub(super) const EXTRA_LENGTH: usize = 52;
    pub(super) const DIGEST: usize = 56;
}

/// One record, of which every access is safe whatever its bytes are: what lies outside is empty.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) bytes: &'a [u8; RECORD],
    pub(super) heap: &'a [u8],
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .copied()
        .unwrap_or([0; N])
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn read_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

/// The part of `bytes` that starts at `start` and is `length` long; none when it does not fit.
fn part(bytes: &[u8], start: usize, length: usize) -> Option<&[u8]> {
    bytes.get(start..)?.get(..length)
}

/// Numbers of the format are 32 bits at most; on the machines that this runs on they fit.
pub(super) const fn wide(number: u32) -> usize {
    number as usize
}

impl<'a> Record<'a> {
    fn heap_part(&self, start: usize, length: usize) -> Option<&'a [u8]> {
        part(self.heap, start, length)
    }

    fn checked_path(&self) -> Option<&'a [u8]> {
        let start = wide(read_u32(self.bytes, at::PATH));
        self.heap_part(start, read_u16(self.bytes, at::PATH_LENGTH).into())
    }

    pub(super) fn path(&self) -> &'a [u8] {
        self.checked_path().unwrap_or_default()
    }

    fn checked_extra(&self) -> Option<&'a [u8]> {
        let start = wide(read_u32(self.bytes, at::EXTRA));
        self.heap_part(start, wide(read_u32(self.bytes, at::EXTRA_LENGTH)))
    }

    fn extra(&self) -> &'a [u8] {
        self.checked_extra().unwrap_or_default()
    }

    fn link(&self) -> &'a [u8] {
        let extra = self.extra();
        part(extra, 4, wide(read_u32(extra, 0))).unwrap_or_default()
    }

    pub(super) fn xattrs(&self) -> Xattrs<'a> {
        let extra = self.extra();
        let rest = 4_usize.saturating_add(wide(read_u32(extra, 0)));
        Xattrs {
            rest: extra.get(rest..).unwrap_or_default(),
        }
    }

    pub(super) fn is_opaque(&self) -> bool {
        self.bytes[at::KIND] == b'o'
    }

    /// The kind; a whiteout where the byte means nothing, which [`validate`] excludes.
    pub(super) fn kind(&self) -> Kind<&'a [u8]> {
        let number = read_u64(self.bytes, at::SIZE);
        let (major, minor) = ((number >> 32) as u32, (number & 0xffff_ffff) as u32);
        match self.bytes[at::KIND] {
            b'd' => Kind::Directory,
            b'f' => Kind::File { size: number },
            b'l' => Kind::Symlink(self.link()),
            b'h' => Kind::Hardlink(self.link()),
            b'c' => Kind::CharDevice { major, minor },
            b'b' => Kind::BlockDevice { major, minor },
            b'p' => Kind::Fifo,
            b'o' => Kind::Opaque,
            _ => Kind::Whiteout,
        }
    }

    pub(super) fn mode(&self) -> u32 {
        read_u16(self.bytes, at::MODE).into()
    }

    pub(super) fn uid(&self) -> u32 {
        read_u32(self.bytes, at::UID)
    }

    pub(super) fn gid(&self) -> u32 {
        read_u32(self.bytes, at::GID)
    }

    pub(super) fn mtime(&self) -> Time {
        Time {
            seconds: i64::from_le_bytes(array(self.bytes, at::SECONDS)),
            nanoseconds: read_u32(self.bytes, at::NANOSECONDS),
        }
    }

    pub(super) fn content(&self) -> Option<FileContent> {
        let Kind::File { size } = self.kind() else {
            return None;
        };
        Some(FileContent {
            digest: Digest::Sha256(array(self.bytes, at::DIGEST)),
            size,
            offset: read_u64(self.bytes, at::DATA),
        })
    }

    /// Whether all that the record points at is there and well formed.
    fn check(&self) -> Result<(), TocError> {
        let refuse = |what| Err(TocError::Malformed { what });
        if !self.checked_path().is_some_and(entry::is_normal) {
            return refuse("a path");
        }
        let kind = self.bytes[at::KIND];
        if !b"dflhcbpow".contains(&kind) {
            return refuse("a kind");
        }
        if self.mode() > 0o7777 {
            return refuse("a mode");
        }
        if self.mtime().nanoseconds >= 1_000_000_000 {
            return refuse("a time");
        }
        let Some(extra) = self.checked_extra() else {
            return refuse("an extra part");
        };
        let has_link = matches!(kind, b'l' | b'h');
        if extra.is_empty() {
            return if has_link { refuse("a link") } else { Ok(()) };
        }
        let link_length = wide(read_u32(extra, 0));
        let Some(link) = extra.len().checked_sub(4).and(part(extra, 4, link_length)) else {
            return refuse("a link");
        };
        if (kind == b'h' && (link.is_empty() || !entry::is_normal(link)))
            || (!has_link && !link.is_empty())
            || link.contains(&0)
            || link.len() > entry::MAX_PATH
        {
            return refuse("a link");
        }
        let mut xattrs = self.xattrs();
        while xattrs.next().is_some() {}
        if xattrs.rest.is_empty() {
            Ok(())
        } else {
            refuse("an extended attribute")
        }
    }
}

/// The extended attributes of an entry, by name.
#[derive(Debug, Clone)]
pub struct Xattrs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Xattrs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name_length, rest) = self.rest.split_first_chunk()?;
        let (value_length, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*name_length).into())?;
        let (value, rest) = rest.split_at_checked(wide(u32::from_le_bytes(*value_length)))?;
        self.rest = rest;
        Some((name, value))
    }
}

/// Checks everything that reading relies on: lengths, order, and that only directories hold something.
pub(super) fn validate(bytes: &[u8]) -> Result<u32, TocError> {
    if bytes.len() < HEADER {
        return Err(TocError::Malformed { what: "the header" });
    }
    if bytes.first_chunk() != Some(MAGIC) {
        return Err(TocError::Version);
    }
    let count = read_u32(bytes, 8);
    let heap = read_u32(bytes, 12);
    let want = wide(count)
        .checked_mul(RECORD)
        .and_then(|records| records.checked_add(HEADER)?.checked_add(wide(heap)));
    if want != Some(bytes.len()) {
        return Err(TocError::Malformed { what: "the length" });
    }
    let (records, heap) = bytes[HEADER..].split_at(wide(count) * RECORD);
    let mut order = super::build::Order::default();
    let (records, _) = records.as_chunks::<RECORD>();
    for bytes in records {
        let record = Record { bytes, heap };
        record.check()?;
        order.next(record.path(), &record.kind())?;
    }
    Ok(count)
}

/// Appends one record, and what it points at, to `records` and `heap`.
pub(super) fn push(
    records: &mut Vec<u8>,
    heap: &mut Vec<u8>,
    entry: &Entry,
    content: Option<&FileContent>,
) -> Result<(), TocError> {
    let start = records.len();
    let path = heap_offset(heap)?;
    heap.extend_from_slice(&entry.path);
    let extra = heap_offset(heap)?;
    push_extra(heap, entry)?;
    let extra_length = heap_offset(heap)? - extra;

    let mut record = [0_u8; RECORD];
    let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
    put(at::PATH, &path.to_le_bytes());
    put(at::PATH_LENGTH, &length16(&entry.path)?.to_le_bytes());
    put(at::MODE, &(entry.mode & 0o7777).to_le_bytes()[..2]);
    put(at::UID, &entry.uid.to_le_bytes());
    put(at::GID, &entry.gid.to_le_bytes());
    put(at::NANOSECONDS, &entry.mtime.nanoseconds.to_le_bytes());
    put(at::SECONDS, &entry.mtime.seconds.to_le_bytes());
    put(at::EXTRA, &extra.to_le_bytes());
    put(at::EXTRA_LENGTH, &extra_length.to_le_bytes());
    let device = |major: u32, minor: u32| u64::from(major) << 32 | u64::from(minor);
    let (kind, number) = match entry.kind {
        Kind::Directory => (b'd', 0),
        Kind::File { size } => (b'f', size),
        Kind::Symlink(_) => (b'l', 0),
        Kind::Hardlink(_) => (b'h', 0),
        Kind::CharDevice { major, minor } => (b'c', device(major, minor)),
        Kind::BlockDevice { major, minor } => (b'b', device(major, minor)),
        Kind::Fifo => (b'p', 0),
        Kind::Whiteout => (b'w', 0),
        Kind::Opaque => (b'o', 0),
    };
    put(at::KIND, &[kind]);
    put(at::SIZE, &number.to_le_bytes());
    if let Some(content) = content {
        put(at::DATA, &content.offset.to_le_bytes());
        put(at::DIGEST, content.digest.as_bytes());
    }
    records.extend_from_slice(&record);
    debug_assert_eq!(records.len(), start + RECORD);
    Ok(())
}

fn push_extra(heap: &mut Vec<u8>, entry: &Entry) -> Result<(), TocError> {
    let link: &[u8] = match &entry.kind {
        Kind::Symlink(target) | Kind::Hardlink(target) => target,
        _ if entry.xattrs.is_empty() => return Ok(()),
        _ => &[],
    };
    heap.extend_from_slice(&length32(link)?.to_le_bytes());
    heap.extend_from_slice(link);
    for (name, value) in &entry.xattrs {
        heap.extend_from_slice(&length16(name)?.to_le_bytes());
        heap.extend_from_slice(&length32(value)?.to_le_bytes());
        heap.extend_from_slice(name);
        heap.extend_from_slice(value);
    }
    Ok(())
}

fn heap_offset(heap: &[u8]) -> Result<u32, TocError> {
    length32(heap)
}

fn length32(bytes: &[u8]) -> Result<u32, TocError> {
    u32::try_from(bytes.len()).map_err(|_| TocError::TooLarge)
}

fn length16(bytes: &[u8]) -> Result<u16, TocError> {
    u16::try_from(bytes.len()).map_err(|_| TocError::TooLarge)
}
