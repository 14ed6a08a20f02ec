//! Taking a request's body: small ones whole, large ones streamed to a thread that hashes and writes.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::blocking;
use super::error::ApiError;
use super::pace::Pace;
use super::patience::Patience;
use crate::service::{Error, UploadWriter};

/// Bytes that are handed to a writing thread at once, so that the change of thread costs little.
/// Twice as many are in memory: those that are written, and those that are read meanwhile.
const BATCH: usize = 256 << 10;

/// Bytes that all requests together may hold back while they wait for more of their bodies; beyond that, what is here is written.
const HELD: usize = 32 << 20;
/// Bytes that they hold back now.
static HELD_NOW: AtomicUsize = AtomicUsize::new(0);

/// Bytes that are hashed before other requests of the same thread get their turn: far below a millisecond.
const TURN: usize = 256 << 10;

/// Bytes of a body that are read and thrown away after an early answer.
const LINGER: usize = 64 << 20;
/// How long that may take.
const LINGER_TIME: Duration = Duration::from_secs(20);

/// A request's body.
///
/// Many clients send all of it before they look at the answer, and see nothing but a broken connection if we close before that.
/// So what is left of a body that nobody wants is read and thrown away, within bounds.
#[derive(Debug)]
pub(super) struct Incoming {
    body: Body,
    /// Whether the client waits for our word before it sends anything; then an early answer is enough.
    waits: bool,
    ended: bool,
    /// Bytes per second that must come in the long run.
    rate: u64,
    /// Set with the first wait.
    pace: Option<Pace>,
    patience: Patience,
}

impl Incoming {
    /// The body of a request with these headers, of which so many bytes per second must come.
    pub(super) fn new(headers: &HeaderMap, body: Body, rate: u64) -> Self {
        Self {
            ended: body.is_end_stream(),
            waits: headers.contains_key(header::EXPECT),
            body,
            rate,
            pace: None,
            patience: Patience::new(),
        }
    }

    /// The next bytes; `None` at the end.
    async fn next(&mut self, idle: Duration) -> Result<Option<Bytes>, ApiError> {
        self.waits = false;
        let next = poll_fn(|context| self.poll_next(context, idle)).await;
        self.ended = !matches!(next, Ok(Some(_)));
        next
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        idle: Duration,
    ) -> Poll<Result<Option<Bytes>, ApiError>> {
        let pace = self.pace.get_or_insert(Pace::new(idle, self.rate));
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                let limit = pace.patience();
                return self
                    .patience
                    .poll(context, limit)
                    .map(|()| Err(ApiError::timeout()));
            };
            let waited = self.patience.renew();
            return Poll::Ready(match frame {
                None => Ok(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => {
                        pace.came(waited, bytes.len());
                        Ok(Some(bytes))
                    }
                    // Trailers carry nothing that we want.
                    Err(_) => continue,
                },
                Some(Err(_)) => Err(ApiError::upload_invalid(
                    "the request's body broke off; ask for the state of the upload and go on from there",
                )),
            });
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.ended || self.waits {
            return;
        }
        let mut body = std::mem::take(&mut self.body);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(tokio::time::timeout(LINGER_TIME, async move {
            let mut left = LINGER;
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, Bytes::len);
                let Some(rest) = left.checked_sub(length) else {
                    return;
                };
                left = rest;
            }
        }));
    }
}

/// How a body ended.
#[derive(Debug)]
pub(super) enum End {
    /// As it should.
    Complete,
    /// Before its end, or it stopped coming.
    Broken(ApiError),
}

/// Reads a body that is kept in memory.
pub(super) async fn whole(
    mut body: Incoming,
    limit: usize,
    idle: Duration,
) -> Result<Vec<u8>, ApiError> {
    let mut content = Vec::new();
    loop {
        match body.next(idle).await? {
            None => return Ok(content),
            Some(bytes) if content.len() + bytes.len() > limit => {
                return Err(Error::TooLarge {
                    limit: limit as u64,
                }
                .into());
            }
            Some(bytes) => content.extend_from_slice(&bytes),
        }
    }
}

