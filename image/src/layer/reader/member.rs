//! One member of a tar with all headers that belong to it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;

use tar::{EntryType, Header};

use super::super::entry::{self, Kind, Time};
use super::input::{BLOCK, Input};
use super::{LayerError, pax};

/// The most bytes of one long name or extended header. Go's reader, hence every engine, stops there too.
const MAX_EXTENSION: u64 = 1 << 20;

pub(super) struct Member {
    /// Normal; of a whiteout, the path that it hides; of an opaque mark, the directory.
    pub(super) path: Vec<u8>,
    pub(super) what: What,
}

pub(super) enum What {
    /// Its content follows in the input.
    File {
        size: u64,
        attributes: Attributes,
    },
    Other {
        kind: Kind,
        attributes: Attributes,
    },
    Hardlink {
        target: Vec<u8>,
    },
    Whiteout,
    Opaque,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What headers before the main one say about it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Time>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    sparse: bool,
}

/// Reads up to the content of the next member; none at the end of the archive.
pub(super) fn next<R: Read>(input: &mut Input<R>) -> Result<Option<Member>, LayerError> {
    let mut extension = Extension::default();
    loop {
        let offset = input.position();
        let bad = |what| LayerError::Header { offset, what };
        let Some(block) = input.block()? else {
            return Ok(None);
        };
        if block.iter().all(|byte| *byte == 0) {
            let next = input.block()?;
            if next.is_some_and(|block| block.iter().any(|byte| *byte != 0)) {
                return Err(bad("a lone block of zeros"));
            }
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block);
        check_sum(&block, header).ok_or_else(|| bad("the checksum"))?;
        let size = header.entry_size().map_err(|_| bad("the size"))?;
        match header.entry_type() {
            EntryType::GNULongName => {
                extension.path = Some(long_text(input, size, offset)?);
            }
            EntryType::GNULongLink => {
                extension.link = Some(long_text(input, size, offset)?);
            }
            EntryType::XHeader => {
                let body = extension_body(input, size, offset)?;
                extension
                    .take(&body)
                    .ok_or_else(|| bad("the extended header"))?;
            }
            // Engines pass over global headers: `git archive` puts its commit there.
            EntryType::XGlobalHeader => {
                extension_body(input, size, offset)?;
            }
            flag => {
                // Go's reader, hence every engine, knows no content of other types, whatever their size says.
                let content = match flag {
                    EntryType::Regular | EntryType::Continuous => extension.size.unwrap_or(size),
                    _ => 0,
                };
                let found = member(header, extension, offset)?;
                if !matches!(
                    found,
                    Some(Member {
                        what: What::File { .. },
                        ..
                    })
                ) {
                    input.read(content, |_| {})?;
                    input.skip_padding(content)?;
                }
                if found.is_some() {
                    return Ok(found);
                }
                extension = Extension::default();
            }
        }
    }
}

fn extension_body<R: Read>(
    input: &mut Input<R>,
    size: u64,
    offset: u64,
) -> Result<Vec<u8>, LayerError> {
    if size > MAX_EXTENSION {
        let what = "an extension of more than 1 MiB";
        return Err(LayerError::Header { offset, what });
    }
    let mut body = Vec::new();
    input.read(size, |bytes| body.extend_from_slice(bytes))?;
    input.skip_padding(size)?;
    Ok(body)
}

fn long_text<R: Read>(input: &mut Input<R>, size: u64, offset: u64) -> Result<Vec<u8>, LayerError> {
    let mut text = extension_body(input, size, offset)?;
    if let Some(end) = text.iter().position(|byte| *byte == 0) {
        text.truncate(end);
    }
    Ok(text)
}

/// The sum of all bytes, those of the sum itself as blanks. Old writers counted signed bytes.
fn check_sum(block: &[u8; BLOCK], header: &Header) -> Option<()> {
    let want = i64::from(header.cksum().ok()?);
    let bytes = || {
        let blank = |(at, byte): (usize, &u8)| match at {
            148..156 => b' ',
            _ => *byte,
        };
        block.iter().enumerate().map(blank)
    };
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    (want == unsigned || want == signed).then_some(())
}

impl Extension {
    /// Takes the records of a PAX header; none when it is malformed.
    fn take(&mut self, body: &[u8]) -> Option<()> {
        for record in pax::records(body) {
            let (key, value) = record.ok()?;
            // An empty value takes the record back.
            let text = (!value.is_empty()).then(|| value.to_vec());
            match key {
                b"path" => self.path = text,
                b"linkpath" => self.link = text,
                b"size" => self.size = Some(pax::number(value)?),
                b"uid" => self.uid = Some(pax::number(value)?),
                b"gid" => self.gid = Some(pax::number(value)?),
                b"mtime" => self.mtime = Some(pax::time(value)?),
                _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        self.xattrs.insert(name.to_vec(), value.to_vec());
                    }
                }
            }
        }
        Some(())
    }
}

