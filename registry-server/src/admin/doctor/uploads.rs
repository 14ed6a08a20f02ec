//! What goes in: where uploads go on, how large and how long they may be, and whether they pass as they come.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, header};
use rbuild_image::Digest;
use reqwest::Body;
use tokio::sync::mpsc;

use super::outside::{self, Answer, Failure, Noise, PATIENCE};
use super::{Examination, advice, symptom};

const OCTETS: &str = "application/octet-stream";
const SIZES: [u64; 4] = [512 << 10, 2 << 20, 16 << 20, 128 << 20];
/// Uploads side by side; a little more than clients have.
const AT_ONCE: usize = 8;
/// How long a chunk may take to show up behind the proxy.
const SHOWS_UP: Duration = Duration::from_secs(3);

/// Why an upload did not work.
pub(super) enum Broken {
    Refused(Answer),
    Lost(Failure),
}

impl Broken {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Refused(answer) => answer.describe(),
            Self::Lost(failure) => symptom(failure),
        }
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Lost(failure)
    }
}

type Outcome<T> = Result<T, Broken>;

fn expect(answer: Answer, status: u16) -> Outcome<Answer> {
    if answer.status == status {
        Ok(answer)
    } else {
        Err(Broken::Refused(answer))
    }
}

impl Examination<'_> {
    /// Whether blobs can be pushed at all, and where the answers say that they go on.
    pub(super) async fn location(&mut self) -> bool {
        let path = self.path("blobs/uploads/");
        let answer = match self.outside.put(Method::POST, &path, OCTETS, "").await {
            Ok(answer) if answer.status == 202 => answer,
            Ok(answer) => {
                self.report.failed(
                    "push",
                    format!("POST {path} is answered with {}", answer.describe()),
                    advice::UPLOADS,
                );
                return false;
            }
            Err(failure) => {
                let seen = format!("POST {path}: {}", symptom(&failure));
                self.report.failed("push", seen, advice::UPLOADS);
                return false;
            }
        };
        let Some(location) = answer.header(header::LOCATION).map(str::to_owned) else {
            let seen = "the answer to POST has no Location";
            self.report.failed("location", seen, advice::LOCATION);
            return false;
        };
        let judged = self.judge(&location, "blobs/uploads/");
        let content = Bytes::from_static(b"the first thing that goes through");
        let digest = Digest::sha256(&content);
        let upload = self.go_on(&location);
        self.left.uploads.push(upload.clone());
        let ended = self
            .end(&upload, digest, &digest.to_string(), content)
            .await;
        // The answer to the last request has a location as well.
        let judged = judged.and_then(|seen| match &ended {
            Ok(answer) => match answer.header(header::LOCATION) {
                Some(last) => self.judge(last, "blobs/").map(|_| seen),
                None => Err("the answer to PUT has no Location".to_owned()),
            },
            Err(_) => Ok(seen),
        });
        match judged {
            Ok(seen) => self.report.good("location", seen),
            Err(seen) => self.report.failed("location", seen, advice::LOCATION),
        }
        match ended {
            Ok(_) => {
                self.report.good("push", "a small blob was taken");
                true
            }
            Err(broken) => {
                let seen = format!("PUT of a small blob: {}", broken.describe());
                self.report.failed("push", seen, advice::UPLOADS);
                false
            }
        }
    }

    /// What a Location says; an error if clients would go astray.
    fn judge(&self, location: &str, rest: &str) -> Result<String, String> {
        let base = self.outside.base();
        let Ok(url) = base.join(location) else {
            return Err(format!("Location is no address: {location}"));
        };
        for (what, own, theirs) in [
            ("scheme", base.scheme(), url.scheme()),
            (
                "host",
                base.host_str().unwrap_or_default(),
                url.host_str().unwrap_or_default(),
            ),
        ] {
            if own != theirs {
                return Err(format!(
                    "Location has {what} {theirs} instead of {own}: {location}"
                ));
            }
        }
        let (own, theirs) = (base.port_or_known_default(), url.port_or_known_default());
        if own != theirs {
            let port = |port: Option<u16>| port.map_or("none".to_owned(), |port| port.to_string());
            return Err(format!(
                "Location has port {} instead of {}: {location}",
                port(theirs),
                port(own)
            ));
        }
        if !url.path().starts_with(&self.path(rest)) {
            return Err(format!("Location leads to another path: {location}"));
        }
        Ok(if location.starts_with('/') {
            "relative, so Host and X-Forwarded-* need not be right".to_owned()
        } else if self.is_ours {
            "right, but the proxy makes them absolute, which the registry does not need (nginx: proxy_redirect off)".to_owned()
        } else {
            "absolute, and right: the registry needs Host and X-Forwarded-Proto from the proxy"
                .to_owned()
        })
    }

    /// Path and query to go on with, at the address that we were given, whatever the proxy made of it.
    fn go_on(&self, location: &str) -> String {
        let Ok(url) = self.outside.base().join(location) else {
            return location.to_owned();
        };
        let path = url.path();
        let from = path.find("/v2/").unwrap_or(0);
        match url.query() {
            Some(query) => format!("{}?{query}", &path[from..]),
            None => path[from..].to_owned(),
        }
    }

    /// Starts an upload, and tells its path.
    async fn start(&mut self) -> Outcome<String> {
        let path = self.path("blobs/uploads/");
        let answer = expect(
            self.outside.put(Method::POST, &path, OCTETS, "").await?,
            202,
        )?;
        let Some(location) = answer.header(header::LOCATION) else {
            return Err(Broken::Refused(answer));
        };
        let upload = self.go_on(location);
        self.left.uploads.push(upload.clone());
        Ok(upload)
    }

    /// Ends an upload with this body; `shown` is the digest as the query has it.
    async fn end(
        &mut self,
        upload: &str,
        digest: Digest,
        shown: &str,
        body: impl Into<Body>,
    ) -> Outcome<Answer> {
        self.end_late(upload, digest, shown, body.into(), PATIENCE)
            .await
    }

    async fn end_late(
        &mut self,
        upload: &str,
        digest: Digest,
        shown: &str,
        body: Body,
        patience: Duration,
    ) -> Outcome<Answer> {
        let separator = if upload.contains('?') { '&' } else { '?' };
        let path = format!("{upload}{separator}digest={shown}");
        // Noted first: an answer that is lost may have been a yes.
        self.left.blobs.push(self.path(&format!("blobs/{digest}")));
        let headers = [(header::CONTENT_TYPE, OCTETS)];
        let answer = self
            .outside
            .send(Method::PUT, &path, &headers, Some(body), patience)
            .await?;
        expect(answer, 201)
    }

    /// Pushes a small blob.
    pub(super) async fn push(&mut self, content: &Bytes) -> Outcome<Digest> {
        let digest = Digest::sha256(content);
        let upload = self.start().await?;
        self.end(&upload, digest, &digest.to_string(), content.clone())
            .await?;
        Ok(digest)
    }

    /// Percent signs in addresses: decoded once, by the registry.
    pub(super) async fn percent(&mut self) {
        let outcome = self.percent_signs().await;
        match outcome {
            Ok(()) => self.report.good(
                "encoding",
                "addresses arrive as they were sent (%3A, %25, %2F)",
            ),
            Err(seen) => self.report.failed("encoding", seen, advice::ENCODING),
        }
    }

    async fn percent_signs(&mut self) -> Result<(), String> {
        let content = Bytes::from(format!("percent {}", self.repository));
        let digest = Digest::sha256(&content);
        let (once, twice) = (
            digest.to_string().replace(':', "%3A"),
            digest.to_string().replace(':', "%253A"),
        );
        let upload = self.start().await.map_err(|broken| broken.describe())?;
        let ended = self.end(&upload, digest, &twice, content.clone()).await;
        if ended.is_ok() {
            return Err("?digest=sha256%253A… was taken: the proxy decodes the query".to_owned());
        }
        let upload = self.start().await.map_err(|broken| broken.describe())?;
        let ended = self.end(&upload, digest, &once, content).await;
        if let Err(broken) = ended {
            return Err(format!(
                "?digest=sha256%3A… is answered with {}",
                broken.describe()
            ));
        }
        if !self.is_ours {
            return Ok(());
        }
        // Which of these it takes is the registry's own affair, so it is known only of ours.
        let encoded = self.repository.replace('/', "%2F");
        for (path, want, meaning) in [
            (
                self.path(&format!("blobs/{once}")),
                200,
                "`%3A` in a path does not arrive as `:`",
            ),
            (
                self.path(&format!("blobs/{twice}")),
                400,
                "the proxy decodes the path, and the registry decodes it again",
            ),
            (
                format!("/v2/{encoded}/blobs/{digest}"),
                400,
                "the proxy makes `/` of `%2F`, so two addresses name one repository",
            ),
        ] {
            let answer = self.outside.get(&path).await;
            let answer = answer.map_err(|failure| symptom(&failure))?;
            // A proxy that refuses such a path by itself confuses nobody.
            let harmless = want == 400 && (400..500).contains(&answer.status);
            if answer.status != want && !harmless {
                return Err(format!(
                    "GET {path} is answered with {}: {meaning}",
                    answer.status
                ));
            }
        }
        Ok(())
    }

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

    /// A body without a length, as Docker sends layers.
    pub(super) async fn chunked(&mut self) {
        match self.push_chunked().await {
            Ok(None) => self
                .report
                .good("chunked", "a body without Content-Length passes"),
            Ok(Some(seen)) => self.report.failed("chunked", seen, advice::CHUNKED),
            Err(broken) => {
                let seen = format!("PATCH without Content-Length: {}", broken.describe());
                self.report.failed("chunked", seen, advice::CHUNKED);
            }
        }
    }

    async fn push_chunked(&mut self) -> Outcome<Option<String>> {
        const SIZE: u64 = 300_000;
        let noise = Noise::new(Noise::seed(), SIZE, false);
        let digest = noise.digest();
        let upload = self.start().await?;
        let answer = self
            .outside
            .put(Method::PATCH, &upload, OCTETS, noise.body())
            .await?;
        let answer = expect(answer, 202)?;
        let range = answer.header(header::RANGE);
        if range != Some(format!("0-{}", SIZE - 1).as_str()) {
            return Ok(Some(format!(
                "of {SIZE} bytes {} arrived",
                range.unwrap_or("an unknown number")
            )));
        }
        let upload = match answer.header(header::LOCATION) {
            Some(location) => self.go_on(location),
            None => upload,
        };
        self.end(&upload, digest, &digest.to_string(), "").await?;
        Ok(None)
    }

    /// Whether the beginning of a body arrives before its end is sent.
    pub(super) async fn buffering(&mut self) {
        if !self.is_ours {
            self.report.skipped(
                "buffering",
                "only rbuild-registry tells whether a body has begun to arrive",
            );
            return;
        }
        match self.arrives_early().await {
            Ok(true) => self.report.good(
                "buffering",
                "bodies are passed on while they come (how answers are buffered cannot be seen from here)",
            ),
            Ok(false) => self.report.failed(
                "buffering",
                format!(
                    "the registry heard nothing of a body within {} s, before its end was sent",
                    SHOWS_UP.as_secs()
                ),
                advice::BUFFERING,
            ),
            Err(broken) => self
                .report
                .skipped("buffering", format!("it could not be tried: {}", broken.describe())),
        }
    }

    /// A body is begun and held; meanwhile the registry refuses others at the same upload, if it knows of it.
    async fn arrives_early(&mut self) -> Outcome<bool> {
        let upload = self.start().await?;
        let (pieces, coming) = mpsc::channel::<Bytes>(4);
        let stream = futures_util::stream::unfold(coming, |mut coming| async {
            let piece = coming.recv().await?;
            Some((Ok::<_, Infallible>(piece), coming))
        });
        let headers = [(header::CONTENT_TYPE, OCTETS)];
        let body = Some(Body::wrap_stream(stream));
        let held = self
            .outside
            .send(Method::PATCH, &upload, &headers, body, PATIENCE);
        let watching = async {
            // It fails only if the request is over, and then there is nothing to see.
            let _ = pieces.send(Bytes::from(vec![b'.'; 64 << 10])).await;
            let began = tokio::time::Instant::now();
            while began.elapsed() < SHOWS_UP {
                let aside = self.outside.put(Method::PATCH, &upload, OCTETS, "").await?;
                if aside.status == 409 {
                    return Ok(true);
                }
                if aside.status != 202 {
                    return Err(Broken::Refused(aside));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(false)
        };
        let mut held = std::pin::pin!(held);
        let seen = tokio::select! {
            seen = watching => seen,
            // It came just while the registry looked at the other one.
            answer = &mut held => match answer? {
                answer if answer.status == 409 => return Ok(true),
                answer => return Err(Broken::Refused(answer)),
            },
        };
        // The end of the body; what becomes of it does not matter.
        drop(pieces);
        drop(held.await);
        seen
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
