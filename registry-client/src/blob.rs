//! Blobs on their way here: hashed while they are written, taken up again where the connection broke.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, HeaderValue, RANGE};
use http::{HeaderMap, Method, StatusCode};
use rbuild_image::{Descriptor, Reference};
use rbuild_store::{BlobInfo, BlobStore, CommitError, Expected, Ingest};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::Endpoint;
use crate::manifest::{next_mirror, nowhere};
use crate::transport::{Answer, shown};
use crate::{Client, ClientError, DigestMismatch, Observer, Result, TransferEvent};

/// Pieces between network and disk. A piece is what one read from the network gives, at most some hundred KiB.
const PIECES_IN_FLIGHT: usize = 8;

impl Client {
    /// Pulls one blob of the repository of `reference` into `store`, if it is not there.
    ///
    /// An ingest of the store that has bytes already is one that was broken off: the rest is asked for.
    pub async fn pull_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        store: &Arc<dyn BlobStore>,
        observer: &dyn Observer,
    ) -> Result<()> {
        let what = describe(descriptor);
        let local = |source| ClientError::Local {
            action: "read",
            what: what.clone(),
            source,
        };
        if let Some(stored) = store.stat(&descriptor.digest).map_err(local)? {
            if stored.size != descriptor.size {
                return Err(ClientError::Size {
                    what,
                    registry: reference.registry.to_string(),
                    expected: descriptor.size,
                    actual: stored.size,
                });
            }
            observer.on_event(&TransferEvent::Exists { descriptor });
            return Ok(());
        }
        let mut last = None;
        for endpoint in self.endpoints(reference) {
            let _permit = self.transfer_permit(&endpoint.host).await;
            observer.on_event(&TransferEvent::Started { descriptor });
            let mut download = Download {
                client: self,
                endpoint: &endpoint,
                descriptor,
                what: &what,
                observer,
                was_resumed: false,
            };
            let mut outcome = download.run(store).await;
            if download.was_resumed && matches!(outcome, Err(ClientError::Digest { .. })) {
                // The two parts need not be of one whole: once more, in one piece.
                outcome = download.run(store).await;
            }
            match outcome {
                Ok(()) => {
                    observer.on_event(&TransferEvent::Done { descriptor });
                    return Ok(());
                }
                Err(error) => last = Some(next_mirror(&endpoint, reference, error)?),
            }
        }
        Err(nowhere(last, reference))
    }
}

pub(crate) fn describe(descriptor: &Descriptor) -> String {
    let kind = if descriptor.media_type.is_config() {
        "config"
    } else if descriptor.media_type.layer_compression().is_some() {
        "layer"
    } else {
        "blob"
    };
    format!("{kind} `{}`", descriptor.digest)
}

struct Download<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    descriptor: &'a Descriptor,
    what: &'a str,
    observer: &'a dyn Observer,
    was_resumed: bool,
}

