//! The distribution API over HTTP: reads requests, calls the registry on blocking threads, writes answers.
//!
//! One function takes every request: [`route::Endpoint::parse`] reads its path, and the method picks the handler.
//! Handlers translate and decide nothing.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};

use crate::service::Registry;
use access::{AccessLog, Line};
use error::ApiError;
use files::Files;
use metrics::Metrics;
use query::Query;
use rate::Rate;
use receive::Incoming;
use route::{Endpoint, Kind};

pub use access::Peer;
pub use axum::Router;
pub use axum::response::Response;

mod access;
mod blobs;
mod cold;
pub mod error;
mod files;
pub(crate) mod headers;
mod manifests;
mod mapping;
mod metrics;
mod pace;
mod parts;
mod patience;
pub(crate) mod query;
pub mod range;
mod rate;
mod receive;
mod referrers;
pub mod route;
mod send;
mod stamp;
pub mod stream;
mod tags;
mod uploads;
mod warning;

/// Longest address of a request, in bytes.
const URI_BYTES: usize = 16 << 10;

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");

/// What handlers need.
#[derive(Debug, Clone)]
struct App {
    registry: Registry,
    files: Files,
    /// Whether connections are [`stream::Stream`]s, which send mapped files without reading them.
    sends_files: bool,
    metrics: Arc<Metrics>,
    access: Option<AccessLog>,
    rate: Option<Arc<Rate>>,
    ids: Arc<RequestIds>,
}

/// Names for requests: different within a process, and most likely between processes.
#[derive(Debug)]
struct RequestIds {
    process: u32,
    next: AtomicU64,
}

impl RequestIds {
    fn next(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}-{number:08x}", self.process)
    }
}

/// What a handler gets of a request, besides its endpoint and its body.
struct Call {
    method: Method,
    headers: HeaderMap,
    query: Query,
}

/// The API of a registry, as a service.
#[derive(Debug, Clone)]
pub struct Api(App);

impl Api {
    /// The API of this registry. Each request is logged to `access`, if given.
    pub fn new(registry: Registry, access: Option<Box<dyn Write + Send>>) -> io::Result<Self> {
        let process = std::process::id() ^ rand_seed()?;
        let per_second = registry.limits().requests_per_second;
        Ok(Self(App {
            rate: (per_second > 0).then(|| Arc::new(Rate::new(per_second))),
            registry,
            files: Files::default(),
            sends_files: false,
            metrics: Arc::default(),
            access: access.map(AccessLog::new).transpose()?,
            ids: Arc::new(RequestIds {
                process,
                next: AtomicU64::new(0),
            }),
        }))
    }

    /// For connections of any kind.
    pub fn router(&self) -> Router {
        router(self.0.clone())
    }

    /// For connections that are [`stream::Stream`]s: blobs are sent by the kernel.
    pub fn stream_router(&self) -> Router {
        router(App {
            sends_files: true,
            ..self.0.clone()
        })
    }

    /// The metrics, for a listener of their own.
    pub fn metrics_router(&self) -> Router {
        let app = Arc::new(self.0.clone());
        Router::new()
            .route("/metrics", axum::routing::get(metrics_text))
            .with_state(app)
    }

    /// Counts what a collection did.
    pub fn count_collected(&self, collected: &crate::service::Collected) {
        self.0.metrics.collected(collected);
    }

    /// Closes files that nobody asked for lately, forgets addresses; to be called every few seconds.
    pub fn expire(&self) {
        self.0.files.expire();
        if let Some(rate) = &self.0.rate {
            rate.expire(Instant::now());
        }
    }
}

fn rand_seed() -> io::Result<u32> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u32::from_ne_bytes(bytes))
}

fn router(app: App) -> Router {
    Router::new().fallback(dispatch).with_state(Arc::new(app))
}

async fn metrics_text(State(app): State<Arc<App>>) -> Response {
    let (registry, metrics) = (app.registry.clone(), Arc::clone(&app.metrics));
    let body = blocking(move || Ok(metrics.render(&registry))).await;
    match body {
        Ok(body) => (
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            body,
        )
            .into_response(),
        Err(error) => error.into_response(),
    }
}

