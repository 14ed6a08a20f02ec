//! What comes out: ranges, lengths, digests, bytes, errors, and how long a request's head may be.

use bytes::Bytes;
use http::{HeaderName, Method, header};
use rbuild_image::Digest;
use serde_json::json;

use super::outside::{Answer, Failure, PATIENCE};
use super::{Advice, Examination, advice, symptom};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// More than clients send, less than any proxy takes by default.
const URL_BYTES: usize = 4096;
/// Room for a login token.
const HEADER_BYTES: usize = 6144;

/// What was seen: as it should be, or not.
type Seen = Result<String, String>;

/// What the checks look at.
struct Image {
    layer: Bytes,
    layer_digest: Digest,
    manifest: Bytes,
    manifest_digest: Digest,
}

impl Examination<'_> {
    pub(super) async fn answers(&mut self) {
        let image = match self.push_image().await {
            Ok(image) => image,
            Err(seen) => {
                self.report.failed("manifest", seen, advice::BYTES);
                return;
            }
        };
        let outcomes: [(&'static str, Seen, Advice); 10] = [
            ("manifest", self.manifest(&image).await, advice::BYTES),
            ("digest", self.digests(&image).await, advice::DIGEST),
            ("head", self.head(&image).await, advice::LENGTH),
            ("range", self.range(&image).await, advice::RANGE),
            (
                "compression",
                self.compression(&image).await,
                advice::COMPRESSION,
            ),
            ("errors", self.errors().await, advice::ERRORS),
            ("link", self.link().await, advice::LINK),
            ("long-url", self.long_url().await, advice::LONG_URL),
            ("headers", self.long_header().await, advice::HEADERS),
            ("cache", self.cache(&image).await, advice::CACHE),
        ];
        for (name, seen, advice) in outcomes {
            match seen {
                Ok(seen) => self.report.good(name, seen),
                // Not every registry sends lists in pages.
                Err(seen) if name == "link" && !self.is_ours => self.report.skipped(name, seen),
                Err(seen) => self.report.failed(name, seen, advice),
            }
        }
    }

    /// An image with content that proxies like to change: text that compresses well, and addresses.
    async fn push_image(&mut self) -> Result<Image, String> {
        let name = self.outside.name();
        let host = name.split("//").last().unwrap_or_default().to_owned();
        let addresses = format!(
            "http://{host}/v2/ https://{host}/v2/ http://localhost:5000/ http://127.0.0.1:5000/ http://registry:5000/"
        );
        let layer =
            Bytes::from(format!("<html><head></head><body>{addresses}</body>\n").repeat(600));
        let config = Bytes::from_static(b"{}");
        let mut digests = Vec::new();
        for content in [&config, &layer] {
            let pushed = self.push(content).await;
            digests.push(pushed.map_err(|broken| format!("a blob: {}", broken.describe()))?);
        }
        let descriptor = |kind: &str, content: &Bytes| json!({ "mediaType": kind, "digest": Digest::sha256(content).to_string(), "size": content.len() });
        // Odd white space, which whoever reads and writes it again would not keep.
        let manifest = Bytes::from(format!(
            "{{ \"schemaVersion\": 2,\n\t\"mediaType\": \"{MANIFEST}\",\r\n  \"config\": {},\"layers\":[{}],\n\"annotations\": {{\"seen\":\"{addresses} \u{e9} <head></head>\"}} }}\n \n",
            descriptor(CONFIG, &config),
            descriptor(LAYER, &layer),
        ));
        let manifest_digest = Digest::sha256(&manifest);
        let by_digest = self.path(&format!("manifests/{manifest_digest}"));
        self.left.manifests.push(by_digest);
        for tag in ["one", "two"] {
            let path = self.path(&format!("manifests/{tag}"));
            let answer = self
                .outside
                .put(Method::PUT, &path, MANIFEST, manifest.clone())
                .await
                .map_err(|failure| symptom(&failure))?;
            if answer.status != 201 {
                return Err(format!(
                    "PUT of a manifest is answered with {}",
                    answer.describe()
                ));
            }
        }
        Ok(Image {
            layer_digest: digests.pop().unwrap_or(manifest_digest),
            layer,
            manifest,
            manifest_digest,
        })
    }

    async fn manifest(&self, image: &Image) -> Seen {
        for name in ["one".to_owned(), image.manifest_digest.to_string()] {
            let path = self.path(&format!("manifests/{name}"));
            let answer = got(self
                .outside
                .get_with(&path, &[(header::ACCEPT, MANIFEST)])
                .await)?;
            if answer.status != 200 {
                return Err(format!("a manifest is answered with {}", answer.describe()));
            }
            if answer.body != image.manifest {
                return Err(
                    "a manifest comes back with other bytes than it was pushed with".to_owned(),
                );
            }
            let kind = answer.header(header::CONTENT_TYPE).unwrap_or("none");
            if kind != MANIFEST {
                return Err(format!("a manifest comes with Content-Type {kind}"));
            }
        }
        Ok("a manifest comes back byte for byte, by tag and by digest".to_owned())
    }

    async fn digests(&self, image: &Image) -> Seen {
        for (path, digest) in self.both(image) {
            for method in [Method::GET, Method::HEAD] {
                let answer = got(self.ask(method.clone(), &path, &[]).await)?;
                let shown = answer.header("docker-content-digest");
                if shown != Some(digest.to_string().as_str()) {
                    return Err(format!(
                        "{method} {path} has {} as Docker-Content-Digest",
                        shown.unwrap_or("nothing")
                    ));
                }
            }
        }
        Ok("Docker-Content-Digest is there".to_owned())
    }

    async fn head(&self, image: &Image) -> Seen {
        let lengths = [image.manifest.len(), image.layer.len()];
        for ((path, _), length) in self.both(image).into_iter().zip(lengths) {
            // As programs in Go ask.
            let headers = [(header::ACCEPT_ENCODING, "gzip")];
            let answer = got(self.ask(Method::HEAD, &path, &headers).await)?;
            let told = answer.header(header::CONTENT_LENGTH);
            if answer.status != 200 {
                return Err(format!("HEAD {path} is answered with {}", answer.status));
            }
            if told != Some(length.to_string().as_str()) {
                return Err(format!(
                    "HEAD {path} has {} as Content-Length instead of {length}",
                    told.unwrap_or("nothing")
                ));
            }
        }
        Ok("HEAD tells the length".to_owned())
    }

    async fn range(&self, image: &Image) -> Seen {
        let path = self.path(&format!("blobs/{}", image.layer_digest));
        let size = image.layer.len();
        for (asked, range) in [
            ("bytes=100-199".to_owned(), 100..200),
            (format!("bytes={}-", size - 50), size - 50..size),
        ] {
            let answer = got(self
                .ask(Method::GET, &path, &[(header::RANGE, &asked)])
                .await)?;
            if answer.status != 206 {
                return Err(format!(
                    "a request for {asked} of {size} is answered with {} and {} bytes instead of 206",
                    answer.status,
                    answer.body.len()
                ));
            }
            let place = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            let told = answer.header(header::CONTENT_RANGE);
            if told != Some(place.as_str()) || answer.body != image.layer[range] {
                return Err(format!(
                    "a request for {asked} gets {} with Content-Range {}",
                    answer.body.len(),
                    told.unwrap_or("missing")
                ));
            }
        }
        Ok("ranges are answered with 206".to_owned())
    }

    async fn compression(&self, image: &Image) -> Seen {
        let contents = [&image.manifest, &image.layer];
        for ((path, _), content) in self.both(image).into_iter().zip(contents) {
            let headers = [(header::ACCEPT_ENCODING, "gzip, deflate, br, zstd")];
            let answer = got(self.ask(Method::GET, &path, &headers).await)?;
            if let Some(encoding) = answer.header(header::CONTENT_ENCODING) {
                return Err(format!(
                    "GET {path} is answered with Content-Encoding {encoding}"
                ));
            }
            // What is changed in any case is not changed by compression.
            if answer.body != *content
                && got(self.ask(Method::GET, &path, &[]).await)?.body == *content
            {
                return Err(format!(
                    "GET {path} has other bytes if compression is allowed"
                ));
            }
        }
        Ok("nothing is compressed on the way".to_owned())
    }

    async fn errors(&self) -> Seen {
        let absent = Digest::sha256(self.repository.as_bytes());
        for (path, want) in [
            (self.path("manifests/absent"), 404),
            (self.path(&format!("blobs/{absent}")), 404),
            (self.path("blobs/sha256:0"), 400),
        ] {
            let answer = got(self.outside.get(&path).await)?;
            if answer.error_code().is_none() {
                return Err(format!(
                    "GET {path} is answered with {} and a body that is not the registry's",
                    answer.describe()
                ));
            }
            // Other registries have their own mind about a digest that is none.
            if answer.status != want && (self.is_ours || want == 404) {
                return Err(format!(
                    "GET {path} is answered with {} instead of {want}",
                    answer.describe()
                ));
            }
        }
        Ok("the registry's own error texts arrive".to_owned())
    }

    async fn link(&self) -> Seen {
        let path = self.path("tags/list?n=1");
        let answer = got(self.outside.get(&path).await)?;
        let Some(link) = answer.header(header::LINK) else {
            return Err(format!("GET {path} has no Link to the next page"));
        };
        let next = link
            .trim()
            .strip_prefix('<')
            .and_then(|rest| rest.split_once('>'))
            .and_then(|(target, _)| self.outside.base().join(target).ok());
        match next {
            Some(next)
                if next.origin() == self.outside.base().origin()
                    && next.path() == self.path("tags/list") =>
            {
                Ok("lists have a Link to their next page".to_owned())
            }
            _ => Err(format!("Link leads somewhere else: {link}")),
        }
    }

    async fn long_url(&self) -> Seen {
        let path = format!("/v2/?x={}", "a".repeat(URL_BYTES));
        let answer = got(self.outside.get(&path).await)?;
        if answer.status == 200 {
            Ok(format!("an address of {URL_BYTES} bytes passes"))
        } else {
            Err(format!(
                "an address of {URL_BYTES} bytes is answered with {}",
                answer.describe()
            ))
        }
    }

    async fn long_header(&self) -> Seen {
        let value = "a".repeat(HEADER_BYTES);
        let name = HeaderName::from_static("x-doctor");
        let answer = got(self.outside.get_with("/v2/", &[(name, &value)]).await)?;
        if answer.status == 200 {
            Ok(format!("a header of {HEADER_BYTES} bytes passes"))
        } else {
            Err(format!(
                "a header of {HEADER_BYTES} bytes is answered with {}",
                answer.describe()
            ))
        }
    }

    /// Names that move and content that goes, each asked for before and after.
    async fn cache(&mut self, image: &Image) -> Seen {
        let path = self.path("manifests/two");
        let before = got(self.ask(Method::GET, &path, &[]).await)?;
        let mut newer = image.manifest.to_vec();
        newer.push(b'\n');
        let newer = Bytes::from(newer);
        let by_digest = self.path(&format!("manifests/{}", Digest::sha256(&newer)));
        self.left.manifests.push(by_digest);
        let put = self.outside.put(Method::PUT, &path, MANIFEST, newer);
        let put = got(put.await)?;
        if put.status != 201 {
            return Err(format!(
                "PUT of a second manifest is answered with {}",
                put.describe()
            ));
        }
        if got(self.ask(Method::GET, &path, &[]).await)?.body == before.body {
            return Err("a tag that was pushed again still shows what it was before".to_owned());
        }
        let content = Bytes::from(format!("cached? {}", self.repository));
        let digest = self
            .push(&content)
            .await
            .map_err(|broken| broken.describe())?;
        let path = self.path(&format!("blobs/{digest}"));
        got(self.outside.get(&path).await)?;
        let deleted = got(self.outside.delete(&path).await)?;
        let after = got(self.outside.get(&path).await)?;
        // Whether it may be deleted is looked at elsewhere.
        if deleted.status == 202 && after.status != 404 {
            return Err(format!(
                "a blob that was deleted is answered with {}",
                after.status
            ));
        }
        Ok("what changes is seen at once: nothing is cached".to_owned())
    }

    /// Where the manifest and the layer are, with their digests.
    fn both(&self, image: &Image) -> [(String, Digest); 2] {
        [
            (self.path("manifests/one"), image.manifest_digest),
            (
                self.path(&format!("blobs/{}", image.layer_digest)),
                image.layer_digest,
            ),
        ]
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
    ) -> Result<Answer, Failure> {
        let mut headers = headers.to_vec();
        if path.contains("/manifests/") {
            headers.push((header::ACCEPT, MANIFEST));
        }
        self.outside
            .send(method, path, &headers, None, PATIENCE)
            .await
    }
}

fn got(answer: Result<Answer, Failure>) -> Result<Answer, String> {
    answer.map_err(|failure| symptom(&failure))
}
