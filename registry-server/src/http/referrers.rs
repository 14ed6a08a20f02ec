//! The list of referrers of a manifest, as an index.

use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, header};
use rbuild_image::{Digest, Index, MediaType, RepositoryName};

use super::error::ApiError;
use super::headers::next_page;
use super::{App, Call, blocking, json, set};

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

pub(super) async fn list(
    app: &App,
    call: &Call,
    repository: RepositoryName,
    subject: Digest,
) -> Result<Response, ApiError> {
    if !matches!(call.method, Method::GET | Method::HEAD) {
        return Err(ApiError::method_not_allowed("GET, HEAD"));
    }
    let artifact_type = call.query.get("artifactType").map(str::to_owned);
    let after = call.query.digest("last")?;
    let registry = app.registry.clone();
    let (name, wanted) = (repository.clone(), artifact_type.clone());
    let referrers =
        blocking(move || registry.referrers(&name, &subject, wanted.as_deref(), after.as_ref()))
            .await?;
    let body = serde_json::to_string(&Index::oci(referrers.entries))
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let mut response = json(body);
    if let Ok(media_type) = HeaderValue::from_str(MediaType::INDEX.as_str()) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, media_type);
    }
    if artifact_type.is_some() {
        set(&mut response, FILTERS, "artifactType");
    }
    if let Some(last) = referrers.next {
        let path = format!("/v2/{repository}/referrers/{subject}");
        let last = last.to_string();
        let mut query = vec![("last", last.as_str())];
        query.extend(
            artifact_type
                .as_deref()
                .map(|wanted| ("artifactType", wanted)),
        );
        set(&mut response, header::LINK, next_page(&path, &query));
    }
    Ok(response)
}
