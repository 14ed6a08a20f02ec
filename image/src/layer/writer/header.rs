//! The header blocks of one entry: ustar, with PAX records before it where ustar has no room.

use super::super::entry::{self, Entry, Kind, Time};
use super::{BLOCK, WriteError, lossy};

/// The greatest numbers that fit into octal fields of 8 and of 12 bytes, each with its end mark.
const MAX_8: u64 = 0o777_7777;
const MAX_12: u64 = 0o777_7777_7777;

/// All blocks that stand before the content of `entry`.
pub(super) fn blocks(entry: &Entry) -> Result<Vec<u8>, WriteError> {
    let name = tar_name(entry);
    let mut records = Vec::new();
    let mut main = Header::new();

    if !main.put_name(&name) {
        records.push(record(b"path", &name));
        main.put_cut(0, &name);
    }
    let link: &[u8] = match &entry.kind {
        Kind::Symlink(target) | Kind::Hardlink(target) => target,
        _ => b"",
    };
    if link.contains(&0) || link.len() > entry::MAX_PATH {
        return Err(unrepresentable(entry, "the link target"));
    }
    main.put_cut(157, link);
    if link.len() > 100 {
        records.push(record(b"linkpath", link));
    }
    let size = match entry.kind {
        Kind::File { size } => size,
        _ => 0,
    };
    main.put_octal(100, 8, u64::from(entry.mode & 0o7777));
    for (at, key, number) in [
        (108, &b"uid"[..], u64::from(entry.uid)),
        (116, b"gid", u64::from(entry.gid)),
    ] {
        main.put_octal(at, 8, if number > MAX_8 { 0 } else { number });
        if number > MAX_8 {
            records.push(record(key, number.to_string().as_bytes()));
        }
    }
    main.put_octal(124, 12, if size > MAX_12 { 0 } else { size });
    if size > MAX_12 {
        records.push(record(b"size", size.to_string().as_bytes()));
    }
    put_time(&mut main, &mut records, entry)?;
    put_devices(&mut main, entry)?;
    main.0[156] = type_flag(&entry.kind);
    put_xattrs(&mut records, entry)?;

    let mut blocks = Vec::with_capacity(BLOCK);
    if !records.is_empty() {
        // Sorted by their keys, so that equal entries have equal bytes.
        records.sort_by(|left, right| left.0.cmp(&right.0));
        let body: Vec<u8> = records.into_iter().flat_map(|(_, line)| line).collect();
        let mut pax = Header::new();
        pax.put_cut(0, b"././@PaxHeader");
        pax.put_octal(100, 8, 0o644);
        for at in [108, 116, 329, 337] {
            pax.put_octal(at, 8, 0);
        }
        pax.put_octal(124, 12, body.len() as u64);
        pax.put_octal(136, 12, 0);
        pax.0[156] = b'x';
        blocks.extend_from_slice(&pax.finish());
        blocks.extend_from_slice(&body);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    }
    blocks.extend_from_slice(&main.finish());
    Ok(blocks)
}

/// The name in the tar: directories end with `/`, whiteouts have their prefix, the root is `./`.
fn tar_name(entry: &Entry) -> Vec<u8> {
    let path = &entry.path;
    match entry.kind {
        Kind::Directory if path.is_empty() => b"./".to_vec(),
        Kind::Directory => [path, &b"/"[..]].concat(),
        Kind::Opaque => entry::join(path, entry::OPAQUE_NAME),
        Kind::Whiteout => {
            let name = [entry::WHITEOUT_PREFIX, entry::file_name(path)].concat();
            entry::join(entry::parent(path).unwrap_or_default(), &name)
        }
        _ => path.clone(),
    }
}

