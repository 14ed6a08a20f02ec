//! One request, one answer: schemes, certificates, redirects, silence. Knows nothing of tokens and images.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, DATE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};
use reqwest::{Body, Certificate, Url, redirect};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::error::{cause_text, printable};
use crate::hosts::{Schemes, is_loopback};
use crate::retry::parse_retry_after;
use crate::{
    ClientConfig, ClientError, RegistryErrors, RegistryWarning, Result, TlsProblem, warning,
};

const MAX_REDIRECTS: usize = 10;
const MAX_ERROR_BODY_BYTES: usize = 64 << 10;

/// Sends requests.
pub(crate) struct Transport {
    config: Arc<ClientConfig>,
    clients: Mutex<HashMap<Trust, reqwest::Client>>,
    schemes: Mutex<HashMap<String, &'static str>>,
    warnings: Mutex<Vec<RegistryWarning>>,
}

/// What kind of connections a client of reqwest makes; there is one client for each kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Trust {
    /// Plain HTTP; needs no certificates, so it works where the machine has none.
    Plain { direct: bool },
    /// TLS without checking.
    Unverified { direct: bool },
    /// TLS with the system's authorities and these files.
    Verified { ca: Vec<PathBuf>, direct: bool },
}

/// A request without a body, or with one that can be sent once.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    /// What is asked for, for messages.
    pub(crate) what: &'a str,
    pub(crate) body: Option<Upload>,
    /// How long the registry may take to answer once everything is sent.
    pub(crate) patience: Duration,
    pub(crate) on_sent: &'a (dyn Fn(u64) + Sync),
}

/// A body that tells how much of it was sent.
pub(crate) struct Upload {
    pub(crate) body: Body,
    pub(crate) sent: watch::Receiver<u64>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl Transport {
    pub(crate) fn new(config: Arc<ClientConfig>) -> Self {
        Self {
            config,
            clients: Mutex::default(),
            schemes: Mutex::default(),
            warnings: Mutex::default(),
        }
    }

    /// Sends a request without a body to a host, by the scheme that works there, and follows redirects.
    pub(crate) async fn call(
        &self,
        host: &str,
        path: &str,
        method: &Method,
        headers: &HeaderMap,
        what: &str,
    ) -> Result<Answer> {
        let mut first_error = None;
        let mut odd_answer = None;
        let schemes = self.schemes_to_try(host);
        for (index, scheme) in schemes.iter().enumerate() {
            let is_last = index + 1 == schemes.len();
            let text = format!("{scheme}://{host}{path}");
            let url = Url::parse(&text).map_err(|_| ClientError::Address { text })?;
            match self.follow(url, method, headers, what).await {
                // A TLS server answers a plain request with 400 and a sentence, not with a registry's JSON.
                Ok(answer)
                    if !is_last
                        && *scheme == "http"
                        && answer.status() == StatusCode::BAD_REQUEST
                        && !answer.is_json() =>
                {
                    odd_answer = Some(answer);
                }
                Ok(answer) => {
                    lock(&self.schemes).insert(host.to_owned(), scheme);
                    return Ok(answer);
                }
                Err(error) if !is_last && may_be_wrong_scheme(&error) => {
                    first_error = Some(error);
                }
                Err(error) => match (odd_answer, first_error) {
                    (Some(answer), _) => return Ok(answer),
                    (None, first) => return Err(first.unwrap_or(error)),
                },
            }
        }
        Err(first_error.unwrap_or_else(|| ClientError::Address {
            text: host.to_owned(),
        }))
    }

    /// What registries have warned of since the last call.
    pub(crate) fn take_warnings(&self) -> Vec<RegistryWarning> {
        std::mem::take(&mut lock(&self.warnings))
    }

    /// The scheme that has worked for a host.
    pub(crate) fn scheme_of(&self, host: &str) -> Option<&'static str> {
        lock(&self.schemes).get(host).copied()
    }

