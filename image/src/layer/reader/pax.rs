//! PAX extended headers: `length key=value\n`, where values may hold any byte.

use super::super::entry::Time;

/// The records of one extended header; none after the first that is malformed.
pub(super) struct Records<'a> {
    rest: &'a [u8],
}

/// One record, or the notice that the header is malformed.
pub(super) type Record<'a> = Result<(&'a [u8], &'a [u8]), ()>;

pub(super) const fn records(body: &[u8]) -> Records<'_> {
    Records { rest: body }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        // Some writers fill up with NUL bytes.
        if self.rest.iter().all(|byte| *byte == 0) {
            return None;
        }
        let record = split(self.rest);
        self.rest = record.map_or(&[], |(_, rest)| rest);
        Some(record.map(|(record, _)| record).ok_or(()))
    }
}

type Split<'a> = ((&'a [u8], &'a [u8]), &'a [u8]);

fn split(bytes: &[u8]) -> Option<Split<'_>> {
    let digits = bytes.iter().take(12).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&bytes[..digits])?).ok()?;
    let (line, rest) = bytes.split_at_checked(length)?;
    let line = line.get(digits + 1..)?.strip_suffix(b"\n")?;
    let equals = line.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&line[..equals], &line[equals + 1..]);
    (!key.is_empty()).then_some(((key, value), rest))
}

/// A decimal number without sign.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A decimal number of seconds with or without sign and fraction; what is finer than nanoseconds is cut off.
pub(super) fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = i64::try_from(number(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds = (0..9).fold(0, |sum, place| {
        let digit = fraction.get(place).map_or(0, |digit| digit - b'0');
        sum * 10 + u32::from(digit)
    });
    Some(match (negative, nanoseconds) {
        (false, _) => Time {
            seconds: whole,
            nanoseconds,
        },
        (true, 0) => Time::from_seconds(-whole),
        (true, _) => Time {
            seconds: -whole - 1,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_hold_line_ends_and_equals_signs() {
        let body = b"14 user=a=\n\n\nb\n";
        let body = [&b"15"[..], &body[2..]].concat();
        let read: Vec<_> = records(&body).collect();
        assert_eq!(read, [Ok((&b"user"[..], &b"a=\n\n\nb"[..]))]);
    }

    #[test]
    fn malformed_records_are_noticed_once() {
        for body in [
            &b"5 a=b\n"[..],
            b"99 a=b\n",
            b"6 a=b",
            b"x a=b\n",
            b"-6 a=b\n",
            b"6 =ab\n",
            b"6 abc\n",
            b"0 \n",
            b"99999999999999999999 a=b\n",
            b"\0\x01",
        ] {
            let read: Vec<_> = records(body).collect();
            assert_eq!(read, [Err(())], "{body:?}");
        }
        assert_eq!(records(b"").count(), 0);
    }

    #[test]
    fn times_are_rounded_down_to_nanoseconds() {
        let parse = |text: &str| time(text.as_bytes()).map(|t| (t.seconds, t.nanoseconds));
        for (text, want) in [
            ("0", Some((0, 0))),
            ("1.5", Some((1, 500_000_000))),
            ("1.", Some((1, 0))),
            ("1.1234567899", Some((1, 123_456_789))),
            ("-1", Some((-1, 0))),
            ("-0.5", Some((-1, 500_000_000))),
            ("-1.25", Some((-2, 750_000_000))),
            ("", None),
            ("1.x", None),
            ("x", None),
            ("--1", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }
}
