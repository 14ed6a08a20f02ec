//! Lists of tags and of repositories.

use axum::response::Response;
use http::{Method, header};
use rbuild_image::RepositoryName;
use serde_json::json;

use super::error::ApiError;
use super::headers::next_page;
use super::{App, Call, blocking, json, set};

pub(super) async fn list(
    app: &App,
    call: &Call,
    repository: RepositoryName,
) -> Result<Response, ApiError> {
    check_method(call)?;
    let limit = call.query.page()?;
    let last = call.query.get("last").map(str::to_owned);
    let registry = app.registry.clone();
    let name = repository.clone();
    let page = blocking(move || registry.tags(&name, last.as_deref(), limit)).await?;
    let body = json!({ "name": repository.as_str(), "tags": page.entries });
    let mut response = json(body.to_string());
    if page.more
        && let Some(last) = page.entries.last()
    {
        let path = format!("/v2/{repository}/tags/list");
        set(
            &mut response,
            header::LINK,
            behind(&path, limit, last.as_str()),
        );
    }
    Ok(response)
}

pub(super) async fn catalog(app: &App, call: &Call) -> Result<Response, ApiError> {
    check_method(call)?;
    let limit = call.query.page()?;
    let last = call.query.get("last").map(str::to_owned);
    let registry = app.registry.clone();
    let page = blocking(move || registry.repositories(last.as_deref(), limit)).await?;
    let mut response = json(json!({ "repositories": page.entries }).to_string());
    if page.more
        && let Some(last) = page.entries.last()
    {
        set(
            &mut response,
            header::LINK,
            behind("/v2/_catalog", limit, last.as_str()),
        );
    }
    Ok(response)
}

fn check_method(call: &Call) -> Result<(), ApiError> {
    match call.method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(ApiError::method_not_allowed("GET, HEAD")),
    }
}

fn behind(path: &str, limit: usize, last: &str) -> String {
    next_page(path, &[("n", &limit.to_string()), ("last", last)])
}
