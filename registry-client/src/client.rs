//! The client: one per process.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use rbuild_image::reference::DEFAULT_REGISTRY;
use rbuild_image::{Reference, RepositoryName};
use reqwest::Url;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::{self, Auth, Party, Scopes};
use crate::hosts::Mirror;
use crate::transport::{Answer, Call, Transport, lock, shown};
use crate::{
    ClientError, Credential, Credentials, HostRules, Observer, RegistryWarning, Result,
    RetryPolicy, TransferEvent,
};

/// Where the API of the default registry is.
pub(crate) const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// What a client is made of. [`Self::new`] fills in what seldom changes.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Where credentials come from.
    pub credentials: Arc<dyn Credentials>,
    /// How to speak to each registry.
    pub hosts: HostRules,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Transfers of blobs at once, for each registry.
    pub parallel: usize,
    /// When failed requests are tried again.
    pub retry: RetryPolicy,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a registry may be silent, in a transfer or before an answer. There is no limit on a whole transfer.
    pub stall_timeout: Duration,
}

impl ClientConfig {
    /// A configuration with the standard limits: 6 transfers at once, 20 s to connect, 60 s of silence.
    pub fn new(credentials: Arc<dyn Credentials>) -> Self {
        Self {
            credentials,
            hosts: HostRules::default(),
            user_agent: format!("rbuild/{}", env!("CARGO_PKG_VERSION")),
            parallel: 6,
            retry: RetryPolicy::STANDARD,
            connect_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_mins(1),
        }
    }
}

