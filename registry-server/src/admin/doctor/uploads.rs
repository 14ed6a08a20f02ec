//! What goes in: where uploads go on, and whether they pass as they come.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, header};
use rbuild_image::Digest;
use reqwest::Body;
use tokio::sync::mpsc;

use super::outside::{Answer, Failure, Noise, PATIENCE};
use super::{Examination, advice, symptom};

pub(super) const OCTETS: &str = "application/octet-stream";
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

pub(super) type Outcome<T> = Result<T, Broken>;

pub(super) fn expect(answer: Answer, status: u16) -> Outcome<Answer> {
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
    pub(super) async fn start(&mut self) -> Outcome<String> {
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

    pub(super) async fn end_late(
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

    pub(super) async fn push_chunked(&mut self) -> Outcome<Option<String>> {
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
}