    fn schemes_to_try(&self, host: &str) -> Vec<&'static str> {
        if let Some(scheme) = self.scheme_of(host) {
            return vec![scheme];
        }
        match self.config.hosts.schemes(rule_name(host)) {
            Schemes::Https => vec!["https"],
            Schemes::Http => vec!["http"],
            Schemes::HttpsThenHttp => vec!["https", "http"],
            Schemes::HttpThenHttps => vec!["http", "https"],
        }
    }

    /// Sends a request without a body and follows redirects. Authorization goes to the first host alone.
    pub(crate) async fn follow(
        &self,
        url: Url,
        method: &Method,
        headers: &HeaderMap,
        what: &str,
    ) -> Result<Answer> {
        let mut headers = headers.clone();
        let mut url = url;
        for _ in 0..=MAX_REDIRECTS {
            let call = Call {
                method: method.clone(),
                headers: headers.clone(),
                what,
                body: None,
                patience: self.config.stall_timeout,
                on_sent: &|_| {},
            };
            let answer = self.send(url.clone(), call).await?;
            let follows = matches!(answer.status().as_u16(), 301 | 302 | 307 | 308)
                && (method == Method::GET || method == Method::HEAD || method == Method::POST)
                && !(method == Method::POST && matches!(answer.status().as_u16(), 301 | 302));
            let Some(location) = answer.header(LOCATION).filter(|_| follows) else {
                return Ok(answer);
            };
            let next = url.join(location).map_err(|_| ClientError::Rubbish {
                url: shown(&url),
                reason: "it redirects to something that is no URL".to_owned(),
            })?;
            if !matches!(next.scheme(), "http" | "https") {
                return Err(ClientError::Rubbish {
                    url: shown(&url),
                    reason: format!("it redirects to a `{}:` URL", next.scheme()),
                });
            }
            if next.origin() != url.origin() {
                headers.remove(AUTHORIZATION);
            }
            url = next;
        }
        Err(ClientError::Rubbish {
            url: shown(&url),
            reason: format!("it redirects more than {MAX_REDIRECTS} times"),
        })
    }

    /// Sends one request to one URL.
    pub(crate) async fn send(&self, url: Url, call: Call<'_>) -> Result<Answer> {
        let host = authority(&url);
        let client = self.client_for(&url, &host)?;
        let mut request = client.request(call.method, url).headers(call.headers);
        let mut sent = None;
        if let Some(upload) = call.body {
            request = request.body(upload.body);
            sent = Some(upload.sent);
        }
        let mut answer = std::pin::pin!(request.send());
        let answer = loop {
            let progress = async {
                match &mut sent {
                    // An error: the body is gone, nothing more will be sent.
                    Some(sent) => match sent.changed().await {
                        Ok(()) => Some(*sent.borrow_and_update()),
                        Err(_) => None,
                    },
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                answer = &mut answer => break answer,
                bytes = progress => match bytes {
                    Some(bytes) => (call.on_sent)(bytes),
                    None => sent = None,
                },
                () = sleep(call.patience) => {
                    return Err(ClientError::Timeout {
                        what: call.what.to_owned(),
                        host,
                        after: call.patience,
                    });
                }
            }
        };
        match answer {
            Ok(inner) => {
                warning::note(&mut lock(&self.warnings), &host, inner.headers());
                Ok(Answer {
                    inner,
                    host,
                    stall_timeout: self.config.stall_timeout,
                })
            }
            Err(error) => Err(explain(error, &host, call.what)),
        }
    }

    fn client_for(&self, url: &Url, host: &str) -> Result<reqwest::Client> {
        let name = rule_name(host);
        // Like other container tools: a proxy is of no use on the way to oneself.
        let direct = is_loopback(host);
        let trust = if url.scheme() == "http" {
            Trust::Plain { direct }
        } else if self.config.hosts.verifies(name) {
            let ca = self.config.hosts.rule(name).ca;
            Trust::Verified { ca, direct }
        } else {
            Trust::Unverified { direct }
        };
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get(&trust) {
            return Ok(client.clone());
        }
        let client = self.build(&trust, host)?;
        clients.insert(trust, client.clone());
        Ok(client)
    }

    fn build(&self, trust: &Trust, host: &str) -> Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .user_agent(&self.config.user_agent)
            .redirect(redirect::Policy::none())
            .connect_timeout(self.config.connect_timeout)
            .pool_max_idle_per_host(self.config.parallel.max(1))
            .tcp_nodelay(true);
        let direct = match trust {
            Trust::Plain { direct } => {
                builder = builder.tls_certs_only([]);
                *direct
            }
            Trust::Unverified { direct } => {
                builder = builder.tls_danger_accept_invalid_certs(true);
                *direct
            }
            Trust::Verified { ca, direct } => {
                let mut certificates = Vec::new();
                for path in ca {
                    certificates.extend(read_certificates(path)?);
                }
                builder = builder.tls_certs_merge(certificates);
                *direct
            }
        };
        if direct {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| {
            let problem = if cause_text(&error).contains("No CA certificates") {
                TlsProblem::NoAuthorities
            } else {
                TlsProblem::Other
            };
            ClientError::Tls {
                host: host.to_owned(),
                problem,
                source: error.without_url().into(),
            }
        })
    }
}

