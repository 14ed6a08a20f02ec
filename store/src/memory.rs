//! A blob store in memory, for tests and small tools.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rbuild_image::{Algorithm, Digest};

use crate::{BlobInfo, BlobReader, BlobStore, Checkpoint, CommitError, Expected, Ingest, IngestId};

/// A blob store in memory. Clones share one store.
#[derive(Debug, Clone, Default)]
pub struct MemoryBlobStore {
    shared: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    blobs: BTreeMap<Digest, Arc<[u8]>>,
    /// Ingests that nobody is writing.
    resting: BTreeMap<IngestId, Vec<u8>>,
    busy: BTreeSet<IngestId>,
}

impl MemoryBlobStore {
    /// An empty store.
    ///
    /// ```
    /// use rbuild_image::Digest;
    /// use rbuild_store::{BlobStore, MemoryBlobStore};
    ///
    /// assert!(MemoryBlobStore::new().stat(&Digest::sha256(b""))?.is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // Every change of the maps is a single call, so a panic elsewhere leaves them whole.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobStore for MemoryBlobStore {
    fn stat(&self, digest: &Digest) -> io::Result<Option<BlobInfo>> {
        Ok(self.content().blobs.get(digest).map(|bytes| BlobInfo {
            digest: *digest,
            size: bytes.len() as u64,
        }))
    }

    fn open(&self, digest: &Digest) -> io::Result<Option<Box<dyn BlobReader>>> {
        Ok(self.content().blobs.get(digest).map(|bytes| {
            Box::new(MemoryReader(Cursor::new(Arc::clone(bytes)))) as Box<dyn BlobReader>
        }))
    }

    fn ingest_with(&self, algorithm: Algorithm) -> io::Result<Box<dyn Ingest>> {
        let id = IngestId::random()?;
        self.content().busy.insert(id.clone());
        Ok(Box::new(MemoryIngest {
            store: self.clone(),
            id,
            algorithm,
            bytes: Vec::new(),
            ended: false,
        }))
    }

    fn resume(
        &self,
        id: &IngestId,
        checkpoint: Option<&Checkpoint>,
    ) -> io::Result<Option<Box<dyn Ingest>>> {
        let mut content = self.content();
        if content.busy.contains(id) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Some(mut bytes) = content.resting.remove(id) else {
            return Ok(None);
        };
        content.busy.insert(id.clone());
        if let Some(checkpoint) = checkpoint {
            bytes.truncate(usize::try_from(checkpoint.offset).unwrap_or(usize::MAX));
        }
        Ok(Some(Box::new(MemoryIngest {
            store: self.clone(),
            id: id.clone(),
            algorithm: checkpoint.map_or(Algorithm::Sha256, |checkpoint| checkpoint.algorithm),
            bytes,
            ended: false,
        })))
    }

    fn delete(&self, digest: &Digest) -> io::Result<()> {
        self.content().blobs.remove(digest);
        Ok(())
    }

    fn walk(&self, visit: &mut dyn FnMut(BlobInfo) -> ControlFlow<()>) -> io::Result<()> {
        let blobs: Vec<BlobInfo> = self
            .content()
            .blobs
            .iter()
            .map(|(digest, bytes)| BlobInfo {
                digest: *digest,
                size: bytes.len() as u64,
            })
            .collect();
        for blob in blobs {
            if visit(blob).is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryReader(Cursor<Arc<[u8]>>);

impl Read for MemoryReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for MemoryReader {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.0.seek(position)
    }
}

impl BlobReader for MemoryReader {
    fn size(&self) -> u64 {
        self.0.get_ref().len() as u64
    }
}

#[derive(Debug)]
struct MemoryIngest {
    store: MemoryBlobStore,
    id: IngestId,
    algorithm: Algorithm,
    bytes: Vec<u8>,
    ended: bool,
}

impl Write for MemoryIngest {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.bytes.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Ingest for MemoryIngest {
    fn id(&self) -> &IngestId {
        &self.id
    }

    fn offset(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn checkpoint(&mut self) -> io::Result<Checkpoint> {
        Ok(Checkpoint {
            offset: self.offset(),
            algorithm: self.algorithm,
            hash_state: Vec::new(),
        })
    }

    fn commit(mut self: Box<Self>, expected: Expected) -> Result<BlobInfo, CommitError> {
        self.ended = true;
        let algorithm = expected.digest().map_or(self.algorithm, |d| d.algorithm());
        let blob = BlobInfo {
            digest: Digest::of(algorithm, &self.bytes),
            size: self.offset(),
        };
        expected.check(blob)?;
        let bytes = std::mem::take(&mut self.bytes).into();
        self.store.content().blobs.insert(blob.digest, bytes);
        Ok(blob)
    }

    fn abort(mut self: Box<Self>) -> io::Result<()> {
        self.ended = true;
        Ok(())
    }
}

impl Drop for MemoryIngest {
    fn drop(&mut self) {
        let mut content = self.store.content();
        content.busy.remove(&self.id);
        if !self.ended {
            content
                .resting
                .insert(self.id.clone(), std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_promises_of_a_blob_store() {
        crate::contract::check(&|| Box::new(MemoryBlobStore::new()));
    }
}