/// The member of a main header; none for AUFS's bookkeeping.
fn member(
    header: &Header,
    extension: Extension,
    offset: u64,
) -> Result<Option<Member>, LayerError> {
    let bad = |what| LayerError::Header { offset, what };
    let raw: Cow<'_, [u8]> = match extension.path {
        Some(path) => path.into(),
        None => header.path_bytes(),
    };
    let flag = header.entry_type();
    if extension.sparse || flag == EntryType::GNUSparse {
        return Err(LayerError::Sparse(lossy(&raw)));
    }
    let path = inside(&raw)?;
    let link = || match extension.link.clone() {
        Some(link) => link,
        None => header.link_name_bytes().unwrap_or_default().into_owned(),
    };
    match marker(&path)? {
        Marker::None => {}
        Marker::Skip => return Ok(None),
        Marker::Whiteout(path) => return Ok(Some(mark(path, What::Whiteout))),
        Marker::Opaque(path) => return Ok(Some(mark(path, What::Opaque))),
    }
    if flag == EntryType::Link {
        let target = inside(&link())?;
        return Ok(Some(mark(path, What::Hardlink { target })));
    }
    let size = match extension.size {
        Some(size) => size,
        None => header.entry_size().map_err(|_| bad("the size"))?,
    };
    let id = |value: Option<u64>, field: std::io::Result<u64>, what| {
        let number = value.or_else(|| field.ok());
        number
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| bad(what))
    };
    let attributes = Attributes {
        mode: header.mode().map_err(|_| bad("the mode"))? & 0o7777,
        uid: id(extension.uid, header.uid(), "the owner")?,
        gid: id(extension.gid, header.gid(), "the group")?,
        mtime: match extension.mtime {
            Some(time) => time,
            None => header_time(header).ok_or_else(|| bad("the time"))?,
        },
        xattrs: extension.xattrs,
    };
    let device = || {
        let number = |field: std::io::Result<Option<u32>>| {
            field.ok().flatten().ok_or_else(|| bad("the device number"))
        };
        Ok::<_, LayerError>((
            number(header.device_major())?,
            number(header.device_minor())?,
        ))
    };
    let kind = match flag {
        // The oldest tars had no type for directories.
        EntryType::Regular if raw.ends_with(b"/") && size == 0 => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => {
            return Ok(Some(mark(path, What::File { size, attributes })));
        }
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => {
            let target = link();
            if target.is_empty() || target.len() > entry::MAX_PATH || target.contains(&0) {
                return Err(bad("the link target"));
            }
            Kind::Symlink(target)
        }
        EntryType::Char => {
            let (major, minor) = device()?;
            // What overlayfs keeps as a whiteout is one for us too.
            if (major, minor) == (0, 0) {
                return Ok(Some(mark(path, What::Whiteout)));
            }
            Kind::CharDevice { major, minor }
        }
        EntryType::Block => {
            let (major, minor) = device()?;
            Kind::BlockDevice { major, minor }
        }
        EntryType::Fifo => Kind::Fifo,
        other => {
            return Err(LayerError::Type {
                path: lossy(&raw),
                flag: char::from(other.as_byte()),
            });
        }
    };
    Ok(Some(mark(path, What::Other { kind, attributes })))
}

const fn mark(path: Vec<u8>, what: What) -> Member {
    Member { path, what }
}

enum Marker {
    None,
    Skip,
    Whiteout(Vec<u8>),
    Opaque(Vec<u8>),
}

/// What the names in a path mean by beginning with `.wh.`.
fn marker(path: &[u8]) -> Result<Marker, LayerError> {
    let refuse = || LayerError::Whiteout(lossy(path));
    let name = entry::file_name(path);
    let directory = entry::parent(path).unwrap_or_default();
    let mut parents = directory.split(|byte| *byte == b'/');
    if parents
        .clone()
        .any(|name| name.starts_with(entry::WHITEOUT_META_PREFIX))
    {
        return Ok(Marker::Skip);
    }
    if parents.any(|name| name.starts_with(entry::WHITEOUT_PREFIX)) {
        return Err(refuse());
    }
    if name == entry::OPAQUE_NAME {
        return Ok(Marker::Opaque(directory.to_vec()));
    }
    if name.starts_with(entry::WHITEOUT_META_PREFIX) {
        return Ok(Marker::Skip);
    }
    match name.strip_prefix(entry::WHITEOUT_PREFIX) {
        Some(b"" | b"." | b"..") => Err(refuse()),
        Some(hidden) => Ok(Marker::Whiteout(entry::join(directory, hidden))),
        None => Ok(Marker::None),
    }
}

/// A path of the tar in normal form. As in engines, a leading `/` means nothing, and leaving the root is refused.
fn inside(raw: &[u8]) -> Result<Vec<u8>, LayerError> {
    let mut depth = 0_usize;
    for name in raw.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| LayerError::Path(lossy(raw)))?;
            }
            _ => depth += 1,
        }
    }
    entry::normalise_path(raw).ok_or_else(|| LayerError::Path(lossy(raw)))
}

/// The time of a header, which may be negative in GNU's binary form.
fn header_time(header: &Header) -> Option<Time> {
    let field = &header.as_old().mtime;
    if field[0] & 0x80 == 0 {
        let seconds = header.mtime().ok()?;
        return i64::try_from(seconds).ok().map(Time::from_seconds);
    }
    // Two's complement of 95 bits; what does not fit 64 bits is no time.
    let sign = if field[0] & 0x40 == 0 { 0 } else { -1_i128 };
    let seconds = field[1..]
        .iter()
        .fold(sign << 6 | i128::from(field[0] & 0x3f), |sum, byte| {
            sum << 8 | i128::from(*byte)
        });
    i64::try_from(seconds).ok().map(Time::from_seconds)
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(300).collect()
}