fn read_certificates(path: &std::path::Path) -> Result<Vec<Certificate>> {
    let refuse = |reason: String| ClientError::Certificates {
        path: path.to_owned(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let certificates =
        Certificate::from_pem_bundle(&pem).map_err(|error| refuse(cause_text(&error)))?;
    if certificates.is_empty() {
        return Err(refuse("it holds no PEM certificate".to_owned()));
    }
    Ok(certificates)
}

/// An answer whose body has not been read.
pub(crate) struct Answer {
    inner: reqwest::Response,
    host: String,
    stall_timeout: Duration,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.inner.status()
    }

    pub(crate) fn url(&self) -> &Url {
        self.inner.url()
    }

    /// The value of a header that is readable text.
    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// `Content-Length` as written; also of an answer to HEAD.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header(http::header::CONTENT_LENGTH)?.parse().ok()
    }

    /// `Content-Type` without parameters, in lower case.
    pub(crate) fn content_type(&self) -> Option<String> {
        let text = self.header(http::header::CONTENT_TYPE)?;
        let text = text.split(';').next().unwrap_or(text).trim();
        (!text.is_empty()).then(|| text.to_ascii_lowercase())
    }

    pub(crate) fn is_json(&self) -> bool {
        self.content_type()
            .is_some_and(|text| text.ends_with("json"))
    }

    /// `Retry-After`.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        parse_retry_after(self.header(RETRY_AFTER)?, self.header(DATE))
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self, what: &str) -> Result<Option<Bytes>> {
        match timeout(self.stall_timeout, self.inner.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(ClientError::Interrupted {
                what: what.to_owned(),
                host: self.host.clone(),
                source: error.without_url().into(),
            }),
            Err(_) => Err(ClientError::Timeout {
                what: what.to_owned(),
                host: self.host.clone(),
                after: self.stall_timeout,
            }),
        }
    }

    /// The whole body, refused if it is larger than `limit` bytes.
    pub(crate) async fn bytes(mut self, what: &str, limit: u64) -> Result<Vec<u8>> {
        let too_large = || ClientError::TooLarge {
            what: what.to_owned(),
            limit,
        };
        if self.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(what).await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > limit {
                return Err(too_large());
            }
        }
        Ok(bytes)
    }

    /// Reads the body and throws it away, so that the connection can be used again.
    pub(crate) async fn discard(self) {
        drop(self.error_body().await);
    }

    /// Turns an answer that is no success into an error.
    pub(crate) async fn refuse(
        self,
        method: &Method,
        what: &str,
        registry: &str,
        with_credentials: bool,
    ) -> ClientError {
        let status = self.status().as_u16();
        let url = shown(self.url());
        let retry_after = self.retry_after();
        let errors = RegistryErrors::parse(&self.error_body().await);
        let what = what.to_owned();
        let registry = registry.to_owned();
        match status {
            401 => ClientError::Unauthorized {
                what,
                registry,
                with_credentials,
                errors,
            },
            403 => ClientError::Denied {
                what,
                registry,
                errors,
            },
            404 => ClientError::NotFound {
                what,
                registry,
                errors,
            },
            429 => ClientError::RateLimited {
                registry,
                retry_after,
                errors,
            },
            _ => ClientError::Status {
                what,
                status,
                method: method.to_string(),
                url,
                errors,
            },
        }
    }

    /// The start of an error body; nothing if it does not come.
    async fn error_body(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Ok(Some(chunk)) = self.chunk("an error message").await {
            let room = MAX_ERROR_BODY_BYTES - bytes.len();
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                break;
            }
        }
        bytes
    }
}

/// A URL for people: without user, password, query and fragment, where secrets may be.
pub(crate) fn shown(url: &Url) -> String {
    printable(
        &format!("{}://{}{}", url.scheme(), authority(url), url.path()),
        300,
    )
}

/// Host, and port where it is not the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The name under which rules for a host are written.
fn rule_name(host: &str) -> &str {
    if host == crate::client::DOCKER_HUB_HOST {
        rbuild_image::reference::DEFAULT_REGISTRY
    } else {
        host
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The maps behind our mutexes are whole after every single call on them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn may_be_wrong_scheme(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Tls { .. } | ClientError::Connect { .. } | ClientError::Interrupted { .. }
    )
}

fn has_io_kind(error: &reqwest::Error, kinds: &[io::ErrorKind]) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(error) = cause.downcast_ref::<io::Error>()
            && kinds.contains(&error.kind())
        {
            return true;
        }
        next = cause.source();
    }
    false
}

/// Sorts an error of reqwest into ours.
fn explain(error: reqwest::Error, host: &str, what: &str) -> ClientError {
    let text = cause_text(&error);
    let problem = TlsProblem::find(&error);
    let is_connect = error.is_connect();
    let is_timeout = error.is_timeout();
    let refused = has_io_kind(&error, &[io::ErrorKind::ConnectionRefused]);
    let broken_handshake = has_io_kind(
        &error,
        &[io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset],
    );
    let host = host.to_owned();
    let source = error.without_url().into();
    let tls = |problem, source| ClientError::Tls {
        host: host.clone(),
        problem,
        source,
    };
    if text.contains("dns error") || text.contains("failed to lookup address") {
        return ClientError::NoSuchHost { host, source };
    }
    // Words about certificates in what breaks later are somebody else's.
    let counts = |problem: &TlsProblem| {
        is_connect || *problem == TlsProblem::NotTls || text.contains("invalid peer certificate")
    };
    if let Some(problem) = problem.filter(counts) {
        return tls(problem, source);
    }
    if is_timeout {
        return ClientError::Connect { host, source };
    }
    if is_connect && !refused && broken_handshake {
        return tls(TlsProblem::Other, source);
    }
    if is_connect {
        return ClientError::Connect { host, source };
    }
    ClientError::Interrupted {
        what: what.to_owned(),
        host,
        source,
    }
}
