//! Headers of requests that more than one handler reads, and links to the rest of a list. Pure.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rbuild_image::Digest;

use super::error::ApiError;
use crate::metadata::Precondition;

/// The header as text; `None` if it is not there, or is none.
pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Digits only: no sign, no blank.
pub(crate) fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// Bytes of the body, if the client says.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    number(header_text(headers, &header::CONTENT_LENGTH)?)
}

/// Whether the client has this version already (`If-None-Match`).
pub(crate) fn has_version(headers: &HeaderMap, etag: &str) -> bool {
    header_text(headers, &header::IF_NONE_MATCH).is_some_and(|list| {
        list.split(',')
            .map(|entry| entry.trim().trim_start_matches("W/"))
            .any(|entry| entry == etag || entry == "*")
    })
}

/// What must hold for the tags of a pushed manifest (`If-Match`, `If-None-Match`).
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Precondition, ApiError> {
    if let Some(list) = whole_list(headers, &header::IF_MATCH)? {
        if list.trim() == "*" {
            return Ok(Precondition::Exists);
        }
        let digests = list
            .split(',')
            .map(|entry| entry.trim().trim_matches('"').parse::<Digest>())
            .collect::<Result<_, _>>()
            .map_err(|error| {
                ApiError::query_invalid(format!("`If-Match` lists digests in quotes: {error}"))
            })?;
        return Ok(Precondition::Matches(digests));
    }
    match whole_list(headers, &header::IF_NONE_MATCH)?.as_deref() {
        None => Ok(Precondition::None),
        Some("*") => Ok(Precondition::Absent),
        Some(_) => Err(ApiError::query_invalid(
            "`If-None-Match` of a push can only be `*`: the tag must not exist",
        )),
    }
}

/// A list that may stand in several headers of one name (RFC 9110, 5.3); a condition that cannot be read must not be passed over.
fn whole_list(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, ApiError> {
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::to_str)
        .collect::<Result<_, _>>()
        .map_err(|_| ApiError::query_invalid(format!("`{name}` is not text")))?;
    Ok((!values.is_empty()).then(|| values.join(",")))
}

/// The value of `Link` that leads to what follows in a list; `query` holds names and values as they are.
pub(crate) fn next_page(path: &str, query: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    format!("<{path}?{}>; rel=\"next\"", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(HeaderName, &[u8])]) -> HeaderMap {
        let lines = lines.iter();
        lines
            .map(|(name, value)| {
                (
                    name.clone(),
                    HeaderValue::from_bytes(value).expect("a value"),
                )
            })
            .collect()
    }

    #[test]
    fn a_condition_that_cannot_be_read_is_refused() {
        for value in [&b"\xff"[..], b"", b"\"latest\""] {
            assert!(precondition(&headers(&[(header::IF_MATCH, value)])).is_err());
        }
        assert!(precondition(&headers(&[(header::IF_NONE_MATCH, b"\xff")])).is_err());
        assert_eq!(precondition(&HeaderMap::new()), Ok(Precondition::None));
    }

    #[test]
    fn a_list_may_stand_in_several_headers() {
        let (one, two) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        let (first, second) = (format!("\"{one}\""), format!("\"{two}\""));
        let lines = headers(&[
            (header::IF_MATCH, first.as_bytes()),
            (header::IF_MATCH, second.as_bytes()),
        ]);
        assert_eq!(
            precondition(&lines),
            Ok(Precondition::Matches(vec![one, two]))
        );
    }

    #[test]
    fn lengths_are_digits() {
        for (text, want) in [("5", Some(5)), ("+5", None), ("5 ", None), ("", None)] {
            let lines = headers(&[(header::CONTENT_LENGTH, text.as_bytes())]);
            assert_eq!(content_length(&lines), want, "{text:?}");
        }
    }
}
