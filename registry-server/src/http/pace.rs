//! How long to wait for a client that sends slowly. Pure.

use std::time::Duration;

/// Patience with one client: waiting uses it up, and what comes restores it.
///
/// So a client may pause as long as it likes up to the bound, and in the long run it keeps to a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    most: Duration,
    left: Duration,
    /// Bytes that restore a second; 0: any byte restores all of it.
    bytes_per_second: u64,
}

impl Pace {
    pub(super) const fn new(most: Duration, bytes_per_second: u64) -> Self {
        Self {
            most,
            left: most,
            bytes_per_second,
        }
    }

    /// How long to wait now.
    pub(super) const fn patience(&self) -> Duration {
        self.left
    }

    /// So much came after so long a wait.
    pub(super) fn came(&mut self, waited: Duration, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let restored = match u32::try_from(self.bytes_per_second) {
            Ok(0) => self.most,
            Ok(rate) => Duration::from_secs(1) * bytes / rate,
            Err(_) => Duration::ZERO,
        };
        self.left = self
            .left
            .saturating_sub(waited)
            .saturating_add(restored)
            .min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a client that sends so much each time is still waited for after a hundred times.
    fn endures(bytes_per_second: u64, every: Duration, bytes: usize) -> bool {
        let mut pace = Pace::new(Duration::from_mins(1), bytes_per_second);
        (0..100).all(|_| {
            let in_time = every < pace.patience();
            pace.came(every, bytes);
            in_time
        })
    }

    #[test]
    fn who_keeps_to_the_rate_is_waited_for() {
        let seconds = Duration::from_secs;
        for (rate, every, bytes, want) in [
            (1024, seconds(59), 1, false),
            (1024, seconds(30), 1000, false),
            (1024, seconds(1), 1, false),
            (1024, seconds(1), 1024, true),
            (1024, seconds(59), 60 << 10, true),
            (1024, seconds(61), 1 << 20, false),
            (1024, Duration::from_micros(10), 1, true),
            // Without a rate any byte is enough.
            (0, seconds(59), 1, true),
            (0, seconds(60), 1, false),
            (u64::MAX, seconds(1), 1 << 20, false),
        ] {
            assert_eq!(
                endures(rate, every, bytes),
                want,
                "{rate} {every:?} {bytes}"
            );
        }
    }
}
