//! What the fuzz targets check, so that ordinary tests can run it too. Each check panics when it does not hold.
//!
//! The grammars of names, tags and digests are written down a second time here, after the
//! distribution specification, so that a mistake in the parsers does not hide itself.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use rbuild_image::{Digest, MediaType, Tag};
use serde_json::Value;

use crate::http::error::{ApiError, upload_range};
use crate::http::headers::{
    content_length, has_version, header_text, next_page, number, precondition,
};
use crate::http::query::Query;
use crate::http::range::{Wanted, chunk, wanted};
use crate::http::route::Endpoint;
use crate::metadata::{EdgeKind, ManifestName, Precondition};
use crate::service::parse::{Parsed, Refusal, Sparse, parse};

/// What a refusal may cost us: however long the request was, the answer is short.
const ANSWER_BYTES: usize = 4 << 10;

/// Any bytes as the path of a request, as a repository's name, as a tag and as a digest.
pub fn path(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Endpoint::parse(&text) {
        Ok(endpoint) => {
            let canonical = path_of(&endpoint);
            assert_eq!(
                Endpoint::parse(&canonical).as_ref(),
                Ok(&endpoint),
                "what was read is read again from its own path"
            );
        }
        Err(error) => check_refusal(&error),
    }
    if text.contains('%') {
        return;
    }
    assert_eq!(
        Endpoint::parse(&format!("/v2/{text}/tags/list")).is_ok(),
        is_name(&text),
        "names are those of the specification"
    );
    if !text.contains('/') {
        assert_eq!(
            Endpoint::parse(&format!("/v2/a/manifests/{text}")).is_ok(),
            is_tag(&text) || is_digest(&text),
            "references are those of the specification"
        );
        assert_eq!(
            Endpoint::parse(&format!("/v2/a/referrers/{text}")).is_ok(),
            is_digest(&text),
            "digests are those of the specification"
        );
    }
}

/// Any bytes as a manifest; its media type is in a first line of its own.
pub fn manifest(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (first, content) = end.map_or((&b""[..], data), |end| (&data[..end], &data[end + 1..]));
    let first = String::from_utf8_lossy(first);
    let content_type = (!first.is_empty()).then_some(&*first);
    let parsed = match parse(content_type, content, Sparse::default()) {
        Ok(parsed) => parsed,
        Err(Refusal::Invalid(why) | Refusal::Unsupported(why)) => {
            assert!(!why.is_empty() && why.len() < ANSWER_BYTES, "{why}");
            return;
        }
    };
    let document: Value = serde_json::from_slice(content).expect("what is taken is JSON");
    assert!(depth(&document) <= 64, "what is taken is not deep");
    check_edges(&parsed, &document);
    let all = Sparse {
        indexes: true,
        images: true,
    };
    let sparse = parse(content_type, content, all).expect("more is taken when less is required");
    assert_eq!(targets(&sparse), targets(&parsed));
    let again = parse(
        content_type,
        document.to_string().as_bytes(),
        Sparse::default(),
    );
    assert_eq!(
        again.as_ref(),
        Ok(&parsed),
        "other blanks and another order say the same"
    );
    assert_eq!(
        parse(Some(&parsed.media_type), content, Sparse::default()).as_ref(),
        Ok(&parsed),
        "its media type is the one it has"
    );
    assert!(
        HeaderValue::from_str(&parsed.media_type).is_ok(),
        "its media type can be sent"
    );
}

