//! Lists of tags and of repositories.

use axum::response::Response;
use http::{Method, header};
use rbuild_image::RepositoryName;
use serde_json::json;

use super::error::ApiError;
use super::headers::next_page;
use super::{App, Call, blocking, json, set};
use crate::clock::Moment;
use crate::metadata::{TagFilter, TagList, TagOrder, TagRecord};

/// `GET /v2/<name>/tags/list`, and beside the specification `filter=` and `sort=pushed`.
pub(super) async fn list(
    app: &App,
    call: &Call,
    repository: RepositoryName,
) -> Result<Response, ApiError> {
    check_method(call)?;
    let list = TagList {
        order: order(call)?,
        filter: call.query.get("filter").map(TagFilter::new),
        limit: call.query.page()?,
    };
    let registry = app.registry.clone();
    let (name, wanted) = (repository.clone(), list.clone());
    let page = blocking(move || registry.tags(&name, &wanted)).await?;
    let tags: Vec<&str> = page
        .entries
        .iter()
        .map(|record| record.tag.as_str())
        .collect();
    let body = json!({ "name": repository.as_str(), "tags": tags });
    let mut response = json(body.to_string());
    if page.more
        && let Some(last) = page.entries.last()
    {
        let (limit, place) = (list.limit.to_string(), place(&list.order, last));
        let mut pairs = vec![("n", limit.as_str()), ("last", place.as_str())];
        for name in ["filter", "sort"] {
            pairs.extend(call.query.get(name).map(|value| (name, value)));
        }
        let path = format!("/v2/{repository}/tags/list");
        set(&mut response, header::LINK, next_page(&path, &pairs));
    }
    Ok(response)
}

/// The order of the list, and the place that it goes on behind.
fn order(call: &Call) -> Result<TagOrder, ApiError> {
    let last = call.query.get("last");
    match call.query.get("sort") {
        None | Some("name") => Ok(TagOrder::Name(last.map(str::to_owned))),
        Some("pushed") => last
            .map(|last| {
                let (at, name) = last.split_once(',')?;
                Some((Moment(at.parse().ok()?), name.to_owned()))
            })
            .map_or(Ok(TagOrder::Newest(None)), |place| {
                place
                    .map(|place| TagOrder::Newest(Some(place)))
                    .ok_or_else(|| {
                        ApiError::query_invalid(
                            "with `sort=pushed`, `last` is what the `Link` of the page before says",
                        )
                    })
            }),
        Some(_) => Err(ApiError::query_invalid("`sort` is `name` or `pushed`")),
    }
}

/// The place behind a tag, as [`order`] reads it.
fn place(order: &TagOrder, last: &TagRecord) -> String {
    match order {
        TagOrder::Name(_) => last.tag.to_string(),
        TagOrder::Newest(_) => format!("{},{}", last.pushed_at.0, last.tag),
    }
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
        let pairs = [("n", &*limit.to_string()), ("last", last.as_str())];
        set(
            &mut response,
            header::LINK,
            next_page("/v2/_catalog", &pairs),
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
