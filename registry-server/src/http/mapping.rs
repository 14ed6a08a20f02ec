//! Blob files as memory that is never read: the address names the bytes, and the kernel sends them from the file.
//!
//! hyper wants a body as slices of memory. A mapped file is such a slice without reading anything;
//! [`super::stream::Stream`] finds the mapping behind a slice again and calls `sendfile` instead of copying it.
//! This is the only module with unsafe code here.
#![expect(
    unsafe_code,
    reason = "mapping a file and looking at the mapping as a slice have no safe form"
)]

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::ptr::NonNull;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use bytes::Bytes;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::stamp::Stamp;

/// All mappings that are alive, by their first address.
static MAPPINGS: RwLock<BTreeMap<usize, Weak<Mapping>>> = RwLock::new(BTreeMap::new());

/// A file mapped into memory.
#[derive(Debug)]
pub(super) struct Mapping {
    file: File,
    stamp: Stamp,
    /// When its content, name or attributes changed last; unlike the time of modification it cannot be set back.
    changed: (i64, i64),
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is read-only and belongs to the value alone; neither address nor length ever change.
unsafe impl Send for Mapping {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Mapping {}

/// Keeps a mapping alive for as long as a slice of it is.
struct Owner(Arc<Mapping>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping is `length` readable bytes long and lives as long as `self`.
        // Nothing changes the bytes: blob files are only ever replaced by renaming, never written to.
        // If somebody truncates the file behind our back, touching the bytes would raise SIGBUS;
        // `Stream` does not touch them, it hands address and length to `sendfile`, which reports an end of file.
        unsafe { std::slice::from_raw_parts(self.0.address.as_ptr(), self.0.length) }
    }
}

fn changed(metadata: &Metadata) -> (i64, i64) {
    (metadata.ctime(), metadata.ctime_nsec())
}

impl Mapping {
    /// Maps the first `length` bytes of a file; `length` is not 0.
    pub(super) fn new(file: File, length: usize) -> io::Result<Arc<Self>> {
        let metadata = file.metadata()?;
        let stamp = Stamp::of(&metadata);
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing that exists.
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::SHARED,
                &file,
                0,
            )?
        };
        let address = NonNull::new(address.cast::<u8>())
            .ok_or_else(|| io::Error::other("the kernel mapped a file at address 0"))?;
        let mapping = Arc::new(Self {
            file,
            stamp,
            changed: changed(&metadata),
            address,
            length,
        });
        MAPPINGS
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(mapping.start(), Arc::downgrade(&mapping));
        Ok(mapping)
    }

    /// All its bytes, without reading them.
    pub(super) fn bytes(self: &Arc<Self>) -> Bytes {
        Bytes::from_owner(Owner(Arc::clone(self)))
    }

    /// Whether nobody has written to the file since it was mapped.
    pub(super) fn is_unchanged(&self) -> bool {
        self.is_as(|_| true)
    }

    /// Whether nothing at all has happened to the file, also to its name. It may be whole all the same: to be opened and checked again.
    pub(super) fn is_in_place(&self) -> bool {
        self.is_as(|metadata| metadata.nlink() > 0 && changed(metadata) == self.changed)
    }

    fn is_as(&self, also: impl FnOnce(&Metadata) -> bool) -> bool {
        let metadata = self.file.metadata();
        metadata.is_ok_and(|now| Stamp::of(&now) == self.stamp && also(&now))
    }

    /// The file behind it.
    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    fn start(&self) -> usize {
        self.address.as_ptr().addr()
    }

    /// The mapping that a slice is part of, and where in it the slice begins.
    pub(super) fn of(slice: &[u8]) -> Option<(Arc<Self>, u64)> {
        let at = slice.as_ptr().addr();
        let mappings = MAPPINGS.read().unwrap_or_else(PoisonError::into_inner);
        let (start, mapping) = mappings.range(..=at).next_back()?;
        let mapping = mapping.upgrade()?;
        let offset = at - start;
        (offset + slice.len() <= mapping.length).then_some((mapping, offset as u64))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Before the address is given back: the next mapping may get the same one.
        MAPPINGS
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.start());
        // SAFETY: the mapping was made by `new` with this length, and no slice of it is left, for each keeps it alive.
        let unmapped = unsafe { munmap(self.address.as_ptr().cast(), self.length) };
        if let Err(error) = unmapped {
            tracing::warn!(%error, "a mapping could not be given back");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn mapped(content: &[u8]) -> Arc<Mapping> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("write");
        Mapping::new(file, content.len()).expect("mapped")
    }

    #[test]
    fn a_slice_leads_back_to_its_place_in_the_file() {
        let mapping = mapped(&[7; 10_000]);
        let bytes = mapping.bytes();
        assert_eq!(bytes, vec![7; 10_000]);
        let part = bytes.slice(5000..6000);
        let (found, offset) = Mapping::of(&part).expect("found");
        assert!(Arc::ptr_eq(&found, &mapping));
        assert_eq!(offset, 5000);
        assert!(Mapping::of(b"elsewhere").is_none());
        assert!(Mapping::of(&vec![0; 100_000]).is_none());
    }

    #[test]
    fn whoever_writes_to_the_file_is_noticed() {
        let mapping = mapped(&[7; 10_000]);
        assert!(mapping.is_unchanged());
        // A file without a name: whoever opened it may read it to its end.
        assert!(!mapping.is_in_place());
        mapping.file().set_len(5000).expect("cut off");
        assert!(!mapping.is_unchanged());
    }

    #[test]
    fn a_mapping_lives_as_long_as_its_slices() {
        let mapping = mapped(&[1; 100]);
        let start = mapping.start();
        let part = mapping.bytes().slice(10..20);
        drop(mapping);
        assert_eq!(part, [1; 10].as_slice());
        drop(part);
        let mappings = MAPPINGS.read().unwrap_or_else(PoisonError::into_inner);
        assert!(
            mappings
                .get(&start)
                .is_none_or(|left| left.upgrade().is_some())
        );
    }
}
