//! How much goes in and out: in one request, at once, by HTTP/2, over a slow line.

use std::time::Duration;

use http::{Method, header};
use rbuild_image::Digest;

use super::outside::{self, Noise, PATIENCE};
use super::uploads::{Broken, OCTETS, Outcome, expect};
use super::{Examination, advice, symptom};

const SIZES: [u64; 4] = [512 << 10, 2 << 20, 16 << 20, 128 << 20];
/// Uploads side by side; a little more than clients have.
const AT_ONCE: usize = 8;

impl Examination<'_> {
    /// Larger and larger bodies in one request, and the largest of them back again.
    pub(super) async fn sizes(&mut self) {
        let limit = self.options.largest_bytes;
        let mut sizes: Vec<u64> = SIZES.into_iter().filter(|size| *size < limit).collect();
        sizes.push(limit);
        let mut passed = None;
        for size in sizes {
            let noise = Noise::new(Noise::seed(), size, true);
            let digest = noise.digest();
            match self.push_noise(noise, digest, size).await {
                Ok(()) => passed = Some((size, digest)),
                Err(broken) => {
                    let before = passed.map_or("nothing passes".to_owned(), |(size, _)| {
                        format!("{} pass", bytes(size))
                    });
                    let seen = format!("{before}, {}: {}", bytes(size), broken.describe());
                    match broken {
                        Broken::Refused(answer) if answer.status == 507 => self.report.skipped(
                            "body-size",
                            format!("{seen}: the registry's own disk is nearly full"),
                        ),
                        _ => self.report.failed("body-size", seen, advice::SIZE),
                    }
                    break;
                }
            }
            if size == limit {
                self.report
                    .good("body-size", format!("{} in one request pass", bytes(size)));
            }
        }
        let Some((size, digest)) = passed else {
            return;
        };
        let path = self.path(&format!("blobs/{digest}"));
        match self.outside.digest(&path, size).await {
            Ok((200, actual)) if actual == digest => self.report.good(
                "pull",
                format!("{} came back as they were sent", bytes(size)),
            ),
            Ok((200, _)) => {
                let seen = format!("{} came back with another digest", bytes(size));
                self.report.failed("pull", seen, advice::BYTES);
            }
            Ok((status, _)) if (300..400).contains(&status) && self.is_ours => {
                let seen = format!("a blob is redirected ({status})");
                self.report.failed("pull", seen, advice::REDIRECT);
            }
            Ok((status, _)) if (300..400).contains(&status) => self.report.skipped(
                "pull",
                format!("blobs are redirected ({status}); where to is not looked at"),
            ),
            Ok((status, _)) => {
                let seen = format!("a blob that was pushed is answered with {status}");
                self.report.failed("pull", seen, advice::BYTES);
            }
            Err(failure) => {
                let seen = format!("{}: {}", bytes(size), symptom(&failure));
                self.report.failed("pull", seen, advice::SLOW);
            }
        }
    }

    async fn push_noise(&mut self, noise: Noise, digest: Digest, size: u64) -> Outcome<()> {
        let upload = self.start().await?;
        let patience = outside::patience(size);
        self.end_late(&upload, digest, &digest.to_string(), noise.body(), patience)
            .await?;
        Ok(())
    }

    /// Uploads side by side.
    pub(super) async fn parallel(&mut self) {
        const PIECES: usize = 4;
        let mut uploads = Vec::new();
        for _ in 0..AT_ONCE {
            match self.start().await {
                Ok(upload) => uploads.push(upload),
                Err(broken) => {
                    let seen = format!("an upload could not be started: {}", broken.describe());
                    self.report.failed("parallel", seen, advice::PARALLEL);
                    return;
                }
            }
        }
        let outside = &self.outside;
        let pushes = uploads.iter().map(|upload| {
            // Slow enough to be under way all at the same time.
            let body = outside::paced(PIECES, 16 << 10, Duration::from_millis(50));
            outside.put(Method::PATCH, upload, OCTETS, body)
        });
        let answers = futures_util::future::join_all(pushes).await;
        let refused: Vec<String> = answers
            .into_iter()
            .filter_map(|answer| match answer {
                Ok(answer) if answer.status == 202 => None,
                Ok(answer) => Some(answer.describe()),
                Err(failure) => Some(symptom(&failure)),
            })
            .collect();
        match refused.first() {
            None => self
                .report
                .good("parallel", format!("{AT_ONCE} uploads at once pass")),
            Some(first) => {
                let seen = format!(
                    "of {AT_ONCE} uploads at once {} fail: {first}",
                    refused.len()
                );
                self.report.failed("parallel", seen, advice::PARALLEL);
            }
        }
    }

    /// The same once more in the way of most clients, if the proxy offers it.
    pub(super) async fn http2(&mut self) {
        if self.outside.base().scheme() == "http" {
            self.report
                .skipped("http2", "clients speak it to no address without TLS");
            return;
        }
        if !self.outside.checks {
            self.report
                .skipped("http2", "not tried without a valid certificate");
            return;
        }
        let modern = match self.outside.modern().await {
            Ok((modern, true)) => modern,
            Ok((_, false)) => {
                self.report
                    .good("http2", "it is not offered; clients use HTTP/1.1");
                return;
            }
            Err(failure) => {
                self.report
                    .failed("http2", symptom(&failure), advice::HTTP2);
                return;
            }
        };
        let usual = std::mem::replace(&mut self.outside, modern);
        let outcome = self.push_and_pull().await;
        self.outside = usual;
        match outcome {
            Ok(()) => self.report.good("http2", "pushes and pulls pass"),
            Err(seen) => self.report.failed("http2", seen, advice::HTTP2),
        }
    }

    async fn push_and_pull(&mut self) -> Result<(), String> {
        match self.push_chunked().await {
            Ok(None) => {}
            Ok(Some(seen)) => return Err(seen),
            Err(broken) => return Err(format!("a push: {}", broken.describe())),
        }
        let size = self.options.largest_bytes.min(SIZES[1]);
        let noise = Noise::new(Noise::seed(), size, true);
        let digest = noise.digest();
        let pushed = self.push_noise(noise, digest, size).await;
        pushed.map_err(|broken| format!("a push of {}: {}", bytes(size), broken.describe()))?;
        let path = self.path(&format!("blobs/{digest}"));
        match self.outside.digest(&path, size).await {
            Ok((200, actual)) if actual == digest => Ok(()),
            Ok((status, _)) => Err(format!(
                "a pull is answered with {status} and other bytes than were pushed"
            )),
            Err(failure) => Err(format!("a pull: {}", symptom(&failure))),
        }
    }

    /// An upload over a slow line.
    pub(super) async fn slow(&mut self) {
        const PIECE: usize = 16 << 10;
        let Some(time) = self.options.slow else {
            self.report
                .skipped("slow", "takes as long as it says; --slow 2min tries it");
            return;
        };
        let pieces = usize::try_from(time.as_secs().max(1)).unwrap_or(usize::MAX);
        let began = tokio::time::Instant::now();
        let outcome = async {
            let upload = self.start().await?;
            let body = outside::paced(pieces, PIECE, Duration::from_secs(1));
            let headers = [(header::CONTENT_TYPE, OCTETS)];
            let patience = time + PATIENCE;
            let answer = self
                .outside
                .send(Method::PATCH, &upload, &headers, Some(body), patience)
                .await?;
            expect(answer, 202)
        }
        .await;
        match outcome {
            Ok(_) => self
                .report
                .good("slow", format!("an upload of {} s passes", time.as_secs())),
            Err(broken) => {
                let seen = format!(
                    "a slow upload ended after {} s of {}: {}",
                    began.elapsed().as_secs(),
                    time.as_secs(),
                    broken.describe()
                );
                self.report.failed("slow", seen, advice::SLOW);
            }
        }
    }
}

/// A size for people.
fn bytes(size: u64) -> String {
    match size {
        _ if size.is_multiple_of(1 << 20) => format!("{} MiB", size >> 20),
        _ if size.is_multiple_of(1 << 10) => format!("{} KiB", size >> 10),
        _ => format!("{size} bytes"),
    }
}
