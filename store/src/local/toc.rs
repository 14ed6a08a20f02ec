//! Tables of contents of layers, as files.
//!
//! A file is a header of 64 bytes and the table: magic (8), content id (32), size of the uncompressed layer u64,
//! length of the table u64, CRC-32 of the table u32, CRC-32 of the header before it u32; numbers are little-endian.
//! The sums find what a machine that crashed left half-written; they are no protection against anybody.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rbuild_image::layer::{ContentId, LayerSummary, Toc};
use rbuild_image::{DiffId, Digest};

use super::{LocalStore, file};
use crate::BlobStore;

const KIND: &str = "toc";
const MAGIC: &[u8; 8] = b"RBTOCF\0\x01";
const HEADER: usize = 64;
/// The size of a layer that nobody has measured.
const UNKNOWN: u64 = u64::MAX;

/// Tables that somebody holds at the moment.
#[derive(Debug, Default)]
pub(super) struct Tables {
    open: Mutex<HashMap<DiffId, Weak<Toc>>>,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    content_id: ContentId,
    size: u64,
    length: u64,
    sum: u32,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        let number = |at: usize| {
            let part = bytes.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_le_bytes(part))
        };
        let word = |at: usize| {
            let part = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(part))
        };
        let whole = bytes.starts_with(MAGIC) && word(60)? == crc32fast::hash(&bytes[..60]);
        whole.then_some(Self {
            content_id: ContentId::from_digest(Digest::Sha256(bytes.get(8..40)?.try_into().ok()?)),
            size: number(40)?,
            length: number(48)?,
            sum: word(56)?,
        })
    }

    fn bytes(self) -> io::Result<[u8; HEADER]> {
        let Digest::Sha256(content_id) = self.content_id.digest() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a content id is a SHA-256",
            ));
        };
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..40].copy_from_slice(&content_id);
        bytes[40..48].copy_from_slice(&self.size.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.length.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.sum.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        Ok(bytes)
    }
}

impl LocalStore {
    /// The table of contents of a layer; `None` if nobody has made it yet, or what is here is damaged.
    pub fn toc(&self, layer: DiffId) -> io::Result<Option<Arc<Toc>>> {
        let open = |table: &Weak<Toc>| table.upgrade();
        if let Some(table) = self.tables().get(&layer).and_then(open) {
            return Ok(Some(table));
        }
        let Some(mut bytes) = file::read_bytes(&self.layer_path(layer, KIND))? else {
            return Ok(None);
        };
        let Some(header) = Header::read(&bytes) else {
            return Ok(None);
        };
        bytes.drain(..HEADER);
        if bytes.len() as u64 != header.length || crc32fast::hash(&bytes) != header.sum {
            return Ok(None);
        }
        let Ok(table) = Toc::from_bytes(bytes) else {
            return Ok(None);
        };
        let table = Arc::new(table);
        let mut tables = self.tables();
        tables.retain(|_, table| table.strong_count() > 0);
        tables.insert(layer, Arc::downgrade(&table));
        Ok(Some(table))
    }

    /// The content id of a layer, without reading its table; `None` if it is not known here.
    pub fn content_id(&self, layer: DiffId) -> io::Result<Option<ContentId>> {
        Ok(self.toc_header(layer)?.map(|header| header.content_id))
    }

    /// Keeps the table of contents of a layer.
    pub fn put_toc(&self, layer: DiffId, toc: &Toc, content_id: ContentId) -> io::Result<()> {
        self.write_toc(layer, toc, content_id, UNKNOWN)
    }

    /// Keeps what a pass over a layer has found out: its table of contents, content id and size.
    pub fn put_summary(&self, summary: &LayerSummary) -> io::Result<()> {
        self.write_toc(
            summary.diff_id,
            &summary.toc,
            summary.content_id,
            summary.size,
        )
    }

    /// The length of the uncompressed tar of a layer in bytes; `None` if it is not known here.
    pub fn layer_size(&self, layer: DiffId) -> io::Result<Option<u64>> {
        if let Some(plain) = self.blobs().stat(&layer.0)? {
            return Ok(Some(plain.size));
        }
        let known = |header: &Header| header.size != UNKNOWN;
        Ok(self
            .toc_header(layer)?
            .filter(known)
            .map(|header| header.size))
    }

    fn write_toc(
        &self,
        layer: DiffId,
        toc: &Toc,
        content_id: ContentId,
        size: u64,
    ) -> io::Result<()> {
        let bytes = toc.as_bytes();
        let header = Header {
            content_id,
            size,
            length: bytes.len() as u64,
            sum: crc32fast::hash(bytes),
        };
        file::write_parts(&self.layer_path(layer, KIND), &[&header.bytes()?, bytes])
    }

    fn toc_header(&self, layer: DiffId) -> io::Result<Option<Header>> {
        let path = self.layer_path(layer, KIND);
        let mut open = match File::open(&path) {
            Ok(open) => open,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file::at(&path)(error)),
        };
        let mut bytes = Vec::with_capacity(HEADER);
        let length = open.metadata().map_err(file::at(&path))?.len();
        (&mut open)
            .take(HEADER as u64)
            .read_to_end(&mut bytes)
            .map_err(file::at(&path))?;
        let whole = |header: &Header| header.length.checked_add(HEADER as u64) == Some(length);
        Ok(Header::read(&bytes).filter(whole))
    }

    fn tables(&self) -> std::sync::MutexGuard<'_, HashMap<DiffId, Weak<Toc>>> {
        // A map of weak references is whole wherever its holder stopped.
        self.inner
            .tables
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
