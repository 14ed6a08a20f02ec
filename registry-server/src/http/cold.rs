//! Whether a part of a file is in memory, and reading it where waiting hurts nobody.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;

use rustix::io::{Errno, ReadWriteFlags};

/// Bytes that are read ahead at most.
const WINDOW: usize = 8 << 20;
/// Parts up to this length are looked at in one place only: the kernel reads that much at once.
const SHORT: usize = 128 << 10;

/// Whether reading these bytes would wait for a disk, as far as their ends tell.
pub(super) fn is_cold(file: &File, offset: u64, length: usize) -> bool {
    let last = offset + (length as u64).saturating_sub(1);
    waits(file, last) || length > SHORT && waits(file, offset)
}

fn waits(file: &File, place: u64) -> bool {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let read = rustix::io::preadv2(file, &mut parts, place, ReadWriteFlags::NOWAIT);
    // File systems that do not know the question are read as if everything were in memory.
    read == Err(Errno::AGAIN)
}

/// Reads these bytes, up to a bound, so that they are in memory.
///
/// Asking the kernel to read ahead (`fadvise`) would save the copy, but it fills its cache with single pages,
/// and every later sending of the blob would take more than twice the processor time.
pub(super) fn read(file: &File, offset: u64, length: usize) {
    let mut scratch = vec![0; SHORT];
    let end = offset + length.min(WINDOW) as u64;
    let mut place = offset;
    while place < end {
        match file.read_at(&mut scratch, place) {
            Ok(count) if count > 0 => place += count as u64,
            // An end or an error comes again when the bytes are sent, and is told there.
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::Advice;

    use super::*;

    #[test]
    fn what_was_read_is_not_cold() {
        // Not in the usual directory for temporary files, which may be in memory.
        let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut file = tempfile::tempfile_in(here).expect("a file");
        let length = 3 << 20;
        file.write_all(&vec![1; length]).expect("written");
        file.sync_all().expect("synced");
        assert!(!is_cold(&file, 0, length), "it was just written");
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).expect("advised");
        if !is_cold(&file, 0, length) {
            eprintln!("this file system does not tell what is in memory");
            return;
        }
        assert!(is_cold(&file, 1 << 20, 10));
        read(&file, 0, length);
        assert!(!is_cold(&file, 0, 1 << 20));
        assert!(!is_cold(&file, 0, length));
        // Behind the end there is nothing to wait for.
        assert!(!is_cold(&file, 1 << 30, 10));
    }
}
