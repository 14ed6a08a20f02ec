//! A repository as a place to pull one blob into.
//!
//! What has arrived is an upload of the repository whose name follows from the digest: whoever pulls the blob again goes on with it,
//! also after this process is gone.

use std::fmt;
use std::io::{self, Write};
use std::ops::ControlFlow;

use rbuild_image::{Algorithm, Descriptor, Digest, RepositoryName};
use rbuild_store::{
    BlobInfo, BlobReader, BlobStore, Checkpoint, CommitError, Expected, Ingest, IngestId,
};

use crate::service::{Error, Registry, UploadWriter};

/// Bytes after which an upload is recorded, so that a crash loses no more.
const RECORD: u64 = 64 << 20;

/// Where one blob goes.
#[derive(Debug, Clone)]
pub(super) struct Target {
    registry: Registry,
    repository: RepositoryName,
    blob: BlobInfo,
}

impl Target {
    pub(super) fn new(
        registry: &Registry,
        repository: &RepositoryName,
        descriptor: &Descriptor,
    ) -> Self {
        Self {
            registry: registry.clone(),
            repository: repository.clone(),
            blob: BlobInfo {
                digest: descriptor.digest,
                size: descriptor.size,
            },
        }
    }

    /// The name of the upload.
    fn upload(&self) -> io::Result<IngestId> {
        let name = format!("import {} {}", self.repository, self.blob.digest);
        let digest = Digest::sha256(name);
        digest.hex()[..32].parse().map_err(io::Error::other)
    }

    fn write(&self) -> Result<UploadWriter, Error> {
        let id = self.upload()?;
        let algorithm = self.blob.digest.algorithm();
        let writer = self
            .registry
            .write_named_upload(&self.repository, &id, algorithm)?;
        if writer.offset() <= self.blob.size {
            return Ok(writer);
        }
        // It is not what we began.
        drop(writer);
        self.registry.cancel_upload(&self.repository, &id)?;
        self.registry
            .write_named_upload(&self.repository, &id, algorithm)
    }
}

fn failed(error: Error) -> io::Error {
    io::Error::other(error)
}

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

impl BlobStore for Target {
    fn stat(&self, digest: &Digest) -> io::Result<Option<BlobInfo>> {
        match self.registry.stat_blob(&self.repository, digest) {
            Ok(blob) => Ok(Some(blob)),
            Err(Error::BlobUnknown(_) | Error::RepositoryUnknown(_)) => {
                // Another repository may have it.
                self.registry
                    .mount_blob(&self.repository, None, digest)
                    .map_err(failed)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn open(&self, _digest: &Digest) -> io::Result<Option<Box<dyn BlobReader>>> {
        unsupported()
    }

    /// The upload that was begun, if there is one.
    fn ingest_with(&self, algorithm: Algorithm) -> io::Result<Box<dyn Ingest>> {
        let (writer, is_named) = match self.write() {
            // Somebody else pulls the same blob just now.
            Err(Error::UploadBusy) => {
                let writer = self.registry.write_blob(&self.repository, algorithm);
                (writer, false)
            }
            other => (other, true),
        };
        let writer = writer.map_err(failed)?;
        Ok(Box::new(Session {
            id: self.upload()?,
            recorded: is_named.then(|| writer.offset()),
            writer: Some(writer),
            target: self.clone(),
        }))
    }

    fn resume(
        &self,
        _id: &IngestId,
        _checkpoint: Option<&Checkpoint>,
    ) -> io::Result<Option<Box<dyn Ingest>>> {
        unsupported()
    }

    fn delete(&self, _digest: &Digest) -> io::Result<()> {
        unsupported()
    }

    fn walk(&self, _visit: &mut dyn FnMut(BlobInfo) -> ControlFlow<()>) -> io::Result<()> {
        unsupported()
    }
}

/// The blob on its way.
struct Session {
    target: Target,
    id: IngestId,
    /// `None` only after a failure.
    writer: Option<UploadWriter>,
    /// Bytes that would outlive a crash; `None`: the upload has no name to find it by.
    recorded: Option<u64>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("target", &self.target)
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

impl Session {
    fn take(&mut self) -> io::Result<UploadWriter> {
        self.writer
            .take()
            .ok_or_else(|| io::Error::other("the upload has failed before"))
    }
}

impl Write for Session {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut writer = self.take()?;
        writer.write(bytes).map_err(failed)?;
        if let Some(recorded) = &mut self.recorded
            && writer.offset() - *recorded >= RECORD
        {
            writer.suspend().map_err(failed)?;
            writer = self.target.write().map_err(failed)?;
            *recorded = writer.offset();
        }
        self.writer = Some(writer);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Ingest for Session {
    fn id(&self) -> &IngestId {
        &self.id
    }

    fn offset(&self) -> u64 {
        self.writer.as_ref().map_or(0, UploadWriter::offset)
    }

    fn checkpoint(&mut self) -> io::Result<Checkpoint> {
        unsupported()
    }

    fn commit(mut self: Box<Self>, expected: Expected) -> Result<BlobInfo, CommitError> {
        let writer = self.take()?;
        let actual = writer.offset();
        if let Some(size) = expected.size().filter(|size| *size != actual) {
            return Err(CommitError::Size {
                expected: size,
                actual,
            });
        }
        let digest = expected.digest().unwrap_or(self.target.blob.digest);
        writer.commit(digest).map_err(|error| match error {
            Error::DigestMismatch { expected, actual } => CommitError::Digest {
                expected: *expected,
                actual: *actual,
            },
            other => CommitError::Io(failed(other)),
        })
    }

    /// Keeps what came, for whoever pulls the blob again; what nobody asks for goes with other uploads that were given up.
    fn abort(mut self: Box<Self>) -> io::Result<()> {
        match self.writer.take() {
            Some(writer) => writer.suspend().map(|_| ()).map_err(failed),
            None => Ok(()),
        }
    }
}
