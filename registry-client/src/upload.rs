//! Blobs on their way to a registry (distribution-spec, "Pushing blobs").
//!
//! A blob is sent as one stream (PATCH, then PUT with the digest), as Docker sends it.
//! When the connection breaks, the registry is asked how much it has, and the rest is sent.
//! When it refuses the size of a request, or the connection breaks twice at one place, the blob is sent in chunks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RANGE,
};
use http::{HeaderMap, Method, StatusCode};
use rbuild_image::RepositoryName;
use reqwest::Url;

use crate::auth::Scopes;
use crate::client::Endpoint;
use crate::content::Content;
use crate::push::BlobSource;
use crate::transport::{Answer, Call, Upload, lock, shown};
use crate::{Client, ClientError, Observer, Result, TransferEvent};

/// Blobs up to this size go with the closing PUT.
const MONOLITHIC_BYTES: u64 = 256 << 10;
/// The first size of chunks, where one stream does not get through; it is divided by four from failure to failure.
const FIRST_CHUNK_BYTES: u64 = 64 << 20;
const LEAST_CHUNK_BYTES: u64 = 512 << 10;
const MAX_MOUNTS: usize = 4;
const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// One blob on its way.
pub(crate) struct Pusher<'a> {
    pub(crate) client: &'a Client,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) source: &'a BlobSource,
    pub(crate) what: &'a str,
    pub(crate) observer: &'a dyn Observer,
    /// The last try failed for an old token alone, so that nothing else need be asked again.
    pub(crate) has_new_token: AtomicBool,
}

/// An upload that the registry has opened.
struct Session {
    url: Url,
    /// Bytes that the registry has; none if it must be asked.
    offset: Option<u64>,
    least_chunk: u64,
}

/// What is remembered from try to try.
struct Progress {
    session: Option<Session>,
    chunk: Option<u64>,
    furthest: u64,
    mounts_tried: bool,
    was_resumed: bool,
}

enum Start {
    Mounted(RepositoryName),
    Open(Session),
}

