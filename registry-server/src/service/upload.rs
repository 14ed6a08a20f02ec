//! Uploads: a blob on its way in, in one request or many.

use std::io::Write;

use rbuild_image::{Algorithm, Digest, RepositoryName};
use rbuild_store::{BlobInfo, BlobStore, Checkpoint, Expected, FsBlobStore, Ingest, IngestId};

use super::{Error, Registry, Result, SMALL_BLOB};
use crate::metadata::{Received, UploadId, UploadRecord};
use crate::session::Exclusive;

/// The exclusive right to add to one upload.
///
/// Dropped without [`Self::suspend`] or [`Self::commit`], the upload stands where it stood before, and takes no more space than then.
#[derive(Debug)]
pub struct UploadWriter {
    registry: Registry,
    repository: RepositoryName,
    algorithm: Algorithm,
    /// Dropped before the session: it is cut back while nobody else may write.
    sink: Sink,
    /// `None` for an upload that begins and ends in one request and has no name.
    session: Option<Session>,
    /// Whether this request has seen that there is space.
    has_looked: bool,
}

/// The upload that later requests can go on with.
#[derive(Debug)]
struct Session {
    id: UploadId,
    /// Whether its record has no bytes, and so is counted as empty.
    is_empty: bool,
    _exclusive: Exclusive,
}

/// Where the bytes of an upload go.
#[derive(Debug)]
enum Sink {
    /// As long as they are few.
    Memory(Vec<u8>),
    Ingest(Open),
}

/// An ingest that is being written.
#[derive(Debug)]
struct Open {
    ingest: Option<Box<dyn Ingest>>,
    blobs: FsBlobStore,
    /// What a record says of it, if one names it, so that later requests can go on with it.
    recorded: Option<Checkpoint>,
}

impl Open {
    /// Bytes that are in it.
    fn offset(&self) -> u64 {
        self.ingest.as_ref().map_or(0, |ingest| ingest.offset())
    }

    /// Takes it out, to be ended.
    fn take(&mut self) -> Result<Box<dyn Ingest>> {
        self.ingest.take().ok_or(Error::UploadUnknown)
    }
}

impl Drop for Open {
    /// Bytes that no record names are of no use to anybody, least of all on a disk that is full.
    fn drop(&mut self) {
        let Some(ingest) = self.ingest.take() else {
            return;
        };
        // What stays behind is swept later, or cut off when the upload goes on.
        match &self.recorded {
            None => drop(ingest.abort()),
            Some(checkpoint) if ingest.offset() > checkpoint.offset => {
                let id = ingest.id().clone();
                drop(ingest);
                drop(self.blobs.resume(&id, Some(checkpoint)));
            }
            Some(_) => {}
        }
    }
}

/// Bytes of one upload between two looks at the free space.
const BETWEEN_LOOKS: u64 = 8 << 20;