/// Writes a body to an upload, at most `limit` bytes of it, and hands the upload back.
///
/// What came before a body broke off is in the upload.
pub(super) async fn stream(
    mut body: Incoming,
    mut writer: UploadWriter,
    limit: u64,
    idle: Duration,
) -> Result<(UploadWriter, End), ApiError> {
    let mut left = limit;
    let mut batch = Batch::default();
    let mut since_turn = 0;
    loop {
        if batch.bytes.is_empty() {
            match read_one(&mut body, idle, &mut left).await {
                Ok(bytes) => batch.push(bytes),
                Err(end) => return Ok((writer, end)),
            }
        }
        if writer.takes(batch.length) {
            // Hashing and copying cost less than a change of thread, but others must get their turn.
            since_turn += batch.length;
            for bytes in batch.take() {
                writer.write(&bytes)?;
            }
            if since_turn >= TURN {
                since_turn = 0;
                tokio::task::yield_now().await;
            }
            continue;
        }
        // A thread is taken only while there is something to wait for: slow clients hold none.
        let full = batch.take();
        let writing = blocking(move || {
            for bytes in full {
                writer.write(&bytes)?;
            }
            Ok(writer)
        });
        let mut end = None;
        let written = AtomicBool::new(false);
        let is_enough = || written.load(Ordering::Relaxed) && is_crowded();
        let reading = async {
            while end.is_none() && batch.length < BATCH && !is_enough() {
                match read_one(&mut body, idle, &mut left).await {
                    Ok(bytes) => batch.push(bytes),
                    Err(reached) => end = Some(reached),
                }
            }
        };
        let writing = async {
            let outcome = writing.await;
            written.store(true, Ordering::Relaxed);
            outcome
        };
        writer = both(writing, reading).await?;
        if let Some(end) = end {
            let rest = batch.take();
            let writer = blocking(move || {
                for bytes in rest {
                    writer.write(&bytes)?;
                }
                Ok(writer)
            });
            return Ok((writer.await?, end));
        }
    }
}

/// Bytes that wait to be written.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<Bytes>,
    length: usize,
}

impl Batch {
    fn push(&mut self, bytes: Bytes) {
        self.length += bytes.len();
        HELD_NOW.fetch_add(bytes.len(), Ordering::Relaxed);
        self.bytes.push(bytes);
    }

    fn take(&mut self) -> Vec<Bytes> {
        HELD_NOW.fetch_sub(self.length, Ordering::Relaxed);
        self.length = 0;
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.take();
    }
}

/// Whether requests hold back as much as they may together.
fn is_crowded() -> bool {
    HELD_NOW.load(Ordering::Relaxed) > HELD
}

/// Writes one batch while the next one is read; a failure of the writing ends both.
///
/// Slow clients by the thousand would hold back a batch each, so in a crowd nobody waits for more.
async fn both<T>(
    writing: impl Future<Output = Result<T, ApiError>>,
    reading: impl Future<Output = ()>,
) -> Result<T, ApiError> {
    let (writing, reading) = (std::pin::pin!(writing), std::pin::pin!(reading));
    match select(writing, reading).await {
        Either::Left((Ok(written), reading)) => {
            if !is_crowded() {
                reading.await;
            }
            Ok(written)
        }
        Either::Left((Err(error), _)) => Err(error),
        Either::Right(((), writing)) => writing.await,
    }
}

/// The next bytes of a body, which take from `left`; an error tells how it ended.
async fn read_one(body: &mut Incoming, idle: Duration, left: &mut u64) -> Result<Bytes, End> {
    match body.next(idle).await {
        Ok(None) => Err(End::Complete),
        Ok(Some(bytes)) => match left.checked_sub(bytes.len() as u64) {
            Some(rest) => {
                *left = rest;
                Ok(bytes)
            }
            None => Err(End::Broken(ApiError::size_invalid(
                "the body is longer than its headers say; nothing of what is too much was kept",
            ))),
        },
        Err(error) => Err(End::Broken(error)),
    }
}
