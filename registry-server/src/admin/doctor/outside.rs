//! Requests to the outside address: exactly what a check says, nothing followed, nothing decoded.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error as _;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use http_body::{Frame, SizeHint};
use rbuild_image::{Algorithm, Digest, Hasher};
use rbuild_registry_client::{Secret, TlsProblem, hosts};
use reqwest::{Body, Certificate, Url, redirect};

use super::{DoctorError, Options};

/// The longest answer that is read; what is pushed to be read whole is shorter.
const ANSWER_BYTES: usize = 4 << 20;
/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);
/// The slowest line that is waited for while much is sent, in bytes per second.
const SLOWEST: u64 = 256 << 10;
const PIECE: usize = 64 << 10;

/// The registry as clients see it.
#[derive(Clone)]
pub(super) struct Outside {
    base: Url,
    checked: reqwest::Client,
    unchecked: reqwest::Client,
    /// Checks certificates, and speaks HTTP/2 where it is offered.
    modern: reqwest::Client,
    /// Whether the certificate is looked at; off once it was found to be wrong.
    pub(super) checks: bool,
    login: Option<(String, Secret)>,
}

/// An answer, as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    Broken(reqwest::Error),
    Late(Duration),
    Address,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(error) => {
                let mut cause = error.source();
                while let Some(next) = cause.and_then(std::error::Error::source) {
                    cause = Some(next);
                }
                match cause {
                    Some(cause) => write!(f, "{cause}"),
                    None => write!(f, "{error}"),
                }
            }
            Self::Late(time) => write!(f, "nothing came for {} s", time.as_secs()),
            Self::Address => f.write_str("the address is none"),
        }
    }
}

impl Failure {
    pub(super) fn tls(&self) -> Option<TlsProblem> {
        match self {
            Self::Broken(error) => TlsProblem::find(error),
            _ => None,
        }
    }

    /// Whether there was not even a connection.
    pub(super) fn is_connect(&self) -> bool {
        matches!(self, Self::Broken(error) if error.is_connect())
    }
}

impl Answer {
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn is_redirect(&self) -> bool {
        (300..400).contains(&self.status) && self.status != 304
    }

    /// The code of the first error in a body as the distribution API has them.
    pub(super) fn error_code(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(body["errors"][0]["code"].as_str()?.to_owned())
    }

    /// The status, and what the answer says about itself, for people.
    pub(super) fn describe(&self) -> String {
        let kind = self.header(header::CONTENT_TYPE).unwrap_or("no type");
        match self.error_code() {
            Some(code) => format!("{} {code}", self.status),
            None if self.body.is_empty() => self.status.to_string(),
            None => format!("{} ({kind})", self.status),
        }
    }
}

