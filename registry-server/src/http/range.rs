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
    /// Each of these bytes, in this order; two ranges or more, and none overlaps another.
    Parts(Vec<Range<u64>>),
    /// Bytes that do not exist, or a range that ends before it begins.
    Unsatisfiable,
}

/// Ranges of one request; with more, everything is sent.
const RANGES: usize = 100;
/// Bytes between two ranges that cost no more than the frame around a part.
const GAP: u64 = 100;

/// Reads a `Range` header for a blob of `size` bytes.
///
/// Ranges that lie closely together become one, so that no answer is longer than the blob and its frames (RFC 9110, 15.3.7.2).
///
/// ```
/// use rbuild_registry_server::http::range::{Wanted, wanted};
///
/// assert_eq!(wanted(Some("bytes=2-3"), 10), Wanted::Part(2..4));
/// assert_eq!(wanted(Some("bytes=-3"), 10), Wanted::Part(7..10));
/// assert_eq!(wanted(Some("bytes=10-"), 10), Wanted::Unsatisfiable);
/// assert_eq!(wanted(Some("bytes=0-1, 500-"), 510), Wanted::Parts(vec![0..2, 500..510]));
/// ```
pub fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(set) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Wanted::All;
    };
    let mut ranges = Vec::new();
    let mut listed = 0;
    for text in set.split(',').map(str::trim) {
        // A list may have empty elements (RFC 9110, 5.6.1.2).
        if text.is_empty() {
            continue;
        }
        // All of them count: how many there are says the client, not the blob.
        listed += 1;
        if listed > RANGES {
            return Wanted::All;
        }
        match one(text, size) {
            One::Malformed => return Wanted::All,
            One::Backwards => return Wanted::Unsatisfiable,
            One::Range(range) if range.start < range.end => ranges.push(range),
            One::Range(_) => {}
        }
    }
    if listed == 0 {
        return Wanted::All;
    }
    let mut ranges = apart(ranges);
    match (ranges.pop(), ranges.is_empty()) {
        (None, _) => Wanted::Unsatisfiable,
        (Some(only), true) => Wanted::Part(only),
        (Some(last), false) => {
            ranges.push(last);
            Wanted::Parts(ranges)
        }
    }
}

enum One {
    /// Empty if nothing of it is there.
    Range(Range<u64>),
    /// Passing it over is allowed as well, but then a client that counts badly gets everything.
    Backwards,
    Malformed,
}

/// `<first>-<last>`, `<first>-` or `-<length>`.
fn one(text: &str, size: u64) -> One {
    let Some((first, last)) = text.split_once('-') else {
        return One::Malformed;
    };
    match (first.trim(), last.trim()) {
        ("", suffix) => number(suffix).map_or(One::Malformed, |length| {
            One::Range(size.saturating_sub(length)..size)
        }),
        (first, "") => number(first).map_or(One::Malformed, |first| One::Range(first..size)),
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => {
                One::Range(first..size.min(last.saturating_add(1)))
            }
            (Some(_), Some(_)) => One::Backwards,
            _ => One::Malformed,
        },
    }
}

/// As they were asked for if they lie apart, and otherwise sorted and joined.
fn apart(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut sorted = ranges.clone();
    sorted.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP) => {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    if joined.len() == ranges.len() {
        ranges
    } else {
        joined
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
            (Some("bytes=0-1,4-5"), Wanted::Part(0..6)),
            (Some("bytes=4-5,0-1"), Wanted::Part(0..6)),
            (Some("bytes=0-1,"), Wanted::Part(0..2)),
            (Some("bytes=, 0-1 ,,20-"), Wanted::Part(0..2)),
            (Some("bytes=10-,20-30"), Wanted::Unsatisfiable),
            (Some("bytes=0-1,5-4"), Wanted::Unsatisfiable),
            (Some("bytes=0-1,x"), Wanted::All),
            (Some("bytes=,"), Wanted::All),
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
    fn several_ranges_of_a_blob() {
        let parts = |ranges: &[Range<u64>]| Wanted::Parts(ranges.to_vec());
        let many = format!("bytes={}", "0-0,500-500,".repeat(51));
        let cases = [
            ("bytes=0-1,500-501", parts(&[0..2, 500..502])),
            // The client's own order, which may be what it needs first.
            ("bytes=500-501,0-1", parts(&[500..502, 0..2])),
            ("bytes=-1,0-0", parts(&[999..1000, 0..1])),
            ("bytes=0-1,500-501,1000-", parts(&[0..2, 500..502])),
            ("bytes=0-1,5000-", Wanted::Part(0..2)),
            // A gap that is not worth a frame.
            ("bytes=0-1,102-103", Wanted::Part(0..104)),
            ("bytes=0-1,103-104", parts(&[0..2, 103..105])),
            ("bytes=500-,0-1,600-700", parts(&[0..2, 500..1000])),
            ("bytes=0-,0-,0-,0-", Wanted::Part(0..1000)),
            (many.as_str(), Wanted::All),
        ];
        for (header, want) in cases {
            assert_eq!(wanted(Some(header), 1000), want, "{header:?}");
        }
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
        fn parts_lie_inside_the_blob_and_apart(header in "bytes=([0-9]{0,4}-[0-9]{0,4},){2,8}", size in 0_u64..20_000) {
            if let Wanted::Parts(mut ranges) = wanted(Some(&header), size) {
                prop_assert!(ranges.len() > 1);
                ranges.sort_by_key(|range| range.start);
                prop_assert!(ranges.iter().all(|range| range.start < range.end && range.end <= size));
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }

        #[test]
        fn no_header_makes_it_panic(header in ".{0,40}") {
            let _ = (wanted(Some(&header), 7), chunk(&header));
        }
    }
}