impl Registry {
    /// Starts an upload, and tells its name. It outlives this process.
    pub fn start_upload(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<UploadId> {
        self.check_space()?;
        let id = IngestId::random()?;
        self.record_start(repository, &id, algorithm)?;
        Ok(id)
    }

    /// Makes the record of an upload that has received nothing.
    fn record_start(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        algorithm: Algorithm,
    ) -> Result<UploadRecord> {
        let record = UploadRecord {
            id: id.clone(),
            repository: repository.clone(),
            algorithm,
            received: Received::Here(Vec::new()),
            touched_at: self.now(),
        };
        if !self.0.sessions.add_empty(self.limits().empty_uploads) {
            return Err(Error::TooManyUploads);
        }
        if let Err(error) = self.metadata().start_upload(&record) {
            self.0.sessions.remove_empty(1);
            return Err(error.into());
        }
        Ok(record)
    }

    /// How many bytes of the upload are here.
    pub fn upload_offset(&self, repository: &RepositoryName, id: &UploadId) -> Result<u64> {
        let record = self.upload_record(repository, id)?;
        let offset = record.received.offset();
        if let Received::Ingest { id, .. } = &record.received {
            // Its bytes may have become a blob just before a crash: then it cannot go on.
            let length = self.blobs().ingest_length(id)?;
            if length.is_none_or(|length| length < offset) {
                return Err(Error::UploadUnknown);
            }
        }
        Ok(offset)
    }

    /// Takes the right to add to an upload.
    pub fn write_upload(&self, repository: &RepositoryName, id: &UploadId) -> Result<UploadWriter> {
        let exclusive = self.0.sessions.exclusive(id).ok_or(Error::UploadBusy)?;
        let writer = self.reopen(self.upload_record(repository, id)?)?;
        Ok(writer.named(id, exclusive))
    }

    /// Takes the right to add to the upload of this name, which is started if there is none.
    ///
    /// For those who choose the name, to find the upload again.
    pub fn write_named_upload(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        algorithm: Algorithm,
    ) -> Result<UploadWriter> {
        let exclusive = self.0.sessions.exclusive(id).ok_or(Error::UploadBusy)?;
        let found = self.upload_record(repository, id);
        let writer = match found.and_then(|record| self.reopen(record)) {
            Err(Error::UploadUnknown) => {
                self.check_space()?;
                self.reopen(self.record_start(repository, id, algorithm)?)?
            }
            other => other?,
        };
        Ok(writer.named(id, exclusive))
    }

    /// An upload that begins and ends in one request.
    pub fn write_blob(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<UploadWriter> {
        self.check_space()?;
        Ok(UploadWriter {
            registry: self.clone(),
            repository: repository.clone(),
            algorithm,
            sink: Sink::Memory(Vec::new()),
            session: None,
            // It was just looked at.
            has_looked: true,
        })
    }

    /// Ends an upload, and throws away what came.
    pub fn cancel_upload(&self, repository: &RepositoryName, id: &UploadId) -> Result<()> {
        let _exclusive = self.0.sessions.exclusive(id).ok_or(Error::UploadBusy)?;
        let record = self.upload_record(repository, id)?;
        self.metadata().delete_upload(id)?;
        if record.is_empty() {
            self.0.sessions.remove_empty(1);
        }
        // The record goes first: bytes that nothing names are swept later.
        if let Received::Ingest { id, .. } = &record.received {
            self.blobs().discard(id)?;
        }
        Ok(())
    }

    fn upload_record(&self, repository: &RepositoryName, id: &UploadId) -> Result<UploadRecord> {
        self.metadata()
            .upload(id)?
            .filter(|record| record.repository == *repository)
            .ok_or(Error::UploadUnknown)
    }

    /// Goes on with what a record says is here.
    fn reopen(&self, record: UploadRecord) -> Result<UploadWriter> {
        let sink = match record.received {
            Received::Here(bytes) => Sink::Memory(bytes),
            Received::Ingest {
                id,
                offset,
                hash_state,
            } => {
                let checkpoint = Checkpoint {
                    offset,
                    algorithm: record.algorithm,
                    hash_state,
                };
                match self.blobs().resume(&id, Some(&checkpoint)) {
                    // The file is shorter than what was acknowledged: it has been tampered with.
                    Ok(Some(ingest)) if ingest.offset() != offset => {
                        return Err(Error::UploadUnknown);
                    }
                    Ok(Some(ingest)) => Sink::Ingest(Open {
                        ingest: Some(ingest),
                        blobs: self.blobs().clone(),
                        recorded: Some(checkpoint),
                    }),
                    Ok(None) => return Err(Error::UploadUnknown),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        return Err(Error::UploadBusy);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        Ok(UploadWriter {
            registry: self.clone(),
            repository: record.repository,
            algorithm: record.algorithm,
            sink,
            session: None,
            has_looked: false,
        })
    }
}

impl UploadWriter {
    /// Of the upload of this name, which is as its record says.
    fn named(mut self, id: &UploadId, exclusive: Exclusive) -> Self {
        self.session = Some(Session {
            id: id.clone(),
            is_empty: self.offset() == 0,
            _exclusive: exclusive,
        });
        self
    }

    /// Bytes that are here, including those of this request.
    pub fn offset(&self) -> u64 {
        match &self.sink {
            Sink::Memory(bytes) => bytes.len() as u64,
            Sink::Ingest(open) => open.offset(),
        }
    }

    /// Whether adding so many bytes would not wait for a disk.
    pub fn takes(&self, bytes: usize) -> bool {
        match &self.sink {
            Sink::Memory(held) => held.len() + bytes <= SMALL_BLOB,
            Sink::Ingest(open) => open
                .ingest
                .as_ref()
                .is_some_and(|ingest| ingest.takes(bytes)),
        }
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let limit = self.registry.limits().blob_bytes;
        let (before, after) = (
            self.offset(),
            self.offset().saturating_add(bytes.len() as u64),
        );
        if after > limit {
            return Err(Error::TooLarge { limit });
        }
        if !self.has_looked || before / BETWEEN_LOOKS != after / BETWEEN_LOOKS {
            self.registry.check_space()?;
            self.has_looked = true;
        }
        if let Sink::Memory(held) = &mut self.sink {
            if held.len() + bytes.len() <= SMALL_BLOB {
                held.extend_from_slice(bytes);
                return Ok(());
            }
            let blobs = self.registry.blobs().clone();
            let mut open = Open {
                ingest: Some(blobs.ingest_with(self.algorithm)?),
                blobs,
                recorded: None,
            };
            if let Some(ingest) = &mut open.ingest {
                ingest.write_all(held)?;
            }
            self.sink = Sink::Ingest(open);
        }
        if let Sink::Ingest(Open {
            ingest: Some(ingest),
            ..
        }) = &mut self.sink
        {
            ingest.write_all(bytes)?;
        }
        Ok(())
    }

    /// Keeps what is here for later requests, and tells how much it is. It survives a crash.
    pub fn suspend(mut self) -> Result<u64> {
        let Some(session) = &self.session else {
            return Ok(0);
        };
        let mut reached = None;
        let received = match &mut self.sink {
            Sink::Memory(bytes) if bytes.is_empty() => return Ok(0),
            Sink::Memory(bytes) => Received::Here(std::mem::take(bytes)),
            Sink::Ingest(open) => {
                let mut ingest = open.take()?;
                let checkpoint = match ingest.checkpoint() {
                    Ok(checkpoint) => checkpoint,
                    Err(error) => {
                        open.ingest = Some(ingest);
                        return Err(error.into());
                    }
                };
                let received = Received::Ingest {
                    id: ingest.id().clone(),
                    offset: checkpoint.offset,
                    hash_state: checkpoint.hash_state.clone(),
                };
                // If the record cannot be written, an ingest without an older one goes. One with an older one keeps all bytes:
                // the log may have the new record after all.
                if open.recorded.is_none() {
                    open.ingest = Some(ingest);
                }
                reached = Some(checkpoint);
                received
            }
        };
        let record = UploadRecord {
            id: session.id.clone(),
            repository: self.repository.clone(),
            algorithm: self.algorithm,
            received,
            touched_at: self.registry.now(),
        };
        self.registry.metadata().put_upload(&record)?;
        if let Sink::Ingest(open) = &mut self.sink {
            open.recorded = reached;
        }
        if session.is_empty {
            self.registry.0.sessions.remove_empty(1);
        }
        Ok(record.received.offset())
    }

    /// Makes the upload a blob of the repository, if it has this digest. Either way the upload ends.
    pub fn commit(self, digest: Digest) -> Result<BlobInfo> {
        let registry = self.registry;
        let upload = self.session.as_ref().map(|session| &session.id);
        let outcome = match self.sink {
            Sink::Memory(bytes) => registry.put_small(&self.repository, digest, &bytes, upload),
            Sink::Ingest(mut open) => {
                let _coming = registry.coming(&digest);
                open.take()
                    .and_then(|ingest| Ok(ingest.commit(Expected::Digest(digest))?))
                    .and_then(|blob| {
                        let (now, until) = (registry.now(), registry.protected_until());
                        let repository = &self.repository;
                        registry
                            .metadata()
                            .put_blob(repository, blob, None, upload, now, until)?;
                        Ok(blob)
                    })
            }
        };
        if let Some(session) = &self.session {
            // The outcome matters more; a record that stays is swept later.
            let is_gone = outcome.is_ok() || registry.metadata().delete_upload(&session.id).is_ok();
            if is_gone && session.is_empty {
                registry.0.sessions.remove_empty(1);
            }
        }
        outcome
    }
}
