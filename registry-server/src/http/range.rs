//! `Range` of a blob GET, and `Content-Range` of a chunk. Pure.

use std::ops::Range;

use super::headers::number;

/// What a `Range` header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: no header, or one that may be passed over (RFC 9110, 14.2).
    All,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes that do not exist, or a range that ends before it begins.
    Unsatisfiable,
}

/// Reads a `Range` header for a blob of `size` bytes. Several ranges at once are answered with everything.
///
/// ```
/// use rbuild_registry_server::http::range::{Wanted, wanted};
///
/// assert_eq!(wanted(Some("bytes=2-3"), 10), Wanted::Part(2..4));
/// assert_eq!(wanted(Some("bytes=-3"), 10), Wanted::Part(7..10));
/// assert_eq!(wanted(Some("bytes=10-"), 10), Wanted::Unsatisfiable);
/// ```
pub fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(set) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Wanted::All;
    };
    let Some((first, last)) = set.trim().split_once('-') else {
        return Wanted::All;
    };
    let (first, last) = (first.trim(), last.trim());
    let range = match (first, last) {
        ("", suffix) => match number(suffix) {
            Some(length) => size.saturating_sub(length)..size,
            None => return Wanted::All,
        },
        (first, "") => match number(first) {
            Some(first) => first..size,
            None => return Wanted::All,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => first..size.min(last.saturating_add(1)),
            // Passing it over is allowed as well, but then a client that counts badly gets everything.
            (Some(_), Some(_)) => return Wanted::Unsatisfiable,
            _ => return Wanted::All,
        },
    };
    if range.start >= range.end {
        Wanted::Unsatisfiable
    } else {
        Wanted::Part(range)
    }
}

/// The place of a chunk in an upload: `<first>-<last>`, with or without the `bytes` and `/size` of HTTP's own form.
///
/// ```
/// use rbuild_registry_server::http::range::chunk;
///
/// assert_eq!(chunk("0-9"), Some(0..10));
/// assert_eq!(chunk("bytes 10-19/20"), Some(10..20));
/// assert_eq!(chunk("9-0"), None);
/// ```
pub fn chunk(header: &str) -> Option<Range<u64>> {
    let text = header.trim();
    let text = text
        .strip_prefix("bytes")
        .map_or(text, |rest| rest.trim_start_matches([' ', '=']));
    let text = text.split('/').next()?;
    let (first, last) = text.trim().split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then(|| last.checked_add(1).map(|end| first..end))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_of_a_blob() {
        let cases = [
            (None, Wanted::All),
            (Some("bytes=0-0"), Wanted::Part(0..1)),
            (Some("bytes=0-"), Wanted::Part(0..10)),
            (Some("bytes=9-99"), Wanted::Part(9..10)),
            (Some("bytes=-99"), Wanted::Part(0..10)),
            (Some("bytes=-0"), Wanted::Unsatisfiable),
            (Some("bytes=10-11"), Wanted::Unsatisfiable),
            (Some("bytes=5-4"), Wanted::Unsatisfiable),
            (Some("bytes=0-1,4-5"), Wanted::All),
            (Some("lines=0-1"), Wanted::All),
            (Some("bytes=+1-2"), Wanted::All),
            (Some("bytes=99999999999999999999-"), Wanted::All),
            (Some("bytes="), Wanted::All),
        ];
        for (header, want) in cases {
            assert_eq!(wanted(header, 10), want, "{header:?}");
        }
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn places_of_a_chunk() {
        let cases = [
            ("0-0", Some(0..1)),
            ("bytes 5-9/*", Some(5..10)),
            ("bytes=5-9", Some(5..10)),
            ("", None),
            ("5", None),
            ("-5", None),
            ("5-", None),
            ("a-b", None),
            ("0-18446744073709551615", None),
        ];
        for (header, want) in cases {
            assert_eq!(chunk(header), want, "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_inside_the_blob(header in "bytes=[0-9]{0,20}-[0-9]{0,20}", size in 0_u64..1000) {
            if let Wanted::Part(range) = wanted(Some(&header), size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }

        #[test]
        fn no_header_makes_it_panic(header in ".{0,40}") {
            let _ = (wanted(Some(&header), 7), chunk(&header));
        }
    }
}
