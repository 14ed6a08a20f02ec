//! Ingests that leave nothing behind.

use std::io::{self, Write};

use super::LocalStore;
use crate::{BlobInfo, BlobStore, Checkpoint, CommitError, Expected, Ingest, IngestId};

/// An ingest that is thrown away when it is dropped: nobody takes up a half-made layer.
#[derive(Debug)]
struct Transient {
    /// Taken by the end, whichever it is.
    inner: Option<Box<dyn Ingest>>,
    id: IngestId,
}

impl LocalStore {
    /// Starts an ingest that leaves nothing behind when it is dropped.
    pub fn ingest(&self) -> io::Result<Box<dyn Ingest>> {
        let inner = self.blobs().ingest()?;
        Ok(Box::new(Transient {
            id: inner.id().clone(),
            inner: Some(inner),
        }))
    }
}

impl Transient {
    fn inner(&mut self) -> io::Result<&mut Box<dyn Ingest>> {
        self.inner.as_mut().ok_or_else(ended)
    }
}

fn ended() -> io::Error {
    io::Error::other("the ingest has ended")
}

impl Write for Transient {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.inner()?.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner()?.flush()
    }
}

impl Ingest for Transient {
    fn id(&self) -> &IngestId {
        &self.id
    }

    fn offset(&self) -> u64 {
        self.inner.as_ref().map_or(0, |inner| inner.offset())
    }

    fn checkpoint(&mut self) -> io::Result<Checkpoint> {
        self.inner()?.checkpoint()
    }

    fn commit(mut self: Box<Self>, expected: Expected) -> Result<BlobInfo, CommitError> {
        self.inner.take().ok_or_else(ended)?.commit(expected)
    }

    fn abort(mut self: Box<Self>) -> io::Result<()> {
        self.inner.take().ok_or_else(ended)?.abort()
    }
}

impl Drop for Transient {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            // What cannot be removed now is swept later.
            let _ = inner.abort();
        }
    }
}
