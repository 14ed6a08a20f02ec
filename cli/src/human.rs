//! Sizes, times and durations as docker prints them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A size in decimal units with at most four digits: `1.24MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    // Four significant digits do not need more than a double has.
    #[expect(
        clippy::cast_precision_loss,
        reason = "only the first digits are shown"
    )]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let text = if decimals > 0 {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{}", UNITS[unit])
}

/// A duration in words, as docker puts it: `About an hour`, `3 days`.
pub(crate) fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, (seconds + 1800) / 3600, seconds / 86_400);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours <= 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{days} days"),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", days / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", days / 30),
        _ => format!("{} years", days / 365),
    }
}

/// How long ago an RFC 3339 time was; `N/A` when there is none or it is docker's zero time.
pub(crate) fn ago(created: Option<&str>, now: SystemTime) -> String {
    match created.and_then(parse_time) {
        Some(time) if time > UNIX_EPOCH || created.is_some_and(|text| text.starts_with("1970")) => {
            format!("{} ago", age(now.duration_since(time).unwrap_or_default()))
        }
        _ => "N/A".to_owned(),
    }
}

/// Reads an RFC 3339 time, with any offset.
pub(crate) fn parse_time(text: &str) -> Option<SystemTime> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        return Some(time);
    }
    let at = text.rfind(['+', '-']).filter(|at| *at >= 19)?;
    let (time, offset) = text.split_at(at);
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let seconds = hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60;
    let time = humantime::parse_rfc3339(&format!("{time}Z")).ok()?;
    let seconds = Duration::from_secs(seconds);
    if offset.starts_with('+') {
        time.checked_sub(seconds)
    } else {
        time.checked_add(seconds)
    }
}

/// A duration of a step: `0.1s`, `75.0s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// `text` in at most `width` characters, its end replaced by `…` where it is longer.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal() {
        for (bytes, want) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_240_000, "1.24MB"),
            (12_345_678, "12.3MB"),
            (117_000_000, "117MB"),
            (2_000_000_000, "2GB"),
            (u64::MAX, "18447PB"),
        ] {
            assert_eq!(size(bytes), want);
        }
    }

    #[test]
    fn ages_are_in_dockers_words() {
        for (seconds, want) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (130, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (86_400 * 3, "3 days"),
            (86_400 * 20, "2 weeks"),
            (86_400 * 90, "3 months"),
            (86_400 * 800, "2 years"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), want, "{seconds}");
        }
    }

    #[test]
    fn times_with_offsets_are_read() {
        let want = humantime::parse_rfc3339("2026-01-01T00:00:00Z").expect("time");
        for text in [
            "2026-01-01T00:00:00Z",
            "2026-01-01T02:00:00+02:00",
            "2025-12-31T19:00:00.000-05:00",
        ] {
            assert_eq!(parse_time(text), Some(want), "{text}");
        }
        for text in ["", "yesterday", "2026-01-01", "2026-01-01T00:00:00+xx:yy"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn long_texts_end_in_an_ellipsis() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abcde…");
        assert_eq!(shorten("äöüß", 3), "äö…");
    }
}
