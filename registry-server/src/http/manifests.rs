//! Manifests by tag and by digest.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use rbuild_image::RepositoryName;

use super::error::ApiError;
use super::headers::{has_version, header_text, precondition};
use super::receive::Incoming;
use super::{App, Call, DIGEST, blobs, blocking, empty, receive, set, warning};
use crate::metadata::{ManifestName, ManifestRecord, Precondition};
use crate::service::{Puller, PushManifest, Registry, Warning};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");

pub(super) async fn answer(
    app: &App,
    call: Call,
    body: Incoming,
    repository: RepositoryName,
    name: ManifestName,
) -> Result<Response, ApiError> {
    match call.method {
        // On the spot: two look-ups in the page cache cost less than a change of thread.
        Method::GET => {
            let record = app.registry.manifest(&repository, &name)?;
            let warnings = warnings(&app.registry, &call, &name, &record);
            Ok(show(&call, record, warnings))
        }
        Method::HEAD => {
            let registry = app.registry.clone();
            let (call, record, warnings) = blocking(move || {
                let record = registry.stat_manifest(&repository, &name)?;
                let warnings = warnings(&registry, &call, &name, &record);
                Ok((call, record, warnings))
            })
            .await?;
            Ok(show(&call, record, warnings))
        }
        Method::PUT => put(app, call, body, repository, name).await,
        Method::DELETE => delete(app, repository, name).await,
        _ => Err(ApiError::method_not_allowed("GET, HEAD, PUT, DELETE")),
    }
}

fn warnings(
    registry: &Registry,
    call: &Call,
    asked: &ManifestName,
    record: &ManifestRecord,
) -> Vec<Warning> {
    let host = header_text(&call.headers, &header::HOST);
    registry.pull_warnings(Puller { asked, host }, record)
}

fn show(call: &Call, record: ManifestRecord, warnings: Vec<Warning>) -> Response {
    let etag = format!("\"{}\"", record.digest);
    let mut response = if has_version(&call.headers, &etag) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        let length = record.content.len();
        let body = if call.method == Method::HEAD {
            Body::empty()
        } else {
            Body::from(record.content)
        };
        let mut response = Response::new(body);
        set(&mut response, header::CONTENT_LENGTH, length.to_string());
        set(&mut response, header::CONTENT_TYPE, &record.media_type);
        response
    };
    set(&mut response, DIGEST, record.digest.to_string());
    set(&mut response, header::ETAG, etag);
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    warning::add(&mut response, warnings);
    response
}

async fn put(
    app: &App,
    call: Call,
    body: Incoming,
    repository: RepositoryName,
    name: ManifestName,
) -> Result<Response, ApiError> {
    let mut tags = call.query.tags()?;
    let listed = tags.clone();
    let digest = match &name {
        ManifestName::Digest(digest) => Some(*digest),
        ManifestName::Tag(tag) => {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
            None
        }
    };
    let precondition = precondition(&call.headers)?;
    if tags.is_empty() && precondition != Precondition::None {
        return Err(ApiError::query_invalid(
            "`If-Match` and `If-None-Match` are conditions on tags, and this push sets none; name the tag in the address or with `?tag=`",
        ));
    }
    let content_type = header_text(&call.headers, &header::CONTENT_TYPE).map(str::to_owned);
    let limits = app.registry.limits();
    let content = receive::whole(body, limits.manifest_bytes, limits.idle_time).await?;
    let push = PushManifest {
        digest: digest.or(call.query.digest("digest")?),
        tags,
        precondition,
        content_type,
        content,
    };
    let registry = app.registry.clone();
    let target = repository.clone();
    let pushed = blocking(move || registry.put_manifest(&target, push)).await?;
    let mut response = empty(StatusCode::CREATED);
    let location = format!("/v2/{repository}/manifests/{}", pushed.digest);
    set(&mut response, header::LOCATION, location);
    set(&mut response, DIGEST, pushed.digest.to_string());
    if let Some(subject) = pushed.subject {
        set(&mut response, SUBJECT, subject.to_string());
    }
    for tag in listed {
        set(&mut response, TAG, tag.as_str());
    }
    warning::add(&mut response, pushed.warnings);
    Ok(response)
}

async fn delete(
    app: &App,
    repository: RepositoryName,
    name: ManifestName,
) -> Result<Response, ApiError> {
    let registry = app.registry.clone();
    let freed = blocking(move || match name {
        ManifestName::Tag(tag) => registry.delete_tag(&repository, &tag),
        ManifestName::Digest(digest) => registry.delete_manifest(&repository, &digest),
    })
    .await?;
    Ok(blobs::freed(freed))
}
