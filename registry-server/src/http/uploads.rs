//! Uploads: start, chunks, state, end.

use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, header};
use rbuild_image::{Digest, RepositoryName};

use super::error::{ApiError, upload_range};
use super::headers::content_length;
use super::receive::{self, End, Incoming};
use super::{App, Call, UPLOAD_ID, blobs, blocking, empty, range, set, warning};
use crate::metadata::UploadId;
use crate::service::UploadWriter;

/// `POST /v2/<name>/blobs/uploads/`: a new upload, a whole blob at once, or a mount.
pub(super) async fn start(
    app: &App,
    call: Call,
    body: Incoming,
    repository: RepositoryName,
) -> Result<Response, ApiError> {
    if call.method != Method::POST {
        return Err(ApiError::method_not_allowed("POST"));
    }
    let algorithm = call.query.algorithm()?;
    if let Some(digest) = call.query.digest("digest")? {
        let registry = app.registry.clone();
        let target = repository.clone();
        let writer = blocking(move || registry.write_blob(&target, digest.algorithm())).await?;
        return finish(app, call, body, writer, repository, digest).await;
    }
    // A mount that cannot be done is an upload: also if its arguments are wrong.
    if let Ok(Some(digest)) = call.query.digest("mount") {
        let from = call.query.repository("from");
        let anywhere = call.query.get("from").is_none();
        if from.is_some() || anywhere {
            let registry = app.registry.clone();
            let target = repository.clone();
            let mounted =
                blocking(move || registry.mount_blob(&target, from.as_ref(), &digest)).await?;
            if mounted.is_some() {
                return Ok(created(&repository, digest));
            }
        }
    }
    let registry = app.registry.clone();
    let target = repository.clone();
    let id = blocking(move || registry.start_upload(&target, algorithm)).await?;
    let mut response = progress(StatusCode::ACCEPTED, &repository, &id, 0);
    warning::add(&mut response, app.registry.space_warning());
    Ok(response)
}

/// Everything about one upload.
pub(super) async fn answer(
    app: &App,
    call: Call,
    body: Incoming,
    repository: RepositoryName,
    id: UploadId,
) -> Result<Response, ApiError> {
    let registry = app.registry.clone();
    match call.method {
        Method::GET | Method::HEAD => {
            let (name, upload) = (repository.clone(), id.clone());
            let offset = blocking(move || registry.upload_offset(&name, &upload)).await?;
            Ok(progress(StatusCode::NO_CONTENT, &repository, &id, offset))
        }
        Method::PATCH => {
            let writer = writer(app, &repository, &id).await?;
            patch(app, call, body, writer, repository, id).await
        }
        Method::PUT => {
            let digest = call.query.digest("digest")?.ok_or_else(|| {
                ApiError::digest_invalid("the upload is ended with ?digest=<digest of the blob>")
            })?;
            let writer = writer(app, &repository, &id).await?;
            check_place(&call.headers, &writer).map_err(|error| at(error, &repository, &id))?;
            finish(app, call, body, writer, repository, digest).await
        }
        Method::DELETE => {
            blocking(move || registry.cancel_upload(&repository, &id)).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => Err(ApiError::method_not_allowed(
            "GET, HEAD, PATCH, PUT, DELETE",
        )),
    }
}

async fn writer(
    app: &App,
    repository: &RepositoryName,
    id: &UploadId,
) -> Result<UploadWriter, ApiError> {
    let registry = app.registry.clone();
    let (repository, id) = (repository.clone(), id.clone());
    blocking(move || registry.write_upload(&repository, &id)).await
}

/// Adds a chunk, or the whole blob as one stream without a place.
async fn patch(
    app: &App,
    call: Call,
    body: Incoming,
    writer: UploadWriter,
    repository: RepositoryName,
    id: UploadId,
) -> Result<Response, ApiError> {
    let length =
        check_place(&call.headers, &writer).map_err(|error| at(error, &repository, &id))?;
    let before = writer.offset();
    let idle = app.registry.limits().idle_time;
    let (writer, end) = receive::stream(body, writer, length.unwrap_or(u64::MAX), idle).await?;
    if let (Some(length), End::Complete) = (length, &end)
        && writer.offset() - before != length
    {
        // Dropped without being suspended, the upload stands where it stood.
        return Err(ApiError::size_invalid(
            "the chunk has not as many bytes as its `Content-Range` says; send it again",
        ));
    }
    let offset = blocking(move || writer.suspend()).await?;
    match end {
        End::Complete => Ok(progress(StatusCode::ACCEPTED, &repository, &id, offset)),
        End::Broken(error) => Err(at(error, &repository, &id)),
    }
}

/// Takes the last bytes, if there are any, and makes the upload a blob.
async fn finish(
    app: &App,
    call: Call,
    body: Incoming,
    writer: UploadWriter,
    repository: RepositoryName,
    digest: Digest,
) -> Result<Response, ApiError> {
    let idle = app.registry.limits().idle_time;
    let length = content_length(&call.headers).unwrap_or(u64::MAX);
    let (writer, end) = receive::stream(body, writer, length, idle).await?;
    if let End::Broken(error) = end {
        blocking(move || writer.suspend()).await?;
        return Err(error);
    }
    let blob = blocking(move || writer.commit(digest)).await?;
    Ok(created(&repository, blob.digest))
}

/// Checks that a chunk follows what is here, and tells how long it is, if its headers say.
fn check_place(headers: &HeaderMap, writer: &UploadWriter) -> Result<Option<u64>, ApiError> {
    let length = content_length(headers);
    let Some(text) = headers.get(header::CONTENT_RANGE) else {
        return Ok(length);
    };
    let offset = writer.offset();
    let chunk = text.to_str().ok().and_then(range::chunk).ok_or_else(|| {
        ApiError::range_not_satisfiable("`Content-Range` has the form <first byte>-<last byte>")
            .header(header::RANGE, upload_range(offset))
    })?;
    if chunk.start != offset {
        return Err(crate::service::Error::UploadOffset { offset }.into());
    }
    let size = chunk.end - chunk.start;
    if length.is_some_and(|length| length != size) {
        return Err(ApiError::size_invalid(
            "`Content-Length` and `Content-Range` do not agree on the length of the chunk",
        ));
    }
    Ok(Some(size))
}

fn location(repository: &RepositoryName, id: &UploadId) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

/// An error about one upload also tells where it is.
fn at(error: ApiError, repository: &RepositoryName, id: &UploadId) -> ApiError {
    error
        .header(header::LOCATION, location(repository, id))
        .header(UPLOAD_ID, id.as_str())
}

fn progress(
    status: StatusCode,
    repository: &RepositoryName,
    id: &UploadId,
    offset: u64,
) -> Response {
    let mut response = empty(status);
    set(&mut response, header::LOCATION, location(repository, id));
    set(&mut response, header::RANGE, upload_range(offset));
    set(&mut response, UPLOAD_ID, id.as_str());
    response
}

fn created(repository: &RepositoryName, digest: Digest) -> Response {
    let mut response = empty(StatusCode::CREATED);
    set(
        &mut response,
        header::LOCATION,
        blobs::location(repository, digest),
    );
    set(&mut response, super::DIGEST, digest.to_string());
    response
}
