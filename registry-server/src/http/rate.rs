//! How many requests one address may make: a bucket each, that fills at a steady rate.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Seconds' worth of requests that an address may make at once.
const BURST: f64 = 10.0;
/// Addresses that are remembered. If more come at once, all begin anew: a bound on memory comes first.
const ADDRESSES: usize = 100_000;

/// The buckets of all addresses.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    /// Requests that may be made at `since`.
    left: f64,
    since: Instant,
}

impl Rate {
    /// At most so many requests per second in the long run.
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            per_second: f64::from(per_second),
            buckets: Mutex::default(),
        }
    }

    /// Takes one request; an error is how long to wait before the next try.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let most = self.per_second * BURST;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= ADDRESSES {
            buckets.clear();
        }
        let bucket = buckets.entry(network(address)).or_insert(Bucket {
            left: most,
            since: now,
        });
        let passed = now.saturating_duration_since(bucket.since).as_secs_f64();
        bucket.left = passed.mul_add(self.per_second, bucket.left).min(most);
        bucket.since = now;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64(
                (1.0 - bucket.left) / self.per_second,
            ))
        }
    }

    /// Forgets addresses whose bucket is full again: a new one would be the same.
    pub(super) fn expire(&self, now: Instant) {
        let full = Duration::from_secs_f64(BURST);
        self.buckets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, bucket| now.saturating_duration_since(bucket.since) < full);
    }
}

/// What counts as one client: an IPv4 address, or the network of an IPv6 address, of which everybody has plenty.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rate: &Rate, address: &str, now: Instant, tries: usize) -> usize {
        let address = address.parse().expect("an address");
        (0..tries)
            .filter(|_| rate.take(address, now).is_ok())
            .count()
    }

    #[test]
    fn a_burst_then_the_rate_and_each_address_by_itself() {
        let rate = Rate::new(2);
        let start = Instant::now();
        assert_eq!(taken(&rate, "10.0.0.1", start, 50), 20);
        assert_eq!(taken(&rate, "10.0.0.2", start, 1), 1);
        assert_eq!(
            rate.take("10.0.0.1".parse().expect("an address"), start),
            Err(Duration::from_millis(500))
        );
        let later = start + Duration::from_secs(3);
        assert_eq!(taken(&rate, "::ffff:10.0.0.1", later, 50), 6);
        let much_later = later + Duration::from_hours(1);
        assert_eq!(taken(&rate, "10.0.0.1", much_later, 50), 20);
        assert_eq!(taken(&rate, "2001:db8::1", start, 50), 20);
        assert_eq!(taken(&rate, "2001:db8::2", start, 50), 0);
        assert_eq!(taken(&rate, "2001:db8:0:1::2", start, 50), 20);
    }

    #[test]
    fn an_address_is_forgotten_when_nothing_is_lost_by_it() {
        let rate = Rate::new(1);
        let start = Instant::now();
        assert_eq!(taken(&rate, "10.0.0.1", start, 50), 10);
        let soon = start + Duration::from_secs(5);
        rate.expire(soon);
        assert_eq!(taken(&rate, "10.0.0.1", soon, 50), 5);
        rate.expire(soon + Duration::from_secs(10));
        assert!(rate.buckets.lock().expect("whole").is_empty());
    }
}
