//! Durations as Go writes them: `1h15m30.918s`.

use std::time::Duration;

use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::character::complete::{char, digit0, digit1};
use nom::combinator::{all_consuming, opt, recognize};
use nom::multi::many1;
use nom::{IResult, Parser};

/// Reads a duration; a negative one is an error that says so.
pub(crate) fn parse(text: &str) -> Result<Duration, &'static str> {
    if text.strip_prefix(['+', '-']).unwrap_or(text) == "0" {
        return Ok(Duration::ZERO);
    }
    let (_, (sign, parts)) = all_consuming((opt(alt((char('+'), char('-')))), many1(part)))
        .parse(text)
        .map_err(|_| "a number with a unit of h, m, s, ms, us or ns is expected")?;
    let mut nanoseconds: u128 = 0;
    for (whole, fraction, unit) in parts {
        let whole: u128 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| TOO_LONG)?
        };
        nanoseconds = whole
            .checked_mul(unit)
            .and_then(|add| nanoseconds.checked_add(add))
            .ok_or(TOO_LONG)?;
        nanoseconds += fraction_of(fraction, unit);
    }
    let nanoseconds = i64::try_from(nanoseconds).map_err(|_| TOO_LONG)?;
    if sign == Some('-') && nanoseconds > 0 {
        return Err("it is negative");
    }
    Ok(Duration::from_nanos(nanoseconds.unsigned_abs()))
}

const TOO_LONG: &str = "it is too long";

/// The digits after the point, in nanoseconds; what is smaller is cut off.
fn fraction_of(digits: &str, unit: u128) -> u128 {
    let mut value = 0;
    let mut scale = unit;
    for digit in digits.chars() {
        scale /= 10;
        value += scale * u128::from(digit.to_digit(10).unwrap_or_default());
    }
    value
}

/// A number and its unit in nanoseconds.
fn part(text: &str) -> IResult<&str, (&str, &str, u128)> {
    let number = alt((
        (digit1, opt((char('.'), digit0)))
            .map(|(whole, rest)| (whole, rest.map_or("", |(_, digits)| digits))),
        recognize((char('.'), digit1)).map(|digits: &str| ("", &digits[1..])),
    ));
    let unit = alt((
        tag("ns").map(|_| 1),
        alt((tag("us"), tag("µs"), tag("μs"))).map(|_| 1_000),
        tag("ms").map(|_| 1_000_000),
        tag("s").map(|_| 1_000_000_000),
        tag("m").map(|_| 60_000_000_000),
        tag("h").map(|_| 3_600_000_000_000),
    ));
    (number, unit)
        .map(|((whole, fraction), unit)| (whole, fraction, unit))
        .parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        for (text, want) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("30s", Some(30_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("1us", Some(1_000)),
            ("1µs", Some(1_000)),
            ("0.1234567891s", Some(123_456_789)),
            ("30", None),
            ("", None),
            ("s", None),
            (".s", None),
            ("-5s", None),
            ("1d", None),
            ("99999999999h", None),
            ("999999999999999999999999999999999999999999h", None),
        ] {
            assert_eq!(parse(text).ok(), want.map(Duration::from_nanos), "{text}");
        }
    }
}