/// Speaks to registries. Clones share connections, tokens and limits.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<ClientConfig>,
    transport: Transport,
    auth: Auth,
    transfers: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A repository at the place where it is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// The registry's name, for credentials and messages.
    pub(crate) registry: String,
    /// The host of its API.
    pub(crate) host: String,
    /// The repository there.
    pub(crate) repository: String,
    /// The registry that a mirror stands for.
    mirrored: Option<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client. Nothing is opened or read yet.
    pub fn new(config: ClientConfig) -> Self {
        let config = Arc::new(config);
        Self {
            inner: Arc::new(Inner {
                transport: Transport::new(Arc::clone(&config)),
                auth: Auth::new(Arc::clone(&config)),
                transfers: Mutex::default(),
                config,
            }),
        }
    }

    /// Asks whether a registry is there and lets us in, with the stored credentials where it wants some.
    pub async fn ping(&self, registry: &str) -> Result<()> {
        let what = format!("registry `{registry}`");
        let endpoint = Endpoint::of_registry(registry);
        let answer = self
            .ask(
                &endpoint,
                &Method::GET,
                "/v2/",
                &HeaderMap::new(),
                &Scopes::new(),
                &what,
            )
            .await?;
        check_is_registry(&answer)?;
        answer.discard().await;
        Ok(())
    }

    /// Shows this credential to a registry, and returns it, or the identity token that the registry gave for it.
    pub(crate) async fn log_in(
        &self,
        registry: &str,
        credential: Credential,
    ) -> Result<Credential> {
        let endpoint = Endpoint::of_registry(registry);
        let what = format!("registry `{registry}`");
        let transport = &self.inner.transport;
        let probe = async |headers: &HeaderMap| {
            transport
                .call(&endpoint.host, "/v2/", &Method::GET, headers, &what)
                .await
        };
        let answer = probe(&HeaderMap::new()).await?;
        let (answer, kept) = if answer.status() == StatusCode::UNAUTHORIZED {
            let (headers, kept) =
                auth::log_in(transport, &endpoint.party(), &answer, credential).await?;
            answer.discard().await;
            (probe(&headers).await?, kept)
        } else {
            (answer, credential)
        };
        if !answer.status().is_success() {
            let registry = &endpoint.registry;
            return Err(answer.refuse(&Method::GET, &what, registry, true).await);
        }
        check_is_registry(&answer)?;
        answer.discard().await;
        Ok(kept)
    }

    /// What registries have warned of since the last call, each text of each host once.
    ///
    /// They are for people to read; nothing follows from them (distribution-spec, "Warnings").
    pub fn take_warnings(&self) -> Vec<RegistryWarning> {
        self.inner.transport.take_warnings()
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// Where to pull from, in order: the mirrors, then the registry itself.
    pub(crate) fn endpoints(&self, reference: &Reference) -> Vec<Endpoint> {
        let registry = &*reference.registry;
        let rule = self.config().hosts.rule(registry);
        let mirrors = rule.mirrors.iter().filter_map(|text| Mirror::parse(text));
        let repository = reference.repository.as_str();
        mirrors
            .map(|mirror| Endpoint {
                registry: mirror.host.clone(),
                host: api_host(&mirror.host).to_owned(),
                // A mirror without a prefix gets told whose image is meant, one with a prefix knows.
                mirrored: mirror.prefix.is_none().then(|| registry.to_owned()),
                repository: match mirror.prefix {
                    Some(prefix) => format!("{prefix}/{repository}"),
                    None => repository.to_owned(),
                },
            })
            .chain([Endpoint::upstream(reference)])
            .collect()
    }

    /// Waits until one more transfer of blobs may run with this registry.
    pub(crate) async fn transfer_permit(&self, host: &str) -> Option<OwnedSemaphorePermit> {
        let semaphore = Arc::clone(
            lock(&self.inner.transfers)
                .entry(host.to_owned())
                .or_insert_with(|| Arc::new(Semaphore::new(self.config().parallel.max(1)))),
        );
        // It fails only for a closed semaphore, and ours are never closed.
        semaphore.acquire_owned().await.ok()
    }

    /// Asks the registry, logging in where it wants that; any answer but a success is an error.
    pub(crate) async fn ask(
        &self,
        endpoint: &Endpoint,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        scopes: &Scopes,
        what: &str,
    ) -> Result<Answer> {
        let (answer, with_credentials) = self
            .ask_any(endpoint, method, path, headers, scopes, what)
            .await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(answer
            .refuse(method, what, &endpoint.registry, with_credentials)
            .await)
    }

    /// Asks the registry, logging in where it wants that, and returns whatever it answers;
    /// the flag tells whether credentials were shown.
    pub(crate) async fn ask_any(
        &self,
        endpoint: &Endpoint,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        scopes: &Scopes,
        what: &str,
    ) -> Result<(Answer, bool)> {
        let transport = &self.inner.transport;
        let party = endpoint.party();
        let mut shown = self.inner.auth.show(transport, &party, scopes).await?;
        loop {
            let mut headers = headers.clone();
            if let Some(shown) = &shown {
                shown.add_to(&mut headers);
            }
            let answer = transport
                .call(&endpoint.host, path, method, &headers, what)
                .await?;
            let with_credentials = shown.as_ref().is_some_and(|shown| shown.with_credentials);
            // A host that we were redirected to has no right to ask for our password.
            let is_ours = endpoint.is_at(answer.url());
            if answer.status() != StatusCode::UNAUTHORIZED || !is_ours {
                return Ok((answer, with_credentials));
            }
            let better = self
                .inner
                .auth
                .respond(transport, &party, scopes, &answer, shown.as_ref())
                .await?;
            match better {
                Some(better) => {
                    answer.discard().await;
                    shown = Some(better);
                }
                None => return Ok((answer, with_credentials)),
            }
        }
    }

    /// Sends one request with a body to a URL that the registry gave; a 401 comes back as it is.
    pub(crate) async fn send_body(
        &self,
        endpoint: &Endpoint,
        url: Url,
        scopes: &Scopes,
        mut call: Call<'_>,
    ) -> Result<Answer> {
        // Uploads may go to another host, which has no business with our tokens.
        if endpoint.is_at(&url) {
            let transport = &self.inner.transport;
            let party = endpoint.party();
            if let Some(shown) = self.inner.auth.show(transport, &party, scopes).await? {
                shown.add_to(&mut call.headers);
            }
        }
        self.inner.transport.send(url, call).await
    }

    /// The URL of a path, after the host has been reached once.
    pub(crate) fn url(&self, endpoint: &Endpoint, path: &str) -> Result<Url> {
        let scheme = self.inner.transport.scheme_of(&endpoint.host);
        let text = format!("{}://{}{path}", scheme.unwrap_or("https"), endpoint.host);
        Url::parse(&text).map_err(|_| ClientError::Address { text })
    }

    /// Gets new tokens after [`Self::send_body`] came back with 401; false if there is nothing new to show.
    pub(crate) async fn renew(
        &self,
        endpoint: &Endpoint,
        scopes: &Scopes,
        answer: &Answer,
    ) -> Result<bool> {
        let transport = &self.inner.transport;
        let auth = &self.inner.auth;
        auth.renew(transport, &endpoint.party(), scopes, answer)
            .await
    }

    /// Tries until it succeeds, fails for good, or the policy gives up.
    pub(crate) async fn retrying<T, F: Future<Output = Result<T>>>(
        &self,
        what: &str,
        observer: &dyn Observer,
        attempt: impl Fn() -> F,
    ) -> Result<T> {
        let mut failed = 0;
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => {
                    failed += 1;
                    self.pause(failed, what, error, observer).await?;
                }
            }
        }
    }

    /// Waits before the next try, or hands the error back when there is to be none.
    pub(crate) async fn pause(
        &self,
        failed: u32,
        what: &str,
        error: ClientError,
        observer: &dyn Observer,
    ) -> Result<()> {
        let was_there = |host: &str| self.inner.transport.scheme_of(host).is_some();
        let is_gone = matches!(&error, ClientError::Connect { host, .. } if was_there(host));
        let error = if is_gone {
            error.in_the_middle()
        } else {
            error
        };
        let Some(delay) = self.config().retry.delay(failed, &error) else {
            return Err(error);
        };
        observer.on_event(&TransferEvent::Retrying {
            what,
            error: &error,
            delay,
        });
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

impl Endpoint {
    /// The repository at the registry itself.
    pub(crate) fn upstream(reference: &Reference) -> Self {
        Self {
            registry: reference.registry.to_string(),
            host: api_host(&reference.registry).to_owned(),
            repository: reference.repository.as_str().to_owned(),
            mirrored: None,
        }
    }

    /// The registry as a whole.
    pub(crate) fn of_registry(registry: &str) -> Self {
        Self {
            registry: registry.to_owned(),
            host: api_host(registry).to_owned(),
            repository: String::new(),
            mirrored: None,
        }
    }

    pub(crate) fn party(&self) -> Party<'_> {
        Party {
            registry: &self.registry,
            host: &self.host,
        }
    }

    /// `/v2/<repository>/<rest>`.
    pub(crate) fn path(&self, rest: &str) -> String {
        let mut path = format!("/v2/{}/{rest}", self.repository);
        if let Some(registry) = &self.mirrored {
            path.push(if rest.contains('?') { '&' } else { '?' });
            path.push_str("ns=");
            path.push_str(registry);
        }
        path
    }

    /// The right to do `actions` (`pull` or `pull,push`) here.
    pub(crate) fn scopes(&self, actions: &str) -> Scopes {
        Scopes::from([format!("repository:{}:{actions}", self.repository)])
    }

    /// The right to push here, and to read from another repository of the same registry.
    pub(crate) fn mount_scopes(&self, from: &RepositoryName) -> Scopes {
        let mut scopes = self.scopes("pull,push");
        scopes.insert(format!("repository:{from}:pull"));
        scopes
    }

    /// Whether a URL leads to the registry itself, and not to a host that it sends us to.
    pub(crate) fn is_at(&self, url: &Url) -> bool {
        // Parsed alike, so that letter case and a scheme's own port make no difference.
        Url::parse(&format!("{}://{}", url.scheme(), self.host)).is_ok_and(|own| {
            own.host() == url.host() && own.port_or_known_default() == url.port_or_known_default()
        })
    }

    /// Whether it is a mirror, after which others are tried.
    pub(crate) fn is_of(&self, reference: &Reference) -> bool {
        *self.registry == *reference.registry && self.mirrored.is_none()
    }
}

