//! Uploads: a blob on its way in, in one request or many.

use std::io::Write;
use std::time::{Duration, Instant};

use rbuild_image::{Algorithm, Digest, RepositoryName};
use rbuild_store::{BlobInfo, BlobStore, Checkpoint, Expected, FsBlobStore, Ingest, IngestId};

use super::{Error, Registry, Result, SMALL_BLOB};
use crate::metadata::{Received, UploadId, UploadRecord};
use crate::session::{Exclusive, Fresh};

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
    session: Option<(UploadId, Exclusive)>,
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
    /// Starts an upload, and tells its name.
    pub fn start_upload(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<UploadId> {
        self.check_space()?;
        let id = IngestId::random()?;
        let fresh = Fresh {
            repository: repository.clone(),
            algorithm,
            started_at: self.now(),
        };
        if self
            .0
            .sessions
            .start(id.clone(), fresh, self.limits().empty_uploads)
        {
            Ok(id)
        } else {
            Err(Error::TooManyUploads)
        }
    }

    /// Makes records of uploads that have received nothing, so that they outlive this process; the newest ones, for as long as `time`.
    pub fn keep_empty_uploads(&self, time: Duration) -> Result<()> {
        let began = Instant::now();
        for (id, _) in self.0.sessions.all_fresh() {
            if began.elapsed() > time {
                tracing::warn!("more uploads were started than could be kept");
                break;
            }
            // Whoever writes to it makes its record.
            let Some(_exclusive) = self.0.sessions.exclusive(&id) else {
                continue;
            };
            let Some(fresh) = self.0.sessions.fresh(&id) else {
                continue;
            };
            self.metadata().put_upload(&UploadRecord {
                id: id.clone(),
                repository: fresh.repository,
                algorithm: fresh.algorithm,
                received: Received::Here(Vec::new()),
                touched_at: fresh.started_at,
            })?;
            self.0.sessions.forget(&id);
        }
        Ok(())
    }

    /// How many bytes of the upload are here.
    pub fn upload_offset(&self, repository: &RepositoryName, id: &UploadId) -> Result<u64> {
        if let Some(fresh) = self.0.sessions.fresh(id)
            && fresh.repository == *repository
        {
            return Ok(0);
        }
        let record = self.upload_record(repository, id)?;
        Ok(record.received.offset())
    }

    /// Takes the right to add to an upload.
    pub fn write_upload(&self, repository: &RepositoryName, id: &UploadId) -> Result<UploadWriter> {
        let exclusive = self.0.sessions.exclusive(id).ok_or(Error::UploadBusy)?;
        let fresh = self.0.sessions.fresh(id);
        let (algorithm, sink) = match fresh {
            Some(fresh) if fresh.repository == *repository => {
                (fresh.algorithm, Sink::Memory(Vec::new()))
            }
            Some(_) => return Err(Error::UploadUnknown),
            None => {
                let record = self.upload_record(repository, id)?;
                (record.algorithm, self.reopen(record)?)
            }
        };
        Ok(UploadWriter {
            registry: self.clone(),
            repository: repository.clone(),
            algorithm,
            sink,
            session: Some((id.clone(), exclusive)),
        })
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
        match self.write_upload(repository, id) {
            Err(Error::UploadUnknown) => {}
            other => return other,
        }
        self.check_space()?;
        let fresh = Fresh {
            repository: repository.clone(),
            algorithm,
            started_at: self.now(),
        };
        let limit = self.limits().empty_uploads;
        if !self.0.sessions.start(id.clone(), fresh, limit) {
            return Err(Error::TooManyUploads);
        }
        self.write_upload(repository, id)
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
        })
    }

    /// Ends an upload, and throws away what came.
    pub fn cancel_upload(&self, repository: &RepositoryName, id: &UploadId) -> Result<()> {
        let _exclusive = self.0.sessions.exclusive(id).ok_or(Error::UploadBusy)?;
        match self.0.sessions.fresh(id) {
            Some(fresh) if fresh.repository == *repository => {
                self.0.sessions.forget(id);
                return Ok(());
            }
            Some(_) => return Err(Error::UploadUnknown),
            None => {}
        }
        let record = self.upload_record(repository, id)?;
        self.drop_upload(&record)
    }

    /// Removes an upload's record, then its bytes.
    pub(super) fn drop_upload(&self, record: &UploadRecord) -> Result<()> {
        self.metadata().delete_upload(&record.id)?;
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

    fn reopen(&self, record: UploadRecord) -> Result<Sink> {
        match record.received {
            Received::Here(bytes) => Ok(Sink::Memory(bytes)),
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
                    Ok(Some(ingest)) if ingest.offset() != offset => Err(Error::UploadUnknown),
                    Ok(Some(ingest)) => Ok(Sink::Ingest(Open {
                        ingest: Some(ingest),
                        blobs: self.blobs().clone(),
                        recorded: Some(checkpoint),
                    })),
                    Ok(None) => Err(Error::UploadUnknown),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        Err(Error::UploadBusy)
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}

impl UploadWriter {
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
        if before / BETWEEN_LOOKS != after / BETWEEN_LOOKS {
            self.registry.check_space()?;
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
        let Some((id, _exclusive)) = &self.session else {
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
            id: id.clone(),
            repository: self.repository.clone(),
            algorithm: self.algorithm,
            received,
            touched_at: self.registry.now(),
        };
        self.registry.metadata().put_upload(&record)?;
        if let Sink::Ingest(open) = &mut self.sink {
            open.recorded = reached;
        }
        self.registry.0.sessions.forget(id);
        Ok(record.received.offset())
    }

    /// Makes the upload a blob of the repository, if it has this digest. Either way the upload ends.
    pub fn commit(self, digest: Digest) -> Result<BlobInfo> {
        let registry = self.registry;
        let upload = self.session.as_ref().map(|(id, _)| id);
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
        if let Some(id) = upload {
            let fresh = registry.0.sessions.forget(id);
            if outcome.is_err() && fresh.is_none() {
                // The outcome matters more; a record that stays is swept later.
                let _ = registry.metadata().delete_upload(id);
            }
        }
        outcome
    }
}