impl Outside {
    pub(super) fn new(options: &Options) -> Result<Self, DoctorError> {
        let wrong = |reason| DoctorError::Address {
            url: options.url.clone(),
            reason,
        };
        let text = if options.url.contains("://") {
            options.url.clone()
        } else {
            format!("https://{}", options.url)
        };
        let base = Url::parse(&text).map_err(|_| wrong("it cannot be read"))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(wrong("it begins with https:// or http://"));
        }
        let Some(host) = base.host_str() else {
            return Err(wrong("it names no host"));
        };
        if !matches!(base.path(), "/" | "/v2" | "/v2/") || base.query().is_some() {
            return Err(wrong(
                "clients know no path before /v2/: a registry needs a host name or a port of its own",
            ));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("a name is given with --username"));
        }
        let direct = hosts::is_loopback(host);
        let builder = || {
            let builder = reqwest::Client::builder()
                .user_agent(concat!(
                    "rbuild-registry-doctor/",
                    env!("CARGO_PKG_VERSION")
                ))
                .redirect(redirect::Policy::none())
                .connect_timeout(Duration::from_secs(20))
                // A connection that is kept may be closed at the other end just when it is used again,
                // and that would look like a fault of the proxy.
                .pool_max_idle_per_host(0)
                .tcp_nodelay(true);
            if direct { builder.no_proxy() } else { builder }
        };
        let mut authorities = Vec::new();
        for path in &options.authorities {
            let refuse = |reason: String| DoctorError::Certificates {
                path: path.clone(),
                reason,
            };
            let pem = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
            let found =
                Certificate::from_pem_bundle(&pem).map_err(|error| refuse(error.to_string()))?;
            if found.is_empty() {
                return Err(refuse("it holds no PEM certificate".to_owned()));
            }
            authorities.extend(found);
        }
        let start = |error| DoctorError::Local(std::io::Error::other(error));
        let checking = || {
            if base.scheme() == "http" {
                // Plain HTTP works on machines without any authority.
                builder().tls_certs_only([])
            } else {
                builder().tls_certs_merge(authorities.clone())
            }
        };
        Ok(Self {
            checked: checking().http1_only().build().map_err(start)?,
            unchecked: builder()
                .http1_only()
                .tls_certs_only([])
                .tls_danger_accept_invalid_certs(true)
                .build()
                .map_err(start)?,
            modern: checking().build().map_err(start)?,
            checks: true,
            login: options.login.clone(),
            base,
        })
    }

    /// The same by HTTP/2, and whether that is offered.
    pub(super) async fn modern(&self) -> Result<(Self, bool), Failure> {
        let modern = Self {
            checked: self.modern.clone(),
            ..self.clone()
        };
        let request = modern.request(Method::GET, "/v2/", &[], None)?;
        let answer = tokio::time::timeout(PATIENCE, request.send()).await;
        let answer = answer.map_err(|_| Failure::Late(PATIENCE))?;
        let version = answer.map_err(Failure::Broken)?.version();
        Ok((modern, version == Version::HTTP_2))
    }

    /// The address, for messages.
    pub(super) fn name(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    pub(super) const fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// Whether something answers in TLS at this address, whatever it is.
    pub(super) async fn speaks_tls(&self) -> bool {
        let mut url = self.base.clone();
        // A port of its own is kept: it is the one in question.
        if url.set_scheme("https").is_err() {
            return false;
        }
        self.unchecked.get(url).send().await.is_ok()
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.send(Method::GET, path, &[], None, PATIENCE).await
    }

    pub(super) async fn get_with(
        &self,
        path: &str,
        headers: &[(HeaderName, &str)],
    ) -> Result<Answer, Failure> {
        self.send(Method::GET, path, headers, None, PATIENCE).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Answer, Failure> {
        self.send(Method::DELETE, path, &[], None, PATIENCE).await
    }

    /// Sends a body that is in memory.
    pub(super) async fn put(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: impl Into<Body>,
    ) -> Result<Answer, Failure> {
        let headers = [(header::CONTENT_TYPE, kind)];
        self.send(method, path, &headers, Some(body.into()), PATIENCE)
            .await
    }

    /// Sends one request, and reads its whole answer.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Option<Body>,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let request = self.request(method, path, headers, body)?;
        let exchange = async {
            let mut answer = request.send().await.map_err(Failure::Broken)?;
            let mut bytes = Vec::new();
            while let Some(piece) = answer.chunk().await.map_err(Failure::Broken)? {
                bytes.extend_from_slice(&piece);
                if bytes.len() > ANSWER_BYTES {
                    break;
                }
            }
            Ok(Answer {
                status: answer.status().as_u16(),
                headers: answer.headers().clone(),
                body: bytes,
            })
        };
        match tokio::time::timeout(patience, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Late(patience)),
        }
    }

    /// Reads a long body and tells its digest.
    pub(super) async fn digest(&self, path: &str, size: u64) -> Result<(u16, Digest), Failure> {
        let request = self.request(Method::GET, path, &[], None)?;
        let exchange = async {
            let mut answer = request.send().await.map_err(Failure::Broken)?;
            let mut hasher = Algorithm::Sha256.hasher();
            while let Some(piece) = answer.chunk().await.map_err(Failure::Broken)? {
                hasher.update(&piece);
            }
            Ok((answer.status().as_u16(), hasher.finish()))
        };
        match tokio::time::timeout(patience(size), exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Late(patience(size))),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Option<Body>,
    ) -> Result<reqwest::RequestBuilder, Failure> {
        let url = Url::parse(&format!("{}{path}", self.name())).map_err(|_| Failure::Address)?;
        let client = if self.checks {
            &self.checked
        } else {
            &self.unchecked
        };
        let mut request = client.request(method, url);
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).map_err(|_| Failure::Address)?;
            request = request.header(name, value);
        }
        if let Some((name, password)) = &self.login {
            request = request.basic_auth(name, Some(password.expose()));
        }
        Ok(match body {
            Some(body) => request.body(body),
            None => request,
        })
    }
}

/// How long it may take to send or get so many bytes.
pub(super) fn patience(bytes: u64) -> Duration {
    PATIENCE + Duration::from_secs(bytes / SLOWEST)
}

/// So many bytes that no proxy can compress, the same ones for the same seed.
#[derive(Debug, Clone)]
pub(super) struct Noise {
    left: u64,
    state: u64,
    /// Whether the length is told; otherwise the body is sent in chunks.
    told: bool,
}

impl Noise {
    pub(super) const fn new(seed: u64, bytes: u64, told: bool) -> Self {
        Self {
            left: bytes,
            state: seed | 1,
            told,
        }
    }

    /// A seed that nobody else has, so that no other push has stored these bytes.
    pub(super) fn seed() -> u64 {
        let mut bytes = [0; 8];
        // Without it the content is the same each time, which harms nothing.
        let _ = getrandom::fill(&mut bytes);
        u64::from_ne_bytes(bytes)
    }

    fn piece(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE);
        if length == 0 {
            return None;
        }
        self.left -= length as u64;
        let mut piece = Vec::with_capacity(length + 8);
        while piece.len() < length {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            piece.extend_from_slice(&self.state.to_le_bytes());
        }
        piece.truncate(length);
        Some(piece.into())
    }

    pub(super) fn digest(&self) -> Digest {
        let mut copy = self.clone();
        let mut hasher: Hasher = Algorithm::Sha256.hasher();
        while let Some(piece) = copy.piece() {
            hasher.update(&piece);
        }
        hasher.finish()
    }

    pub(super) fn body(self) -> Body {
        Body::wrap(self)
    }
}

impl http_body::Body for Noise {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.piece().map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.told {
            SizeHint::with_exact(self.left)
        } else {
            SizeHint::default()
        }
    }
}

/// A body in chunks whose pieces come when they are due: after each there is this pause.
pub(super) fn paced(pieces: usize, bytes: usize, pause: Duration) -> Body {
    let pieces: VecDeque<Bytes> = (0..pieces)
        .map(|_| Bytes::from(vec![b'.'; bytes]))
        .collect();
    let stream = futures_util::stream::iter(pieces).then(move |piece| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, Infallible>(piece)
    });
    Body::wrap_stream(stream)
}
