//! Manifests: looked up, fetched, hashed, put.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use rbuild_image::{Algorithm, Descriptor, Digest, MediaType, Reference};

use crate::client::Endpoint;
use crate::transport::{Answer, Call, Upload, shown};
use crate::{Client, ClientError, DigestMismatch, InvalidImage, Pushed, Result, Silent, document};

/// The largest manifest that is read or sent, in bytes (distribution-spec asks registries for at least this).
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// The largest image config that is read, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Everything that we can use, and what we only recognise in order to refuse it with a reason.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.1, \
    */*;q=0.1";

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A manifest or index, its bytes hashed by us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// The bytes as the registry sent them.
    pub bytes: Vec<u8>,
}

impl Client {
    /// What a name stands for now. Asks with HEAD, which costs nothing of a pull limit, and with GET where that does not help.
    ///
    /// The digest is the registry's claim where HEAD answered; [`Self::manifest`] checks it.
    pub async fn resolve(&self, reference: &Reference) -> Result<Descriptor> {
        let mut last = None;
        for endpoint in self.endpoints(reference) {
            let what = describe(reference);
            let ask = || self.resolve_at(&endpoint, reference, &what);
            match self.retrying(&what, &Silent, ask).await {
                Ok(descriptor) => return Ok(descriptor),
                Err(error) => last = Some(next_mirror(&endpoint, reference, error)?),
            }
        }
        Err(nowhere(last, reference))
    }

    async fn resolve_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        what: &str,
    ) -> Result<Descriptor> {
        let path = endpoint.path(&format!("manifests/{}", reference.manifest_name()));
        let scopes = endpoint.scopes("pull");
        let (answer, _) = self
            .ask_any(endpoint, &Method::HEAD, &path, &accept(), &scopes, what)
            .await?;
        if answer.status() == StatusCode::OK
            && let Some(claim) = head_claim(&answer)
            && reference.digest.is_none_or(|digest| digest == claim.digest)
        {
            return Ok(claim);
        }
        // An answer to HEAD has no error body, and some registries have no HEAD, or no digest in it.
        let document = self.fetch(endpoint, reference, what).await?;
        Ok(document.descriptor)
    }

    /// Fetches a manifest or index by tag or digest and hashes it.
    pub async fn manifest(&self, reference: &Reference) -> Result<Document> {
        self.manifest_of(reference, &describe(reference)).await
    }

    /// The same, with the name that messages show.
    pub(crate) async fn manifest_of(&self, reference: &Reference, what: &str) -> Result<Document> {
        let mut last = None;
        for endpoint in self.endpoints(reference) {
            let ask = || self.fetch(&endpoint, reference, what);
            match self.retrying(what, &Silent, ask).await {
                Ok(document) => return Ok(document),
                Err(error) => last = Some(next_mirror(&endpoint, reference, error)?),
            }
        }
        Err(nowhere(last, reference))
    }

    async fn fetch(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        what: &str,
    ) -> Result<Document> {
        let path = endpoint.path(&format!("manifests/{}", reference.manifest_name()));
        let scopes = endpoint.scopes("pull");
        let answer = self
            .ask(endpoint, &Method::GET, &path, &accept(), &scopes, what)
            .await?;
        let url = shown(answer.url());
        let content_type = answer.content_type();
        let promised = match reference.digest {
            Some(digest) => Some(digest),
            None => claimed_digest(&answer),
        };
        if content_type.as_deref() == Some("text/html") {
            return Err(ClientError::Rubbish {
                url,
                reason: "it is a web page".to_owned(),
            });
        }
        let bytes = answer.bytes(what, MAX_MANIFEST_BYTES).await?;
        let algorithm = promised.map_or(Algorithm::Sha256, |digest| digest.algorithm());
        let actual = Digest::of(algorithm, &bytes);
        if let Some(expected) = promised
            && expected != actual
        {
            return Err(ClientError::Digest {
                what: what.to_owned(),
                registry: endpoint.registry.clone(),
                mismatch: Box::new(DigestMismatch { expected, actual }),
            });
        }
        let media_type =
            document::media_type(&bytes, content_type.as_deref()).map_err(|error| match error {
                InvalidImage::Malformed { reason, .. } => ClientError::Rubbish {
                    url,
                    reason: format!("it is no manifest ({reason})"),
                },
                problem => ClientError::Image {
                    reference: what.to_owned(),
                    problem,
                },
            })?;
        let descriptor = Descriptor::new(media_type, actual, bytes.len() as u64);
        Ok(Document { descriptor, bytes })
    }

    /// Pushes a manifest or index, under the name's tag, or else under its digest.
    ///
    /// Everything that it refers to must be in the repository.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        manifest: &[u8],
        media_type: &MediaType,
    ) -> Result<Pushed> {
        let what = describe(reference);
        if manifest.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ClientError::TooLarge {
                what,
                limit: MAX_MANIFEST_BYTES,
            });
        }
        let algorithm = match (&reference.tag, &reference.digest) {
            (None, Some(digest)) => digest.algorithm(),
            _ => Algorithm::Sha256,
        };
        let digest = Digest::of(algorithm, manifest);
        if let Some(expected) = reference.digest
            && expected != digest
        {
            return Err(ClientError::Digest {
                what,
                registry: reference.registry.to_string(),
                mismatch: Box::new(DigestMismatch {
                    expected,
                    actual: digest,
                }),
            });
        }
        let descriptor = Descriptor::new(media_type.clone(), digest, manifest.len() as u64);
        let endpoint = Endpoint::upstream(reference);
        let name = reference
            .tag
            .as_ref()
            .map_or_else(|| digest.to_string(), |tag| tag.as_str().to_owned());
        let put = || self.put_manifest(&endpoint, &name, manifest, &descriptor, &what);
        self.retrying(&what, &Silent, put).await?;
        Ok(Pushed { descriptor })
    }

    async fn put_manifest(
        &self,
        endpoint: &Endpoint,
        name: &str,
        manifest: &[u8],
        descriptor: &Descriptor,
        what: &str,
    ) -> Result<()> {
        let scopes = endpoint.scopes("pull,push");
        // Asking first settles scheme and tokens, so that the body need not be sent twice.
        let path = endpoint.path(&format!("manifests/{name}"));
        let (there, _) = self
            .ask_any(endpoint, &Method::HEAD, &path, &accept(), &scopes, what)
            .await?;
        there.discard().await;
        let url = self.url(endpoint, &path)?;
        let mut headers = HeaderMap::new();
        let content_type = HeaderValue::from_str(descriptor.media_type.as_str());
        headers.insert(
            CONTENT_TYPE,
            content_type.map_err(|_| ClientError::Image {
                reference: what.to_owned(),
                problem: InvalidImage::MediaType {
                    what: "manifest",
                    media_type: descriptor.media_type.to_string(),
                },
            })?,
        );
        let put = || {
            let (_, sent) = tokio::sync::watch::channel(0);
            let call = Call {
                method: Method::PUT,
                headers: headers.clone(),
                what,
                body: Some(Upload {
                    body: manifest.to_vec().into(),
                    sent,
                }),
                patience: self.config().stall_timeout,
                on_sent: &|_| {},
            };
            self.send_body(endpoint, url.clone(), &scopes, call)
        };
        let mut answer = put().await?;
        if answer.status() == StatusCode::UNAUTHORIZED
            && self.renew(endpoint, &scopes, &answer).await?
        {
            answer = put().await?;
        }
        if !answer.status().is_success() {
            return Err(answer
                .refuse(&Method::PUT, what, &endpoint.registry, true)
                .await);
        }
        match claimed_digest(&answer) {
            Some(actual) if actual != descriptor.digest => Err(ClientError::Digest {
                what: what.to_owned(),
                registry: endpoint.registry.clone(),
                mismatch: Box::new(DigestMismatch {
                    expected: descriptor.digest,
                    actual,
                }),
            }),
            _ => {
                answer.discard().await;
                Ok(())
            }
        }
    }
}

pub(crate) fn accept() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(ACCEPTED))])
}

pub(crate) fn describe(reference: &Reference) -> String {
    format!("`{}`", reference.familiar())
}

/// Goes on with the next place after a mirror failed; the registry's own error is final.
pub(crate) fn next_mirror(
    endpoint: &Endpoint,
    reference: &Reference,
    error: ClientError,
) -> Result<ClientError> {
    if endpoint.is_of(reference) {
        return Err(error);
    }
    tracing::warn!(
        mirror = endpoint.host,
        image = reference.familiar(),
        error = %error,
        "a mirror failed, the next place is tried"
    );
    Ok(error)
}

/// The registry itself is always the last place, so `last` is set.
pub(crate) fn nowhere(last: Option<ClientError>, reference: &Reference) -> ClientError {
    last.unwrap_or_else(|| ClientError::Address {
        text: reference.to_string(),
    })
}

fn claimed_digest(answer: &Answer) -> Option<Digest> {
    answer.header(&CONTENT_DIGEST)?.parse().ok()
}

/// What an answer to HEAD says: all of digest, length and a media type that we know, or nothing.
fn head_claim(answer: &Answer) -> Option<Descriptor> {
    let media_type = MediaType::new(answer.content_type()?);
    if !media_type.is_index() && !media_type.is_manifest() {
        return None;
    }
    let size = answer.content_length().filter(|size| *size > 0)?;
    Some(Descriptor::new(media_type, claimed_digest(answer)?, size))
}
