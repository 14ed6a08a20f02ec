//! A registry in this process that notes what it is asked and misbehaves on demand.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rbuild_image::{Digest, Reference};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    /// Which request with this method and path it is, from 1.
    pub(crate) number: usize,
}

impl Seen {
    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Answers instead of the registry, where it returns something.
type Fault = dyn Fn(&Seen) -> Option<Response> + Send + Sync;

/// Whom the registry lets in.
#[derive(Debug, Clone, Default)]
pub(crate) enum Access {
    #[default]
    Everybody,
    /// `name:password` with every request.
    Basic(&'static str),
    /// A token from `/token`.
    Bearer(Tokens),
}

/// How the token server behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    /// `name:password`; none gives tokens to everybody.
    pub(crate) account: Option<&'static str>,
    /// Identity token that POST takes, and that a login gets.
    pub(crate) identity: Option<&'static str>,
    /// How many requests a token is good for.
    pub(crate) uses: Option<usize>,
    /// GET is not there.
    pub(crate) only_post: bool,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) blobs: HashMap<(String, String), Vec<u8>>,
    pub(crate) manifests: HashMap<(String, String), (String, Vec<u8>)>,
    pub(crate) uploads: BTreeMap<String, Vec<u8>>,
    pub(crate) seen: Vec<Seen>,
    tokens: HashMap<String, usize>,
    pub(crate) no_ranges: bool,
    pub(crate) access: Access,
    pub(crate) token_requests: Vec<String>,
    fault: Option<Arc<Fault>>,
}

/// The registry; it ends with the value.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let router = Router::new()
            .fallback(move |request: Request| handle(Arc::clone(&shared), address, request));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            address,
            state,
            server,
        }
    }

    pub(crate) async fn with_access(access: Access) -> Self {
        let fake = Self::start().await;
        fake.state().access = access;
        fake
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn reference(&self, rest: &str) -> Reference {
        crate::support::reference(self.address, rest)
    }

    /// Puts a fault before the registry.
    pub(crate) fn fault(&self, fault: impl Fn(&Seen) -> Option<Response> + Send + Sync + 'static) {
        self.state().fault = Some(Arc::new(fault));
    }

    pub(crate) fn put_blob(&self, repository: &str, bytes: &[u8]) {
        let key = (repository.to_owned(), Digest::sha256(bytes).to_string());
        self.state().blobs.insert(key, bytes.to_vec());
    }

    pub(crate) fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) {
        let mut state = self.state();
        for name in [tag.to_owned(), Digest::sha256(bytes).to_string()] {
            let entry = (media_type.to_owned(), bytes.to_vec());
            state.manifests.insert((repository.to_owned(), name), entry);
        }
    }

    pub(crate) fn put_image(&self, repository: &str, tag: &str, image: &crate::support::Image) {
        for layer in &image.layers {
            self.put_blob(repository, layer);
        }
        self.put_blob(repository, image.config.bytes());
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        self.put_manifest(repository, tag, media_type, image.manifest.bytes());
    }

    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        let state = self.state();
        state.seen.iter().filter(|s| s.is(method, part)).count()
    }

    pub(crate) fn all(&self, method: &str, part: &str) -> Vec<Seen> {
        let state = self.state();
        let seen = state.seen.iter().filter(|s| s.is(method, part));
        seen.cloned().collect()
    }
}

/// An answer of any status with an error body as registries write them.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Response {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
    let json = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::from_u16(status).unwrap(), json, body).into_response()
}

async fn handle(state: Arc<Mutex<State>>, address: SocketAddr, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let seen = {
        let mut state = state.lock().unwrap();
        let number = 1 + state
            .seen
            .iter()
            .filter(|s| s.method == parts.method && s.path == path)
            .count();
        let seen = Seen {
            method: parts.method,
            path,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            number,
        };
        state.seen.push(seen.clone());
        seen
    };
    let fault = state.lock().unwrap().fault.clone();
    if let Some(answer) = fault.and_then(|fault| fault(&seen)) {
        return answer;
    }
    if seen.path == "/token" {
        let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
        return token(&mut state.lock().unwrap(), &seen, &body);
    }
    if let Some(refusal) = check_access(&mut state.lock().unwrap(), address, &seen) {
        return refusal;
    }
    // Bytes are kept as they come, so that what a broken upload has brought is there.
    if matches!(seen.method.as_str(), "PATCH" | "PUT") && seen.path.contains("/uploads/") {
        return receive(&state, &seen, body).await;
    }
    let body = to_bytes(body, 64 << 20).await.unwrap_or_default();
    answer(&mut state.lock().unwrap(), &seen, &body)
}