/// Any bytes as a blob's size and, behind the first blank, a range of it or a chunk's place.
pub fn range(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (size, header) = text.split_once(' ').unwrap_or(("10", &text));
    let size = number(size).unwrap_or(10);
    match wanted(Some(header), size) {
        Wanted::All => {}
        Wanted::Part(range) => {
            assert!(
                range.start < range.end && range.end <= size,
                "a part lies inside"
            );
            let canonical = format!("bytes={}-{}", range.start, range.end - 1);
            assert_eq!(wanted(Some(&canonical), size), Wanted::Part(range));
        }
        Wanted::Parts(mut ranges) => {
            assert!(ranges.len() > 1, "one range is no list");
            ranges.sort_by_key(|range| range.start);
            let inside = ranges
                .iter()
                .all(|range| range.start < range.end && range.end <= size);
            let apart = ranges.windows(2).all(|pair| pair[0].end < pair[1].start);
            assert!(inside && apart, "parts lie inside, and apart: {ranges:?}");
        }
        Wanted::Unsatisfiable => {
            let all = wanted(Some(header), u64::MAX);
            assert!(
                matches!(all, Wanted::Part(ref range) if range.start >= size)
                    || matches!(all, Wanted::Parts(ref ranges) if ranges.iter().all(|range| range.start >= size))
                    || size == 0
                    || all == Wanted::Unsatisfiable,
                "nothing of it is there: {all:?} of {size}"
            );
        }
    }
    if let Some((first, last)) = plain_range(header) {
        let want = if first <= last && first < size {
            Wanted::Part(first..size.min(last.saturating_add(1)))
        } else {
            Wanted::Unsatisfiable
        };
        assert_eq!(wanted(Some(header), size), want);
    }
    if let Some(place) = chunk(header) {
        assert!(place.start < place.end, "a chunk has bytes");
        let last = place.end - 1;
        for canonical in [
            format!("{}-{last}", place.start),
            format!("bytes {}-{last}/*", place.start),
        ] {
            assert_eq!(chunk(&canonical), Some(place.clone()));
        }
    }
    if size > 0 {
        assert_eq!(
            chunk(&upload_range(size)),
            Some(0..size),
            "what we tell about an upload, we would read so"
        );
    }
}

/// Any bytes as a query in the first line, and in the others headers.
pub fn header(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (query, lines) = text.split_once('\n').unwrap_or((&text, ""));
    match Query::parse(Some(query)) {
        Ok(query) => check_query(&query),
        Err(error) => check_refusal(&error),
    }
    let headers: HeaderMap = lines.lines().filter_map(header_line).collect();
    match precondition(&headers) {
        Ok(Precondition::Matches(digests)) => {
            let list: Vec<String> = digests.iter().map(|d| format!("\"{d}\"")).collect();
            assert!(!list.is_empty(), "something must match");
            let again = HeaderMap::from_iter([(
                header::IF_MATCH,
                HeaderValue::try_from(list.join(", ")).expect("digests and quotes"),
            )]);
            assert_eq!(precondition(&again), Ok(Precondition::Matches(digests)));
        }
        Ok(Precondition::None) => assert!(
            !headers.contains_key(header::IF_MATCH) && !headers.contains_key(header::IF_NONE_MATCH),
            "a condition is not passed over"
        ),
        Ok(Precondition::Exists | Precondition::Absent) => {}
        Err(error) => check_refusal(&error),
    }
    let etag = format!("\"{}\"", Digest::sha256(b""));
    let named = header_text(&headers, &header::IF_NONE_MATCH)
        .is_some_and(|list| list.contains(&etag) || list.contains('*'));
    assert!(
        named || !has_version(&headers, &etag),
        "a version that is not named is sent"
    );
    if let Some(length) = content_length(&headers) {
        let text = header_text(&headers, &header::CONTENT_LENGTH).unwrap_or_default();
        assert_eq!(
            text.trim_start_matches('0'),
            length.to_string().trim_start_matches('0')
        );
    }
}

fn header_line(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    Some((
        HeaderName::try_from(name).ok()?,
        HeaderValue::from_bytes(value.trim().as_bytes()).ok()?,
    ))
}

fn check_query(query: &Query) {
    match query.tags() {
        Ok(tags) => {
            let different: BTreeSet<&Tag> = tags.iter().collect();
            assert!(
                different.len() == tags.len() && tags.len() <= 100,
                "each tag once"
            );
            assert!(tags.iter().all(|tag| is_tag(tag.as_str())));
        }
        Err(error) => check_refusal(&error),
    }
    for name in ["digest", "mount", "last"] {
        match query.digest(name) {
            Ok(digest) => assert_eq!(
                digest.map(|digest| digest.to_string()).as_deref(),
                query.get(name),
                "a digest prints as it was written"
            ),
            Err(error) => check_refusal(&error),
        }
    }
    if let Err(error) = query.algorithm() {
        check_refusal(&error);
    }
    if let Some(name) = query.repository("from") {
        assert!(is_name(name.as_str()) && query.get("from") == Some(name.as_str()));
    }
    let limit = match query.page() {
        Ok(limit) => limit,
        Err(error) => return check_refusal(&error),
    };
    let last = query.get("last").unwrap_or_default();
    let link = next_page("/v2/_catalog", &[("n", &limit.to_string()), ("last", last)]);
    assert!(HeaderValue::from_str(&link).is_ok(), "a link can be sent");
    let sent = link
        .strip_prefix("</v2/_catalog?")
        .and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
    let next = Query::parse(sent).expect("our own links are read");
    assert_eq!(
        (next.page().ok(), next.get("last")),
        (Some(limit), Some(last)),
        "a link leads to where the list ended"
    );
}

