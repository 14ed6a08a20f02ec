//! When to try again, and how long to wait.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use crate::ClientError;

/// How often and after what time a failed request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first one included; 1 is "never again". A transfer that makes progress starts counting anew.
    pub attempts: u32,
    /// The wait before the second try; it doubles from try to try.
    pub first_delay: Duration,
    /// The longest wait that we choose ourselves.
    pub max_delay: Duration,
    /// The longest wait that a registry may ask for (`Retry-After`); beyond it the request fails at once.
    pub max_retry_after: Duration,
}

impl RetryPolicy {
    /// Five tries within about eight seconds, and patience of a minute when asked for.
    pub const STANDARD: Self = Self {
        attempts: 5,
        first_delay: Duration::from_millis(500),
        max_delay: Duration::from_secs(10),
        max_retry_after: Duration::from_mins(1),
    };

    /// How long to wait after the `failed`th try (from 1) failed with `error`; `None` is "give up".
    pub(crate) fn delay(&self, failed: u32, error: &ClientError) -> Option<Duration> {
        if failed >= self.attempts || !error.is_transient() {
            return None;
        }
        if let ClientError::RateLimited {
            retry_after: Some(asked),
            ..
        } = error
        {
            return (*asked <= self.max_retry_after).then_some(*asked);
        }
        let doubled = self
            .first_delay
            .saturating_mul(1 << failed.saturating_sub(1).min(16));
        Some(jitter(doubled.min(self.max_delay)))
    }
}

/// Between half of `delay` and all of it: clients that failed together should not come back together.
fn jitter(delay: Duration) -> Duration {
    // A new `RandomState` has new random keys, so that its hash of nothing is a random number.
    let random = RandomState::new().build_hasher().finish();
    let part = f64::from(u32::try_from(random >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    delay.mul_f64(0.5 + part / 2.0)
}

/// The wait that `Retry-After` asks for: seconds, or a date (RFC 9110, 10.2.3), which is measured from the answer's own
/// `Date`, so that this machine's clock does not matter.
pub(crate) fn parse_retry_after(retry_after: &str, date: Option<&str>) -> Option<Duration> {
    let text = retry_after.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let (then, now) = (seconds_of(text)?, seconds_of(date?.trim())?);
    Some(Duration::from_secs(then.saturating_sub(now)))
}

/// Seconds from the year 0 to a date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn seconds_of(date: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let fields: Vec<&str> = date.split([' ', ':']).collect();
    let [_, day, month, year, hour, minute, second, "GMT"] = fields[..] else {
        return None;
    };
    let number = |text: &str, limit: u64| text.parse::<u64>().ok().filter(|n| *n <= limit);
    let month = (month.len() == 3).then(|| MONTHS.find(month)).flatten()? as u64 / 3;
    // Years begin with March, so that the leap day is the last of its year (Howard Hinnant's `days_from_civil`).
    let year = number(year, 9999)? - u64::from(month < 2).min(number(year, 9999)?);
    let day_of_year = (153 * ((month + 10) % 12) + 2) / 5 + number(day, 31)?;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year;
    let hours = days * 24 + number(hour, 23)?;
    Some((hours * 60 + number(minute, 59)?) * 60 + number(second, 60)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RegistryErrors;

    fn limited(seconds: Option<u64>) -> ClientError {
        ClientError::RateLimited {
            registry: "r".to_owned(),
            retry_after: seconds.map(Duration::from_secs),
            errors: RegistryErrors::default(),
        }
    }

    fn status(status: u16) -> ClientError {
        ClientError::Status {
            what: String::new(),
            status,
            method: String::new(),
            url: String::new(),
            errors: RegistryErrors::default(),
        }
    }

    #[test]
    fn delays_double_with_jitter_and_end() {
        let policy = RetryPolicy::STANDARD;
        for (failed, low, high) in [(1, 250, 500), (2, 500, 1000), (4, 2000, 4000)] {
            let delay = policy.delay(failed, &status(503)).unwrap().as_millis();
            assert!((low..=high).contains(&delay), "{failed}: {delay}");
        }
        assert_eq!(policy.delay(5, &status(503)), None);
        assert_eq!(policy.delay(1, &status(400)), None);
    }

    #[test]
    fn the_registrys_own_delay_is_kept_up_to_a_limit() {
        let policy = RetryPolicy::STANDARD;
        assert_eq!(
            policy.delay(1, &limited(Some(7))),
            Some(Duration::from_secs(7))
        );
        assert_eq!(policy.delay(1, &limited(Some(3600))), None);
        assert!(policy.delay(1, &limited(None)).is_some());
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Some("Sun, 31 Dec 2023 23:59:50 GMT");
        for (text, date, want) in [
            ("7", None, Some(7)),
            (" 0 ", now, Some(0)),
            ("Mon, 01 Jan 2024 00:00:20 GMT", now, Some(30)),
            ("Sun, 31 Dec 2023 23:00:00 GMT", now, Some(0)),
            (
                "Fri, 01 Mar 2024 00:00:00 GMT",
                Some("Wed, 28 Feb 2024 00:00:00 GMT"),
                Some(2 * 86_400),
            ),
            (
                "Wed, 01 Mar 2023 00:00:00 GMT",
                Some("Tue, 28 Feb 2023 00:00:00 GMT"),
                Some(86_400),
            ),
            ("Mon, 01 Jan 2024 00:00:20 GMT", None, None),
            ("soon", now, None),
            ("-1", now, None),
            ("", now, None),
        ] {
            let want = want.map(Duration::from_secs);
            assert_eq!(parse_retry_after(text, date), want, "{text}");
        }
    }
}