/// Takes every request: answers it, names it, counts it and logs it.
async fn dispatch(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    let began = Instant::now();
    let _under_way = app.metrics.begin();
    let id = app.ids.next();
    let log = app.access.as_ref().map(|access| {
        let peer = request.extensions().get::<Peer>().copied();
        (
            access,
            peer,
            request.uri().clone(),
            request.headers().get(header::USER_AGENT).cloned(),
        )
    });
    let method = request.method().clone();
    let received = headers::content_length(request.headers()).unwrap_or(0);
    let namespace = namespace(request.uri());
    let mut kind = Kind::Other;
    let mut response = match answer(&app, request, &mut kind).await {
        Ok(response) => response,
        Err(error) => {
            if let Some(cause) = error.cause() {
                tracing::error!(request = id, cause, "a request failed");
            }
            error.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(namespace) = namespace {
        headers.insert(NAMESPACE, namespace);
    }
    if method == Method::HEAD && !response.status().is_success() {
        // An error's text has no place in the answer to HEAD.
        let (mut parts, _) = response.into_parts();
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        response = Response::from_parts(parts, Body::empty());
    }
    let status = response.status().as_u16();
    let sent = http_body::Body::size_hint(response.body())
        .exact()
        .unwrap_or(0);
    let took = began.elapsed();
    app.metrics.count(kind, status, took, sent, received);
    if let Some((access, peer, uri, agent)) = log {
        access.write(&Line {
            id: &id,
            peer,
            method: &method,
            uri: &uri,
            agent: agent.as_ref(),
            status,
            sent,
            took,
        });
    }
    response
}

/// The registry that a mirror asks for (`ns=`), to be named in the answer.
fn namespace(uri: &http::Uri) -> Option<HeaderValue> {
    let query = uri.query().filter(|query| query.contains("ns="))?;
    let query = Query::parse(Some(query)).ok()?;
    HeaderValue::try_from(query.get("ns")?).ok()
}

async fn answer(app: &App, request: Request<Body>, kind: &mut Kind) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    // Made first, so that an early answer lets the client finish sending.
    let body = Incoming::new(&parts.headers, body, app.registry.limits().body_rate);
    check_framing(&parts)?;
    let uri = &parts.uri;
    if uri.path().len() + uri.query().map_or(0, str::len) > URI_BYTES {
        return Err(ApiError::uri_too_long());
    }
    if let (Some(rate), Some(Peer(peer))) = (&app.rate, parts.extensions.get())
        && !matches!(uri.path(), "/healthz" | "/readyz")
    {
        rate.take(peer.ip(), Instant::now())
            .map_err(ApiError::too_many_requests)?;
    }
    let limit = app.registry.limits().head_bytes;
    if head_length(&parts) > limit {
        return Err(ApiError::head_too_long(limit));
    }
    let endpoint =
        Endpoint::parse(uri.path()).map_err(|error| missing(&parts.method, uri.path(), error))?;
    *kind = endpoint.kind();
    let query = Query::parse(uri.query())?;
    let call = Call {
        method: parts.method,
        headers: parts.headers,
        query,
    };
    match endpoint {
        Endpoint::Root => read_only(&call, || Ok(json("{}".to_owned()))),
        Endpoint::Health => read_only(&call, || Ok(text("ok\n"))),
        Endpoint::Ready => ready(app, &call).await,
        Endpoint::Catalog => tags::catalog(app, &call).await,
        Endpoint::Tags(repository) => tags::list(app, &call, repository).await,
        Endpoint::Referrers(repository, digest) => {
            referrers::list(app, &call, repository, digest).await
        }
        Endpoint::Blob(repository, digest) => blobs::answer(app, call, repository, digest).await,
        Endpoint::Uploads(repository) => uploads::start(app, call, body, repository).await,
        Endpoint::Upload(repository, id) => uploads::answer(app, call, body, repository, id).await,
        Endpoint::Manifest(repository, name) => {
            manifests::answer(app, call, body, repository, name).await
        }
    }
}

/// Refuses heads that a proxy before us may have read differently (RFC 9112, 3.2 and 6.1):
/// not exactly one `Host`, or a body that is coded in any way but in chunks, once.
fn check_framing(parts: &http::request::Parts) -> Result<(), ApiError> {
    let hosts = parts.headers.get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && parts.version == Version::HTTP_11) {
        return Err(ApiError::head_invalid(
            "a request has exactly one `Host` header; send it again with one",
        ));
    }
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    let first = codings.next();
    let chunked = first.is_none_or(|coding| {
        coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    });
    if !chunked || codings.next().is_some() {
        return Err(ApiError::head_invalid(
            "the only `Transfer-Encoding` that is taken is `chunked`, once; send the body as it is",
        ));
    }
    Ok(())
}

/// Bytes of a request's head, as far as the client chose them.
fn head_length(parts: &http::request::Parts) -> usize {
    let address = parts.uri.path().len() + parts.uri.query().map_or(0, str::len);
    let headers = parts.headers.iter();
    // `: ` and the end of the line.
    address
        + headers
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum::<usize>()
}

/// Who asks for a tag that cannot exist learns that it does not exist.
fn missing(method: &Method, path: &str, error: ApiError) -> ApiError {
    if error.code() == "MANIFEST_INVALID" && *method != Method::PUT {
        let name = path.rsplit('/').next().unwrap_or_default();
        // As much as a tag may have.
        let name = name.chars().take(128).collect();
        crate::service::Error::ManifestUnknown(name).into()
    } else {
        error
    }
}

fn read_only(
    call: &Call,
    response: impl FnOnce() -> Result<Response, ApiError>,
) -> Result<Response, ApiError> {
    match call.method {
        Method::GET | Method::HEAD => response(),
        _ => Err(ApiError::method_not_allowed("GET, HEAD")),
    }
}

async fn ready(app: &App, call: &Call) -> Result<Response, ApiError> {
    let registry = app.registry.clone();
    let state = blocking(move || registry.check_ready()).await;
    read_only(call, || match state {
        Ok(()) => Ok(text("ready\n")),
        Err(error) => Err(error.not_ready()),
    })
}

/// Runs a call of the registry where it may block.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> crate::service::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(ApiError::internal(error.to_string())),
    }
}

fn json(body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

fn text(body: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Sets a header whose value is made of characters that a header may have: digests, names, numbers.
fn set(response: &mut Response, name: HeaderName, value: impl AsRef<str>) {
    if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
        response.headers_mut().append(name, value);
    }
}