fn check_refusal(error: &ApiError) {
    assert!(
        error.status().is_client_error(),
        "the client's mistake: {error:?}"
    );
    assert!(
        format!("{error:?}").len() < ANSWER_BYTES,
        "a refusal is short: {error:?}"
    );
}

/// The path by which we would ask for it.
fn path_of(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Root => "/v2/".to_owned(),
        Endpoint::Health => "/healthz".to_owned(),
        Endpoint::Ready => "/readyz".to_owned(),
        Endpoint::Catalog => "/v2/_catalog".to_owned(),
        Endpoint::Blob(name, digest) => format!("/v2/{name}/blobs/{digest}"),
        Endpoint::Uploads(name) => format!("/v2/{name}/blobs/uploads/"),
        Endpoint::Upload(name, id) => format!("/v2/{name}/blobs/uploads/{id}"),
        Endpoint::Manifest(name, ManifestName::Tag(tag)) => format!("/v2/{name}/manifests/{tag}"),
        Endpoint::Manifest(name, ManifestName::Digest(digest)) => {
            format!("/v2/{name}/manifests/{digest}")
        }
        Endpoint::Tags(name) => format!("/v2/{name}/tags/list"),
        Endpoint::Referrers(name, digest) => format!("/v2/{name}/referrers/{digest}"),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`, at most 255 bytes.
fn is_name(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_component = |part: &str| {
        let separators = part.split(is_letter).filter(|run| !run.is_empty());
        part.starts_with(is_letter)
            && part.ends_with(is_letter)
            && separators
                .into_iter()
                .all(|run| matches!(run, "." | "_" | "__") || run.bytes().all(|byte| byte == b'-'))
    };
    text.len() <= 255 && text.split('/').all(is_component)
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
fn is_tag(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// `sha256:[a-f0-9]{64}` and `sha512:[a-f0-9]{128}`
fn is_digest(text: &str) -> bool {
    let is_hex = |hex: &str, length| {
        hex.len() == length && hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
    };
    match text.split_once(':') {
        Some(("sha256", hex)) => is_hex(hex, 64),
        Some(("sha512", hex)) => is_hex(hex, 128),
        _ => false,
    }
}

/// `bytes=<first>-<last>` with two numbers that fit, and nothing else.
fn plain_range(header: &str) -> Option<(u64, u64)> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    Some((number(first)?, number(last)?))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Digest and length of everything that a manifest refers to.
fn targets(parsed: &Parsed) -> BTreeSet<(String, u64, bool)> {
    let edges = parsed.edges.iter();
    edges
        .map(|edge| {
            (
                edge.target.to_string(),
                edge.size,
                edge.kind == EdgeKind::Blob,
            )
        })
        .collect()
}

/// What we say that a manifest refers to is what any reader of JSON finds in it.
fn check_edges(parsed: &Parsed, document: &Value) {
    let list = |name: &str| document[name].as_array().into_iter().flatten();
    let known = [
        document.get("config").into_iter().collect::<Vec<_>>(),
        list("layers").collect(),
        list("blobs").collect(),
        list("manifests").collect(),
    ];
    let written: BTreeSet<(String, u64)> = known
        .iter()
        .flatten()
        .filter_map(|target| {
            Some((
                target["digest"].as_str()?.to_owned(),
                target["size"].as_u64()?,
            ))
        })
        .collect();
    for (digest, size, _) in targets(parsed) {
        assert!(is_digest(&digest), "{digest}");
        assert!(
            written.contains(&(digest.clone(), size)),
            "{digest} is not in the document"
        );
    }
    if MediaType::new(&parsed.media_type).is_manifest() {
        let targets = targets(parsed);
        for target in list("layers").chain(document.get("config")) {
            let digest = target["digest"].as_str().unwrap_or_default().to_owned();
            let size = target["size"].as_u64().unwrap_or_default();
            assert!(
                targets.contains(&(digest, size, true)),
                "{target} was passed over"
            );
        }
    }
    assert_eq!(
        parsed.subject.map(|subject| subject.to_string()).as_deref(),
        document["subject"]["digest"].as_str()
    );
}
