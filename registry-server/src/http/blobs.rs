//! Blobs by digest.

use std::ops::Range;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use rbuild_image::{Digest, RepositoryName};
use serde_json::json;

use super::error::ApiError;
use super::headers::{has_version, header_text};
use super::range::{Wanted, wanted};
use super::{App, Call, DIGEST, blocking, empty, json, parts, send, set};
use crate::metadata::Freed;

pub(super) async fn answer(
    app: &App,
    call: Call,
    repository: RepositoryName,
    digest: Digest,
) -> Result<Response, ApiError> {
    let registry = app.registry.clone();
    match call.method {
        Method::HEAD => {
            let blob = blocking(move || registry.stat_blob(&repository, &digest)).await?;
            let mut response = empty(StatusCode::OK);
            describe(&mut response, digest);
            set(&mut response, header::CONTENT_LENGTH, blob.size.to_string());
            Ok(response)
        }
        Method::GET => get(app, &call, repository, digest).await,
        Method::DELETE => {
            let freed_bytes = blocking(move || registry.delete_blob(&repository, &digest)).await?;
            Ok(freed(freed_bytes))
        }
        _ => Err(ApiError::method_not_allowed("GET, HEAD, DELETE")),
    }
}

async fn get(
    app: &App,
    call: &Call,
    repository: RepositoryName,
    digest: Digest,
) -> Result<Response, ApiError> {
    // A look-up in the page cache costs less than a change of thread.
    let found = app.registry.find_blob(&repository, &digest)?;
    let size = found.blob.size;
    if has_version(&call.headers, &etag(digest)) {
        let mut response = empty(StatusCode::NOT_MODIFIED);
        describe(&mut response, digest);
        return Ok(response);
    }
    // A range of another version than the one that is here is answered with all of it.
    let same =
        header_text(&call.headers, &header::IF_RANGE).is_none_or(|version| version == etag(digest));
    let asked = header_text(&call.headers, &header::RANGE).filter(|_| same);
    let (status, range) = match wanted(asked, size) {
        Wanted::All => (StatusCode::OK, 0..size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Parts(ranges) => {
            let (app, held) = (app.clone(), found.content.map(Bytes::from));
            return several(app, digest, size, held, ranges).await;
        }
        Wanted::Unsatisfiable => return Err(ApiError::no_such_part(size)),
    };
    let length = range.end - range.start;
    let place = format!(
        "bytes {}-{}/{size}",
        range.start,
        range.end.saturating_sub(1)
    );
    let body = match found.content {
        Some(bytes) => Body::from(cut(&bytes.into(), range)),
        None => stored(app, digest, range).await?,
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    describe(&mut response, digest);
    set(&mut response, header::CONTENT_LENGTH, length.to_string());
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut response, header::CONTENT_RANGE, place);
    }
    Ok(response)
}

/// Several ranges; `held` is the whole blob, if it is in memory.
async fn several(
    app: App,
    digest: Digest,
    size: u64,
    held: Option<Bytes>,
    ranges: Vec<Range<u64>>,
) -> Result<Response, ApiError> {
    let content = move |range: Range<u64>| {
        let (app, held) = (app.clone(), held.clone());
        async move {
            match held {
                Some(bytes) => Ok(Body::from(cut(&bytes, range))),
                None => stored(&app, digest, range).await,
            }
        }
    };
    let parts = parts::parts(digest, size, ranges, content).await?;
    let mut response = Response::new(parts.body);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    describe(&mut response, digest);
    set(
        &mut response,
        header::CONTENT_LENGTH,
        parts.length.to_string(),
    );
    if let Ok(content_type) = HeaderValue::from_str(&parts.content_type) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
    }
    Ok(response)
}

/// A part of a blob that is a file.
async fn stored(app: &App, digest: Digest, range: Range<u64>) -> Result<Body, ApiError> {
    if app.sends_files
        && let Some(mapping) = app.files.get(&digest)
    {
        return Ok(Body::from(cut(&mapping.bytes(), range)));
    }
    let registry = app.registry.clone();
    if !app.sends_files {
        let (file, _) = blocking(move || registry.open_stored_file(&digest)).await?;
        return send::body(file, range).map_err(|error| ApiError::internal(error.to_string()));
    }
    let files = app.files.clone();
    let mapping = blocking(move || {
        let (file, size) = registry.open_stored_file(&digest)?;
        let length = usize::try_from(size).map_err(std::io::Error::other)?;
        Ok(files.insert(digest, file, length)?)
    })
    .await?;
    Ok(Body::from(cut(&mapping.bytes(), range)))
}

/// The part of what is in memory; both ends are at most its length.
fn cut(bytes: &Bytes, range: Range<u64>) -> Bytes {
    let bound = |end: u64| usize::try_from(end).unwrap_or(bytes.len()).min(bytes.len());
    bytes.slice(bound(range.start)..bound(range.end))
}

/// The headers that every answer about a blob has.
fn describe(response: &mut Response, digest: Digest) {
    set(response, DIGEST, digest.to_string());
    set(response, header::ETAG, etag(digest));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("max-age=31536000, immutable"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}

fn etag(digest: Digest) -> String {
    format!("\"{digest}\"")
}

pub(super) fn location(repository: &RepositoryName, digest: Digest) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

/// What a deletion sets free, and when.
pub(super) fn freed(freed: Freed) -> Response {
    let body = json!({
        "freedBytes": freed.bytes,
        "sharedBytes": freed.shared_bytes,
        "freedAt": freed.at.to_string(),
    });
    let mut response = json(body.to_string());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}