impl Download<'_> {
    async fn run(&mut self, store: &Arc<dyn BlobStore>) -> Result<()> {
        let ingest = store
            .ingest_with(self.descriptor.digest.algorithm())
            .map_err(|error| self.local(error))?;
        let mut writer = Writer::start(ingest);
        if writer.written > self.descriptor.size {
            return Err(self.wrong_size(writer.written));
        }
        let mut failed = 0;
        loop {
            let before = writer.written;
            match self.transfer(&mut writer).await {
                Ok(()) => return self.commit(writer).await,
                Err(error) => {
                    if writer.written > before {
                        failed = 0;
                    }
                    failed += 1;
                    let error = if writer.written > 0 {
                        error.in_the_middle()
                    } else {
                        error
                    };
                    let client = self.client;
                    client
                        .pause(failed, self.what, error, self.observer)
                        .await?;
                }
            }
        }
    }

    /// One request, from where the writer is to the end.
    async fn transfer(&mut self, writer: &mut Writer) -> Result<()> {
        let size = self.descriptor.size;
        let start = writer.written;
        if start == size && start > 0 {
            // All of it may have been there before.
            self.was_resumed = true;
            return Ok(());
        }
        let mut headers = HeaderMap::new();
        if start > 0 {
            self.was_resumed = true;
            let range = HeaderValue::from_str(&format!("bytes={start}-"));
            headers.insert(
                RANGE,
                range.map_err(|error| self.local(io::Error::other(error)))?,
            );
        }
        let path = self
            .endpoint
            .path(&format!("blobs/{}", self.descriptor.digest));
        let scopes = self.endpoint.scopes("pull");
        let mut answer = self
            .client
            .ask(
                self.endpoint,
                &Method::GET,
                &path,
                &headers,
                &scopes,
                self.what,
            )
            .await?;
        // A registry that knows no ranges sends everything again.
        let mut skip = match answer.status() {
            StatusCode::PARTIAL_CONTENT if range_start(&answer) == Some(start) => 0,
            StatusCode::OK => start,
            status => {
                return Err(ClientError::Rubbish {
                    url: shown(answer.url()),
                    reason: format!("it answers {status} to a request for bytes from {start} on"),
                });
            }
        };
        let announced = answer.content_length().map(|length| length + start - skip);
        if let Some(actual) = announced.filter(|length| *length != size) {
            return Err(self.wrong_size(actual));
        }
        while let Some(mut piece) = answer.chunk(self.what).await? {
            if skip > 0 {
                let part = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
                skip -= part as u64;
                drop(piece.split_to(part));
            }
            if writer.written + piece.len() as u64 > size {
                return Err(self.wrong_size(writer.written + piece.len() as u64));
            }
            if piece.is_empty() {
                continue;
            }
            if !writer.write(piece).await {
                let error = match writer.end().await {
                    Err(CommitError::Io(error)) => error,
                    Err(error) => io::Error::other(error),
                    Ok(_) => io::Error::other("the store stopped writing"),
                };
                return Err(self.local(error));
            }
            self.observer.on_event(&TransferEvent::Progress {
                descriptor: self.descriptor,
                done: writer.written,
            });
        }
        if writer.written == size {
            return Ok(());
        }
        Err(ClientError::Interrupted {
            what: self.what.to_owned(),
            host: self.endpoint.host.clone(),
            source: format!("{} of {size} bytes came", writer.written).into(),
        })
    }

    async fn commit(&self, writer: Writer) -> Result<()> {
        let expected = Expected::Blob(BlobInfo {
            digest: self.descriptor.digest,
            size: self.descriptor.size,
        });
        match writer.commit(expected).await {
            Ok(_) => Ok(()),
            Err(CommitError::Digest { expected, actual }) => Err(ClientError::Digest {
                what: self.what.to_owned(),
                registry: self.endpoint.registry.clone(),
                mismatch: Box::new(DigestMismatch { expected, actual }),
            }),
            Err(CommitError::Size { actual, .. }) => Err(self.wrong_size(actual)),
            Err(CommitError::Io(error)) => Err(self.local(error)),
        }
    }

    fn wrong_size(&self, actual: u64) -> ClientError {
        ClientError::Size {
            what: self.what.to_owned(),
            registry: self.endpoint.registry.clone(),
            expected: self.descriptor.size,
            actual,
        }
    }

    fn local(&self, source: io::Error) -> ClientError {
        ClientError::Local {
            action: "store",
            what: self.what.to_owned(),
            source,
        }
    }
}

/// `Content-Range: bytes <start>-…`.
fn range_start(answer: &Answer) -> Option<u64> {
    let range = answer.header(CONTENT_RANGE)?.trim().strip_prefix("bytes")?;
    range.trim_start().split('-').next()?.parse().ok()
}

/// Writes into a store on a thread that may block. Dropped before the commit, it leaves nothing behind.
struct Writer {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<std::result::Result<BlobInfo, CommitError>>,
    written: u64,
}

enum Order {
    Write(Bytes),
    Commit(Expected),
}

impl Writer {
    fn start(mut ingest: Box<dyn Ingest>) -> Self {
        let written = ingest.offset();
        let (orders, mut inbox) = mpsc::channel(PIECES_IN_FLIGHT);
        let thread = tokio::task::spawn_blocking(move || {
            while let Some(order) = inbox.blocking_recv() {
                match order {
                    Order::Write(bytes) => {
                        if let Err(error) = ingest.write_all(&bytes) {
                            drop(ingest.abort());
                            return Err(error.into());
                        }
                    }
                    Order::Commit(expected) => return ingest.commit(expected),
                }
            }
            ingest.abort()?;
            Err(io::Error::from(io::ErrorKind::Interrupted).into())
        });
        Self {
            orders,
            thread,
            written,
        }
    }

    /// False: writing has failed, and [`Self::end`] tells why.
    async fn write(&mut self, bytes: Bytes) -> bool {
        self.written += bytes.len() as u64;
        self.orders.send(Order::Write(bytes)).await.is_ok()
    }

    async fn end(&mut self) -> std::result::Result<BlobInfo, CommitError> {
        match (&mut self.thread).await {
            Ok(outcome) => outcome,
            Err(error) => Err(io::Error::other(error).into()),
        }
    }

    async fn commit(mut self, expected: Expected) -> std::result::Result<BlobInfo, CommitError> {
        // If writing has failed before, the thread is gone and its own error is the answer.
        drop(self.orders.send(Order::Commit(expected)).await);
        self.end().await
    }
}