impl Pusher<'_> {
    pub(crate) async fn run(&self) -> Result<()> {
        let descriptor = self.source.descriptor();
        let mut progress = Progress {
            session: None,
            chunk: None,
            furthest: 0,
            mounts_tried: false,
            was_resumed: false,
        };
        let mut failed = 0;
        loop {
            let before = progress.furthest;
            let error = match self.attempt(&mut progress).await {
                Ok(()) => return Ok(()),
                Err(error) if progress.session.is_some() => error.in_the_middle(),
                Err(error) => error,
            };
            if progress.furthest > before {
                failed = 0;
            }
            failed += 1;
            let left = descriptor.size.saturating_sub(progress.furthest);
            let too_large = matches!(error, ClientError::Status { status: 413, .. });
            let stuck = failed > 1 && matches!(error, ClientError::Interrupted { .. });
            if (too_large || stuck) && progress.shrink(left) {
                progress.forget_offset();
                if too_large {
                    continue;
                }
            }
            let lost =
                is_unknown_upload(&error) || progress.was_resumed && is_wrong_content(&error);
            if lost && failed < self.client.config().retry.attempts {
                progress.session = None;
                progress.was_resumed = false;
                continue;
            }
            progress.forget_offset();
            self.client
                .pause(failed, self.what, error, self.observer)
                .await?;
        }
    }

    /// Goes on from what is remembered to the end, or to the next failure.
    async fn attempt(&self, progress: &mut Progress) -> Result<()> {
        let descriptor = self.source.descriptor();
        if !self.has_new_token.swap(false, Ordering::Relaxed) && self.exists().await? {
            self.observer
                .on_event(&TransferEvent::Exists { descriptor });
            return Ok(());
        }
        if progress.session.is_none() {
            match self.start(!progress.mounts_tried).await? {
                Start::Mounted(from) => {
                    self.observer.on_event(&TransferEvent::Mounted {
                        descriptor,
                        from: &from,
                    });
                    return Ok(());
                }
                Start::Open(session) => progress.session = Some(session),
            }
            progress.mounts_tried = true;
            self.observer
                .on_event(&TransferEvent::Started { descriptor });
        }
        if let Some(session) = &mut progress.session
            && session.offset.is_none()
        {
            if !self.status(session).await? {
                progress.session = None;
                return Box::pin(self.attempt(progress)).await;
            }
            progress.was_resumed = true;
        }
        let Progress {
            session: Some(session),
            chunk,
            furthest,
            ..
        } = progress
        else {
            return Ok(());
        };
        let size = descriptor.size;
        if session.offset == Some(0) && size <= MONOLITHIC_BYTES && chunk.is_none() {
            self.close(session, Some(0)).await?;
        } else {
            while let Some(offset) = session.offset.filter(|offset| *offset < size) {
                let left = size - offset;
                let length = chunk.map_or(left, |chunk| chunk.max(session.least_chunk).min(left));
                self.patch(session, offset, length).await?;
                *furthest = (*furthest).max(session.offset.unwrap_or(0));
            }
            self.close(session, None).await?;
        }
        self.observer.on_event(&TransferEvent::Done { descriptor });
        Ok(())
    }

    async fn exists(&self) -> Result<bool> {
        let path = self
            .endpoint
            .path(&format!("blobs/{}", self.source.descriptor().digest));
        let (answer, with_credentials) = self
            .client
            .ask_any(
                self.endpoint,
                &Method::HEAD,
                &path,
                &HeaderMap::new(),
                &self.scopes(),
                self.what,
            )
            .await?;
        let status = answer.status();
        if status == StatusCode::OK {
            let length = answer.content_length();
            // Some registries leave the length out; a wrong one is another blob.
            return Ok(length.is_none_or(|length| length == self.source.descriptor().size));
        }
        let is_final = matches!(status.as_u16(), 401 | 403 | 429) || status.is_server_error();
        if is_final {
            return Err(answer
                .refuse(
                    &Method::HEAD,
                    self.what,
                    &self.endpoint.registry,
                    with_credentials,
                )
                .await);
        }
        Ok(false)
    }

    /// Opens an upload, or gets the blob mounted from another repository.
    async fn start(&self, with_mounts: bool) -> Result<Start> {
        let here = &self.endpoint.repository;
        let candidates = self.source.mount_candidates().iter();
        let candidates = candidates
            .filter(|from| with_mounts && from.as_str() != here)
            .take(MAX_MOUNTS);
        let digest = self.source.descriptor().digest;
        let mut unused: Option<Session> = None;
        for from in candidates {
            let path = self
                .endpoint
                .path(&format!("blobs/uploads/?mount={digest}&from={from}"));
            let scopes = self.endpoint.mount_scopes(from);
            let outcome = self
                .client
                .ask(
                    self.endpoint,
                    &Method::POST,
                    &path,
                    &empty_body(),
                    &scopes,
                    self.what,
                )
                .await;
            match outcome {
                Ok(answer) if answer.status() == StatusCode::CREATED => {
                    return Ok(Start::Mounted(from.clone()));
                }
                Ok(answer) => {
                    if let Some(session) = unused.take() {
                        self.cancel(session).await;
                    }
                    unused = Some(Self::session(&answer)?);
                }
                // A mount is a favour: whatever is wrong with it, the bytes can be sent.
                Err(error) => tracing::debug!(%digest, %from, %error, "mount refused"),
            }
        }
        if let Some(session) = unused {
            return Ok(Start::Open(session));
        }
        let path = self.endpoint.path("blobs/uploads/");
        let answer = self
            .client
            .ask(
                self.endpoint,
                &Method::POST,
                &path,
                &empty_body(),
                &self.scopes(),
                self.what,
            )
            .await?;
        Self::session(&answer).map(Start::Open)
    }

    fn session(answer: &Answer) -> Result<Session> {
        let least_chunk = answer.header(&CHUNK_MIN_LENGTH);
        Ok(Session {
            url: Self::location(answer)?.ok_or_else(|| ClientError::Rubbish {
                url: shown(answer.url()),
                reason: "it opened an upload without saying where (no Location header)".to_owned(),
            })?,
            offset: Some(0),
            least_chunk: least_chunk
                .and_then(|text| text.parse().ok())
                .unwrap_or_default(),
        })
    }

    /// `Location`, relative or absolute.
    ///
    /// A registry behind a proxy that ends TLS often says `http://` of itself; we stay with what works.
    fn location(answer: &Answer) -> Result<Option<Url>> {
        let Some(text) = answer.header(LOCATION) else {
            return Ok(None);
        };
        let base = answer.url();
        let rubbish = || ClientError::Rubbish {
            url: shown(base),
            reason: "its Location header is no URL".to_owned(),
        };
        let mut url = base.join(text).map_err(|_| rubbish())?;
        if url.scheme() == "http" && base.scheme() == "https" && url.host_str() == base.host_str() {
            url.set_scheme("https").map_err(|()| rubbish())?;
            if url.port() == Some(80) {
                url.set_port(None).map_err(|()| rubbish())?;
            }
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(rubbish());
        }
        Ok(Some(url))
    }

    /// Asks how much the registry has; false if it does not know the upload any more.
    async fn status(&self, session: &mut Session) -> Result<bool> {
        let call = self.call(Method::GET, HeaderMap::new(), None, &|_| {});
        let answer = self.send(session.url.clone(), call).await?;
        match answer.status() {
            StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::ACCEPTED => {}
            StatusCode::UNAUTHORIZED => {
                return Err(self.unauthorized(answer).await);
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(self.refuse(answer, &Method::GET).await);
            }
            _ => return Ok(false),
        }
        let Some(offset) = received(&answer).filter(|o| *o <= self.source.descriptor().size) else {
            return Ok(false);
        };
        session.offset = Some(offset);
        if let Some(url) = Self::location(&answer)? {
            session.url = url;
        }
        Ok(true)
    }

    /// Sends `length` bytes from `offset` on.
    async fn patch(&self, session: &mut Session, offset: u64, length: u64) -> Result<()> {
        let is_whole = offset == 0 && length == self.source.descriptor().size;
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        if !is_whole {
            let range = format!("{offset}-{}", offset + length - 1);
            headers.extend(
                HeaderValue::from_str(&range)
                    .ok()
                    .map(|range| (CONTENT_RANGE, range)),
            );
        }
        let answer = self
            .send_content(Method::PATCH, session.url.clone(), headers, offset, length)
            .await?;
        match answer.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => {
                session.offset = None;
                // The registry has another opinion of how much it has: ask, but not for ever.
                Err(ClientError::Interrupted {
                    what: self.what.to_owned(),
                    host: self.endpoint.host.clone(),
                    source: "the registry expects other bytes".into(),
                })
            }
            status if status.is_success() => {
                let expected = offset + length;
                session.offset = Some(match received(&answer) {
                    Some(got) if got > offset && got < expected => got,
                    _ => expected,
                });
                if let Some(url) = Self::location(&answer)? {
                    session.url = url;
                }
                answer.discard().await;
                Ok(())
            }
            StatusCode::UNAUTHORIZED => Err(self.unauthorized(answer).await),
            _ => Err(self.refuse(answer, &Method::PATCH).await),
        }
    }

    /// Ends the upload with the digest; with the whole content where `content_from` is set.
    async fn close(&self, session: &mut Session, content_from: Option<u64>) -> Result<()> {
        let descriptor = self.source.descriptor();
        let mut url = session.url.clone();
        url.query_pairs_mut()
            .append_pair("digest", &descriptor.digest.to_string());
        let answer = if let Some(offset) = content_from {
            let mut headers = HeaderMap::new();
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            );
            let length = descriptor.size - offset;
            self.send_content(Method::PUT, url, headers, offset, length)
                .await?
        } else {
            let mut call = self.call(Method::PUT, empty_body(), None, &|_| {});
            call.patience = self.patience_at_the_end();
            self.send(url, call).await?
        };
        match answer.status() {
            StatusCode::UNAUTHORIZED => Err(self.unauthorized(answer).await),
            status if status.is_success() => {
                answer.discard().await;
                Ok(())
            }
            _ => Err(self.refuse(answer, &Method::PUT).await),
        }
    }

    async fn cancel(&self, session: Session) {
        let call = self.call(Method::DELETE, HeaderMap::new(), None, &|_| {});
        // The registry sweeps what is left, so a failure does no harm.
        if let Ok(answer) = self.send(session.url, call).await {
            answer.discard().await;
        }
    }

    async fn send_content(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        offset: u64,
        length: u64,
    ) -> Result<Answer> {
        let descriptor = self.source.descriptor();
        let failure = Arc::new(Mutex::new(None));
        let (body, sent) = Content::start(self.source.clone(), offset, length, &failure);
        let on_sent = |bytes: u64| {
            self.observer.on_event(&TransferEvent::Progress {
                descriptor,
                done: offset + bytes,
            });
        };
        let upload = Upload {
            body: reqwest::Body::wrap(body),
            sent,
        };
        let mut call = self.call(method, headers, Some(upload), &on_sent);
        call.patience = self.patience_at_the_end();
        let outcome = self.send(url, call).await;
        // When our own file cannot be read, the broken request is only its echo.
        if let Some(source) = lock(&failure).take() {
            return Err(ClientError::Local {
                action: "read",
                what: self.what.to_owned(),
                source,
            });
        }
        outcome
    }

    fn call<'b>(
        &'b self,
        method: Method,
        headers: HeaderMap,
        body: Option<Upload>,
        on_sent: &'b (dyn Fn(u64) + Sync),
    ) -> Call<'b> {
        Call {
            method,
            headers,
            what: self.what,
            body,
            patience: self.client.config().stall_timeout,
            on_sent,
        }
    }

    /// A registry may have to copy and hash a large blob before it answers.
    fn patience_at_the_end(&self) -> Duration {
        self.client.config().stall_timeout * 5
    }

    async fn send(&self, url: Url, call: Call<'_>) -> Result<Answer> {
        let scopes = self.scopes();
        self.client
            .send_body(self.endpoint, url, &scopes, call)
            .await
    }

    /// A token that ran out in the middle is renewed, and the upload goes on.
    async fn unauthorized(&self, answer: Answer) -> ClientError {
        let is_ours = self.endpoint.is_at(answer.url());
        let renewed = if is_ours {
            self.client
                .renew(self.endpoint, &self.scopes(), &answer)
                .await
        } else {
            Ok(false)
        };
        match renewed {
            Ok(true) => {
                self.has_new_token.store(true, Ordering::Relaxed);
                ClientError::Interrupted {
                    what: self.what.to_owned(),
                    host: self.endpoint.host.clone(),
                    source: "the access token ran out".into(),
                }
            }
            Ok(false) => self.refuse(answer, &Method::PATCH).await,
            Err(error) => error,
        }
    }

    async fn refuse(&self, answer: Answer, method: &Method) -> ClientError {
        answer
            .refuse(method, self.what, &self.endpoint.registry, true)
            .await
    }

    fn scopes(&self) -> Scopes {
        self.endpoint.scopes("pull,push")
    }
}

