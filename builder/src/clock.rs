//! The one place that asks what time it is. Nothing in a plan or a key comes from here.

use std::time::{Duration, SystemTime};

/// Seconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

/// A moment as RFC 3339, as image configs write it.
pub(crate) fn rfc3339(seconds: u64) -> String {
    // Beyond the year 9999 the format has no form.
    let seconds = seconds.min(253_402_300_799);
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        .to_string()
}