const fn type_flag(kind: &Kind) -> u8 {
    match kind {
        // Whiteouts are empty files.
        Kind::File { .. } | Kind::Whiteout | Kind::Opaque => b'0',
        Kind::Hardlink(_) => b'1',
        Kind::Symlink(_) => b'2',
        Kind::CharDevice { .. } => b'3',
        Kind::BlockDevice { .. } => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

fn put_time(
    main: &mut Header,
    records: &mut Vec<(Vec<u8>, Vec<u8>)>,
    entry: &Entry,
) -> Result<(), WriteError> {
    let Time {
        seconds,
        nanoseconds,
    } = entry.mtime;
    if nanoseconds >= 1_000_000_000 {
        return Err(unrepresentable(entry, "the modification time"));
    }
    let whole = u64::try_from(seconds).ok().filter(|whole| *whole <= MAX_12);
    main.put_octal(136, 12, whole.unwrap_or(0));
    if whole.is_none() || nanoseconds != 0 {
        records.push(record(b"mtime", pax_time(entry.mtime).as_bytes()));
    }
    Ok(())
}

/// A decimal number of seconds. Before 1970 the fraction counts away from zero, as in any decimal number.
fn pax_time(time: Time) -> String {
    let (sign, seconds, nanoseconds) = match (time.seconds, time.nanoseconds) {
        (seconds, 0) => return seconds.to_string(),
        (seconds @ 0.., nanoseconds) => ("", seconds.unsigned_abs(), nanoseconds),
        (seconds, nanoseconds) => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds),
    };
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').to_owned()
}

fn put_devices(main: &mut Header, entry: &Entry) -> Result<(), WriteError> {
    let (major, minor) = match entry.kind {
        // It would be read as a whiteout.
        Kind::CharDevice { major: 0, minor: 0 } => {
            return Err(unrepresentable(entry, "the device number"));
        }
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => (major, minor),
        _ => (0, 0),
    };
    for (at, number) in [(329, major), (337, minor)] {
        let number = u64::from(number);
        if number > MAX_8 {
            return Err(unrepresentable(entry, "the device number"));
        }
        main.put_octal(at, 8, number);
    }
    Ok(())
}

fn put_xattrs(records: &mut Vec<(Vec<u8>, Vec<u8>)>, entry: &Entry) -> Result<(), WriteError> {
    for (name, value) in &entry.xattrs {
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
            return Err(unrepresentable(entry, "the name of an extended attribute"));
        }
        records.push(record(&[b"SCHILY.xattr.", name.as_slice()].concat(), value));
    }
    Ok(())
}

fn unrepresentable(entry: &Entry, what: &'static str) -> WriteError {
    WriteError::Unrepresentable {
        path: lossy(&entry.path),
        what,
    }
}

/// A PAX record with its key: `length key=value\n`, where the length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    let line = [format!("{length} ").as_bytes(), key, b"=", value, b"\n"].concat();
    (key.to_vec(), line)
}

struct Header([u8; BLOCK]);

impl Header {
    fn new() -> Self {
        let mut block = [0; BLOCK];
        block[257..265].copy_from_slice(b"ustar\x0000");
        Self(block)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// The first 100 bytes at most.
    fn put_cut(&mut self, at: usize, text: &[u8]) {
        self.put(at, &text[..text.len().min(100)]);
    }

    /// Puts a name into the name field, or into prefix and name; says whether it has fitted.
    fn put_name(&mut self, name: &[u8]) -> bool {
        if name.len() <= 100 {
            self.put(0, name);
            return true;
        }
        // The first slash that leaves at most 100 bytes behind it; what is behind must not be empty.
        let earliest = name.len() - 101;
        let slash = name[earliest..name.len() - 1]
            .iter()
            .position(|byte| *byte == b'/')
            .map(|at| earliest + at);
        match slash {
            Some(slash) if (1..=155).contains(&slash) => {
                self.put(345, &name[..slash]);
                self.put(0, &name[slash + 1..]);
                true
            }
            _ => false,
        }
    }

    /// Octal digits that fill the field but its last byte, which is NUL.
    fn put_octal(&mut self, at: usize, width: usize, mut number: u64) {
        for place in (at..at + width - 1).rev() {
            self.0[place] = b'0' + (number & 7) as u8;
            number >>= 3;
        }
    }

    fn finish(mut self) -> [u8; BLOCK] {
        self.put(148, b"        ");
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        self.put_octal(148, 7, sum);
        self.0[155] = b' ';
        self.0
    }
}
