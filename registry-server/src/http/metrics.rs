//! Counters of the API, and their text form for Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::route::Kind;
use crate::service::{Collected, Registry};

/// Upper bounds of the duration buckets, in seconds.
const BUCKETS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];
const CLASSES: usize = 6;

/// What has happened since the start.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    requests: [[AtomicU64; CLASSES]; Kind::ALL.len()],
    buckets: [AtomicU64; BUCKETS.len() + 1],
    duration_micros: AtomicU64,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    under_way: AtomicU64,
    collected_manifests: AtomicU64,
    collected_blobs: AtomicU64,
    collected_bytes: AtomicU64,
}

/// Counts a request as under way until dropped.
#[derive(Debug)]
pub(super) struct UnderWay<'a>(&'a Metrics);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    pub(super) fn count(&self, kind: Kind, status: u16, took: Duration, sent: u64, received: u64) {
        let class = usize::from(status / 100).min(CLASSES - 1);
        self.requests[kind as usize][class].fetch_add(1, Ordering::Relaxed);
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound);
        self.buckets[bucket.unwrap_or(BUCKETS.len())].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.duration_micros.fetch_add(micros, Ordering::Relaxed);
        self.sent_bytes.fetch_add(sent, Ordering::Relaxed);
        self.received_bytes.fetch_add(received, Ordering::Relaxed);
    }

    pub(super) fn collected(&self, collected: &Collected) {
        for (counter, value) in [
            (&self.collected_manifests, collected.manifests),
            (&self.collected_blobs, collected.blobs),
            (&self.collected_bytes, collected.bytes),
        ] {
            counter.fetch_add(value, Ordering::Relaxed);
        }
    }

    /// The text form, version 0.0.4, with the registry's own numbers.
    pub(super) fn render(&self, registry: &Registry) -> String {
        let mut text = String::new();
        self.render_requests(&mut text);
        let mut plain = |name: &str, kind: &str, help: &str, value: u64| {
            let name = format!("rbuild_registry_{name}");
            let _ = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
            );
        };
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        plain(
            "requests_under_way",
            "gauge",
            "Requests that are being answered.",
            load(&self.under_way),
        );
        plain(
            "sent_bytes_total",
            "counter",
            "Bytes of answers.",
            load(&self.sent_bytes),
        );
        plain(
            "received_bytes_total",
            "counter",
            "Bytes of requests.",
            load(&self.received_bytes),
        );
        plain(
            "collected_manifests_total",
            "counter",
            "Manifests that were collected.",
            load(&self.collected_manifests),
        );
        plain(
            "collected_blobs_total",
            "counter",
            "Blobs that were collected.",
            load(&self.collected_blobs),
        );
        plain(
            "collected_bytes_total",
            "counter",
            "Bytes of blobs that were collected.",
            load(&self.collected_bytes),
        );
        if let Ok(totals) = registry.metadata().totals() {
            plain(
                "repositories",
                "gauge",
                "Repositories.",
                totals.repositories,
            );
            plain(
                "manifests",
                "gauge",
                "Manifests, counted once per repository.",
                totals.manifests,
            );
            plain("tags", "gauge", "Tags.", totals.tags);
            plain("blobs", "gauge", "Distinct blobs.", totals.blobs);
            plain(
                "blob_bytes",
                "gauge",
                "Bytes of distinct blobs.",
                totals.blob_bytes,
            );
            plain(
                "uploads",
                "gauge",
                "Uploads that have been started and not ended.",
                totals.uploads,
            );
            plain(
                "reviews",
                "gauge",
                "Entries of the queue of the collection.",
                totals.reviews,
            );
        }
        if let Ok(free) = registry.free_bytes() {
            plain(
                "disk_free_bytes",
                "gauge",
                "Free bytes on the disk of the blobs.",
                free,
            );
        }
        text
    }

    fn render_requests(&self, text: &mut String) {
        let name = "rbuild_registry_requests_total";
        let _ = writeln!(
            text,
            "# HELP {name} Answered requests.\n# TYPE {name} counter"
        );
        for kind in Kind::ALL {
            for (class, counter) in self.requests[kind as usize].iter().enumerate() {
                let count = counter.load(Ordering::Relaxed);
                if count > 0 {
                    let endpoint = kind.as_str();
                    let _ = writeln!(
                        text,
                        "{name}{{endpoint=\"{endpoint}\",status=\"{class}xx\"}} {count}"
                    );
                }
            }
        }
        let name = "rbuild_registry_request_duration_seconds";
        let _ = writeln!(
            text,
            "# HELP {name} Time until the head of the answer.\n# TYPE {name} histogram"
        );
        let mut sum = 0;
        for (index, counter) in self.buckets.iter().enumerate() {
            sum += counter.load(Ordering::Relaxed);
            let bound = BUCKETS
                .get(index)
                .map_or("+Inf".to_owned(), ToString::to_string);
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {sum}");
        }
        let total = Duration::from_micros(self.duration_micros.load(Ordering::Relaxed));
        let _ = writeln!(
            text,
            "{name}_sum {}\n{name}_count {sum}",
            total.as_secs_f64()
        );
    }
}