fn api_host(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY {
        DOCKER_HUB_HOST
    } else {
        registry
    }
}

/// Every registry answers `/v2/` with JSON, or with this header, or with nothing; a web page is none.
pub(crate) fn check_is_registry(answer: &Answer) -> Result<()> {
    let is_page = answer
        .content_type()
        .is_some_and(|text| text == "text/html");
    if is_page && answer.header("docker-distribution-api-version").is_none() {
        return Err(ClientError::Rubbish {
            url: shown(answer.url()),
            reason: "it is a web page".to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_to_the_registry_however_its_address_is_written() {
        for (host, url, want) in [
            ("a.b", "https://a.b/x", true),
            ("A.b:443", "https://a.B/x", true),
            ("a.b:5000", "http://a.b:5000/x", true),
            ("[::1]:5000", "http://[0:0::1]:5000/x", true),
            ("a.b", "http://a.b:81/x", false),
            ("a.b:5000", "https://a.b/x", false),
            ("a.b", "https://a.b.evil/x", false),
            ("a.b", "https://a.b@evil/x", false),
        ] {
            let endpoint = Endpoint {
                host: host.to_owned(),
                ..Endpoint::of_registry("a.b")
            };
            let url = url.parse().unwrap();
            assert_eq!(endpoint.is_at(&url), want, "{host} {url}");
        }
    }

    #[test]
    fn mirrors_come_before_the_registry() {
        let rules = r#"[registry."docker.io"]
            mirrors = ["m.lan:5000", "h.lan/hub"]"#;
        let client = Client::new(ClientConfig {
            hosts: HostRules::parse(rules).unwrap(),
            ..ClientConfig::new(Arc::new(crate::Anonymous))
        });
        let reference: Reference = "busybox".parse().unwrap();
        let endpoints = client.endpoints(&reference);
        let urls: Vec<_> = endpoints
            .iter()
            .map(|endpoint| format!("{}{}", endpoint.host, endpoint.path("manifests/1")))
            .collect();
        assert_eq!(
            urls,
            [
                "m.lan:5000/v2/library/busybox/manifests/1?ns=docker.io",
                "h.lan/v2/hub/library/busybox/manifests/1",
                "registry-1.docker.io/v2/library/busybox/manifests/1",
            ]
        );
    }
}