impl Progress {
    /// Smaller chunks, if that makes a difference for the bytes that are left.
    fn shrink(&mut self, left: u64) -> bool {
        let next = match self.chunk {
            Some(chunk) => chunk / 4,
            None => FIRST_CHUNK_BYTES,
        };
        let mut next = next;
        while next >= left && next > LEAST_CHUNK_BYTES {
            next /= 4;
        }
        let helps = next >= LEAST_CHUNK_BYTES && next < left;
        if helps {
            self.chunk = Some(next);
        }
        helps
    }

    fn forget_offset(&mut self) {
        if let Some(session) = &mut self.session {
            session.offset = None;
        }
    }
}

/// Whether the upload is unknown to the registry, so that a new one must be opened.
fn is_unknown_upload(error: &ClientError) -> bool {
    match error {
        ClientError::NotFound { errors, .. } => errors.has("BLOB_UPLOAD_UNKNOWN"),
        ClientError::Status { errors, .. } => {
            errors.has("BLOB_UPLOAD_UNKNOWN") || errors.has("BLOB_UPLOAD_INVALID")
        }
        _ => false,
    }
}

/// Whether the registry got other bytes than the digest's; after going on in the middle that may be its mistake.
fn is_wrong_content(error: &ClientError) -> bool {
    matches!(error, ClientError::Status { errors, .. }
        if errors.has("DIGEST_INVALID") || errors.has("SIZE_INVALID"))
}

/// Bytes that the registry says it has: `Range: 0-<last byte>`; `0-0` stands for one byte or for none.
fn received(answer: &Answer) -> Option<u64> {
    let range = answer.header(RANGE)?.trim();
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let (_, last) = range.split_once('-')?;
    match last.trim().parse::<u64>().ok()? {
        0 => Some(0),
        last => last.checked_add(1),
    }
}

fn empty_body() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))])
}