fn query(text: &str, name: &str) -> Option<String> {
    let url = format!("http://x/?{text}").parse::<reqwest::Url>().unwrap();
    let mut pairs = url.query_pairs();
    pairs.find(|(own, _)| own == name).map(|(_, v)| v.into())
}

fn basic(pair: &str) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(pair);
    format!("Basic {text}")
}

fn token(state: &mut State, seen: &Seen, body: &[u8]) -> Response {
    let Access::Bearer(tokens) = state.access.clone() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let form = String::from_utf8_lossy(body).into_owned();
    let is_post = seen.method == Method::POST;
    let asked = if is_post { &form } else { &seen.query };
    state
        .token_requests
        .push(format!("{} {asked}", seen.method));
    if !is_post && tokens.only_post {
        return StatusCode::NOT_FOUND.into_response();
    }
    let refresh = query(&form, "refresh_token");
    let is_known = if is_post && refresh.is_some() {
        refresh.as_deref() == tokens.identity
    } else if is_post {
        let pair = [query(&form, "username"), query(&form, "password")];
        let [Some(name), Some(password)] = pair else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        tokens.account == Some(&format!("{name}:{password}"))
    } else {
        let shown = seen.header("authorization");
        tokens.account.map(basic).as_deref() == shown
    };
    if !is_known {
        return error(401, "UNAUTHORIZED", "incorrect username or password");
    }
    let name = format!("secret-token-{}", state.token_requests.len());
    state
        .tokens
        .insert(name.clone(), tokens.uses.unwrap_or(usize::MAX));
    let key = if is_post { "access_token" } else { "token" };
    let mut answer = format!(r#"{{"{key}":"{name}","expires_in":300"#);
    if let (Some(identity), true) = (tokens.identity, asked.contains("offline")) {
        answer = format!(r#"{answer},"refresh_token":"{identity}""#);
    }
    answer.push('}');
    answer.into_response()
}

fn check_access(state: &mut State, address: SocketAddr, seen: &Seen) -> Option<Response> {
    let shown = seen.header("authorization").unwrap_or_default();
    let challenge = match state.access.clone() {
        Access::Everybody => return None,
        Access::Basic(pair) if shown == basic(pair) => return None,
        Access::Basic(_) => r#"Basic realm="fake""#.to_owned(),
        Access::Bearer(_) => {
            let token = shown.strip_prefix("Bearer ").unwrap_or_default();
            if let Some(uses) = state.tokens.get_mut(token)
                && *uses > 0
            {
                *uses -= 1;
                return None;
            }
            format!(r#"Bearer realm="http://{address}/token",service="fake""#)
        }
    };
    let mut refusal = error(401, "UNAUTHORIZED", "authentication required");
    refusal
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
    Some(refusal)
}

async fn receive(state: &Mutex<State>, seen: &Seen, body: Body) -> Response {
    use futures_util::StreamExt as _;
    let (repository, id) = seen.path.split_once("/blobs/uploads/").unwrap();
    let repository = repository.strip_prefix("/v2/").unwrap().to_owned();
    {
        let state = state.lock().unwrap();
        let Some(upload) = state.uploads.get(id) else {
            return error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload");
        };
        if let Some(range) = seen.header("content-range") {
            let start = range.split('-').next().unwrap().parse::<usize>().unwrap();
            if start != upload.len() {
                return error(416, "BLOB_UPLOAD_INVALID", "out of order");
            }
        }
    }
    let mut stream = body.into_data_stream();
    while let Some(Ok(piece)) = stream.next().await {
        let mut state = state.lock().unwrap();
        if let Some(upload) = state.uploads.get_mut(id) {
            upload.extend_from_slice(&piece);
        }
    }
    let mut state = state.lock().unwrap();
    if seen.method == Method::PATCH {
        let length = state.uploads.get(id).map_or(0, Vec::len);
        return upload_answer(202, &seen.path, length);
    }
    let bytes = state.uploads.remove(id).unwrap_or_default();
    let digest = query(&seen.query, "digest").unwrap_or_default();
    if Digest::sha256(&bytes).to_string() != digest {
        return error(400, "DIGEST_INVALID", "other bytes");
    }
    state.blobs.insert((repository, digest), bytes);
    StatusCode::CREATED.into_response()
}

/// The location is relative and has a query that must come back.
fn upload_answer(status: u16, path: &str, length: usize) -> Response {
    let location = format!("{path}?state=a%2Fb");
    let range = format!("0-{}", length.saturating_sub(1));
    let headers = [(header::LOCATION, location), (header::RANGE, range)];
    (StatusCode::from_u16(status).unwrap(), headers).into_response()
}

fn answer(state: &mut State, seen: &Seen, body: &[u8]) -> Response {
    let Some(rest) = seen.path.strip_prefix("/v2/") else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if rest.is_empty() {
        return "{}".into_response();
    }
    let is_upload = rest.contains("/blobs/uploads/");
    if is_upload && seen.method == Method::POST {
        return open_upload(state, seen, rest);
    }
    if is_upload {
        let id = seen.path.rsplit('/').next().unwrap_or_default();
        let known = state.uploads.get(id).map(Vec::len);
        return match (seen.method.as_str(), known) {
            ("GET", Some(length)) => upload_answer(204, &seen.path, length),
            ("DELETE", Some(_)) => {
                state.uploads.remove(id);
                StatusCode::NO_CONTENT.into_response()
            }
            _ => error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload"),
        };
    }
    if let Some((repository, digest)) = rest.split_once("/blobs/") {
        let key = (repository.to_owned(), digest.to_owned());
        return match state.blobs.get(&key) {
            Some(bytes) => blob(bytes, seen, state.no_ranges),
            None => error(404, "BLOB_UNKNOWN", "no such blob"),
        };
    }
    if let Some((repository, name)) = rest.split_once("/manifests/") {
        let key = (repository.to_owned(), name.to_owned());
        if seen.method == Method::PUT {
            let media_type = seen.header("content-type").unwrap_or_default().to_owned();
            state.manifests.insert(key, (media_type, body.to_vec()));
            return StatusCode::CREATED.into_response();
        }
        return match state.manifests.get(&key) {
            Some((media_type, bytes)) => {
                let digest = Digest::sha256(bytes).to_string();
                let headers = [
                    ("content-type", media_type.clone()),
                    ("docker-content-digest", digest),
                ];
                (headers, bytes.clone()).into_response()
            }
            None => error(404, "MANIFEST_UNKNOWN", "no such manifest"),
        };
    }
    StatusCode::NOT_FOUND.into_response()
}

fn open_upload(state: &mut State, seen: &Seen, rest: &str) -> Response {
    let repository = rest.split("/blobs/").next().unwrap_or_default().to_owned();
    if let (Some(digest), Some(from)) = (query(&seen.query, "mount"), query(&seen.query, "from"))
        && let Some(bytes) = state.blobs.get(&(from, digest.clone())).cloned()
    {
        state.blobs.insert((repository, digest), bytes);
        return StatusCode::CREATED.into_response();
    }
    let used: HashSet<&String> = state.uploads.keys().collect();
    let id = format!("u{}-{}", state.seen.len(), used.len());
    let answer = upload_answer(202, &format!("/v2/{repository}/blobs/uploads/{id}"), 0);
    state.uploads.insert(id, Vec::new());
    answer
}

fn blob(bytes: &[u8], seen: &Seen, no_ranges: bool) -> Response {
    let range = seen.header("range").filter(|_| !no_ranges);
    let Some(start) = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'))
    else {
        return bytes.to_vec().into_response();
    };
    let start: usize = start.parse().unwrap();
    let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
    let headers = [(header::CONTENT_RANGE, range)];
    let rest = bytes[start..].to_vec();
    (StatusCode::PARTIAL_CONTENT, headers, rest).into_response()
}
