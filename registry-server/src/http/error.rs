//! Errors as the distribution API tells them: a code, a status, and a sentence that says what to do.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use crate::service::Error;

/// An answer that tells what went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    entries: Vec<Entry>,
    headers: Vec<(HeaderName, String)>,
    /// What happened, for the log and not for the client.
    cause: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Entry {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    detail: Value,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            entries: vec![Entry {
                code,
                message: message.into(),
                detail: Value::Null,
            }],
            headers: Vec::new(),
            cause: None,
        }
    }

    fn detail(mut self, detail: Value) -> Self {
        if let Some(entry) = self.entries.first_mut() {
            entry.detail = detail;
        }
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The code of the (first) error.
    pub fn code(&self) -> &'static str {
        self.entries.first().map_or("UNKNOWN", |entry| entry.code)
    }

    /// What happened, if the client is not told.
    pub(super) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "UNSUPPORTED",
            "this path is not part of the distribution API; it begins with /v2/",
        )
    }

    pub(super) fn method_not_allowed(allowed: &'static str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            format!("this path takes {allowed}"),
        )
        .header(header::ALLOW, allowed)
    }

    pub(super) fn name_invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "NAME_INVALID", why)
    }

    pub(super) fn digest_invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", why)
    }

    pub(super) fn tag_invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", why)
    }

    pub(super) fn upload_unknown() -> Self {
        Error::UploadUnknown.into()
    }

    pub(super) fn upload_invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", why)
    }

    pub(super) fn range_not_satisfiable(why: impl Into<String>) -> Self {
        Self::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "BLOB_UPLOAD_INVALID",
            why,
        )
    }

    pub(super) fn no_such_part(size: u64) -> Self {
        Self::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "SIZE_INVALID",
            format!(
                "the blob has {size} bytes, and none of them is in the range that was asked for; ask for bytes before {size}, or without `Range` for all"
            ),
        )
        .header(header::CONTENT_RANGE, format!("bytes */{size}"))
    }

    /// What follows such a head cannot be trusted to be another request, so the connection ends.
    pub(super) fn head_invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", why).header(header::CONNECTION, "close")
    }

    pub(super) fn query_invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", why)
    }

    pub(super) fn size_invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", why)
    }

    pub(super) fn timeout() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "BLOB_UPLOAD_INVALID",
            "the request's body stopped coming, or comes too slowly; ask for the state of the upload and go on from there",
        )
    }

    pub(super) fn too_many_requests(wait: Duration) -> Self {
        let seconds = wait.as_secs().saturating_add(1);
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TOOMANYREQUESTS",
            format!("your address makes more requests than are allowed; go on in {seconds} s"),
        )
        .header(header::RETRY_AFTER, seconds.to_string())
    }

    pub(super) fn uri_too_long() -> Self {
        Self::new(
            StatusCode::URI_TOO_LONG,
            "UNSUPPORTED",
            "the request's address is longer than 16 KiB",
        )
    }

    pub(super) fn head_too_long(limit: usize) -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "UNSUPPORTED",
            format!(
                "address and headers of the request are longer than {limit} bytes; send fewer or shorter ones"
            ),
        )
    }

    pub(super) fn too_many_tags(limit: usize) -> Self {
        Self::new(
            StatusCode::URI_TOO_LONG,
            "UNSUPPORTED",
            format!("one push sets at most {limit} tags; set the others with further pushes"),
        )
    }

    pub(super) fn internal(cause: impl Into<String>) -> Self {
        let mut error = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN",
            "the registry failed; its log says why, under this answer's X-Request-Id",
        );
        error.cause = Some(cause.into());
        error
    }

    /// The same reason, as the answer of a probe.
    pub(super) fn not_ready(self) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            ..self
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::RepositoryUnknown(name) => Self::new(
                StatusCode::NOT_FOUND,
                "NAME_UNKNOWN",
                format!("{text}; push something to it first, or check its spelling"),
            )
            .detail(json!({ "name": name.as_str() })),
            Error::BlobUnknown(digest) => Self::new(
                StatusCode::NOT_FOUND,
                "BLOB_UNKNOWN",
                format!("{text}; push it, or mount it from a repository that does"),
            )
            .detail(json!({ "digest": digest.to_string() })),
            Error::ManifestUnknown(name) => Self::new(
                StatusCode::NOT_FOUND,
                "MANIFEST_UNKNOWN",
                format!("{text}; the tags that exist are listed at tags/list"),
            )
            .detail(json!({ "reference": name })),
            Error::UploadUnknown => Self::new(
                StatusCode::NOT_FOUND,
                "BLOB_UPLOAD_UNKNOWN",
                "there is no such upload in this repository, or it was ended or given up; start a new one with POST",
            ),
            Error::UploadBusy => Self::new(
                StatusCode::CONFLICT,
                "BLOB_UPLOAD_INVALID",
                format!("{text}; wait for it, then ask for the upload's state"),
            )
            .header(header::RETRY_AFTER, "1"),
            Error::UploadOffset { offset } => Self::range_not_satisfiable(text)
                .header(header::RANGE, upload_range(offset)),
            Error::TooManyUploads => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "TOOMANYREQUESTS",
                format!("{text}; try again in a while"),
            )
            .header(header::RETRY_AFTER, "60"),
            Error::TooLarge { limit } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "SIZE_INVALID",
                format!("{text}; push something smaller"),
            )
            .detail(json!({ "limit": limit })),
            Error::DigestMismatch { expected, actual } => Self::new(
                StatusCode::BAD_REQUEST,
                "DIGEST_INVALID",
                format!("{text}; nothing was stored, so send it again"),
            )
            .detail(json!({ "expected": expected.to_string(), "actual": actual.to_string() })),
            Error::ManifestInvalid(why) => {
                Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", why)
            }
            Error::ManifestUnsupported(why) => {
                Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "MANIFEST_INVALID", why)
            }
            Error::ReferencesUnknown(digests) => Self {
                status: StatusCode::NOT_FOUND,
                entries: digests
                    .into_iter()
                    .take(100)
                    .map(|digest| Entry {
                        code: "MANIFEST_BLOB_UNKNOWN",
                        message: format!(
                            "the manifest refers to `{digest}`, which this repository does not have; push it first"
                        ),
                        detail: json!({ "digest": digest.to_string() }),
                    })
                    .collect(),
                headers: Vec::new(),
                cause: None,
            },
            Error::ReferenceSize { target, .. } => Self::new(
                StatusCode::BAD_REQUEST,
                "SIZE_INVALID",
                format!("{text}; correct the manifest's descriptor"),
            )
            .detail(json!({ "digest": target.to_string() })),
            Error::PreconditionFailed { tag, current } => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "DENIED",
                format!("{text}; look at where it is now, and decide again"),
            )
            .detail(json!({
                "tag": tag.as_str(),
                "current": current.map(|digest| digest.to_string()),
            })),
            // The status by which clients know that a registry does not delete what they name.
            Error::InUse { by } => Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "DENIED",
                format!("{text}; delete that manifest first"),
            )
            .header(header::ALLOW, "GET, HEAD")
            .detail(json!({ "manifest": by.to_string() })),
            Error::NoSpace => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "DENIED",
                format!("{text}, so nothing new is taken; delete images or add space, then try again"),
            )
            .header(header::RETRY_AFTER, "300"),
            Error::Store(source) => Self::internal(format!("{text}: {source}")),
            Error::Metadata(source) => Self::internal(format!("{text}: {source:?}")),
        }
    }
}

/// The bytes of an upload that are here, as the API writes it: the last byte's number, and 0 for none as well.
pub(crate) fn upload_range(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "errors": self.entries }).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        response
    }
}
