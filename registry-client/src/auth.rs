//! Being let in: Basic, and the token flow of Docker's registries (distribution, "Token Authentication").

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use reqwest::Url;
use serde::Deserialize;

use crate::challenge::{self, Challenge};
use crate::hosts::is_loopback;
use crate::transport::{Answer, Call, Transport, Upload, authority, lock, shown};
use crate::{ClientConfig, ClientError, Credential, Result, Secret};

const CLIENT_ID: &str = "rbuild";
const MAX_TOKEN_ANSWER_BYTES: u64 = 1 << 20;
/// What the specification says where the server says nothing.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// Rights to ask for, as `repository:library/busybox:pull`.
pub(crate) type Scopes = BTreeSet<String>;

/// Knows how each registry wants to be spoken to, and the tokens it gave.
pub(crate) struct Auth {
    config: Arc<ClientConfig>,
    challenges: Mutex<HashMap<String, Challenge>>,
    credentials: Mutex<HashMap<String, Arc<tokio::sync::OnceCell<Option<Credential>>>>>,
    tokens: Mutex<HashMap<TokenKey, Arc<tokio::sync::Mutex<Option<Token>>>>>,
}

type TokenKey = (String, Scopes);

struct Token {
    header: HeaderValue,
    expires: Instant,
    /// What the registry wanted besides the rights of the key.
    extra: Scopes,
}

/// Whom to show credentials to.
pub(crate) struct Party<'a> {
    /// The registry's name, by which its credentials are known.
    pub(crate) registry: &'a str,
    /// The host of its API.
    pub(crate) host: &'a str,
}

/// An `Authorization` header.
#[derive(Clone)]
pub(crate) struct Shown {
    header: HeaderValue,
    /// Whether it stands for an account, and not for nobody.
    pub(crate) with_credentials: bool,
    /// Whether it was made just now, so that making it again would change nothing.
    is_fresh: bool,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").finish_non_exhaustive()
    }
}

impl Shown {
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        headers.insert(AUTHORIZATION, self.header.clone());
    }
}

impl Auth {
    pub(crate) fn new(config: Arc<ClientConfig>) -> Self {
        Self {
            config,
            challenges: Mutex::default(),
            credentials: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// What we have to show already, or can get knowing what the host has asked for before.
    pub(crate) async fn show(
        &self,
        transport: &Transport,
        party: &Party<'_>,
        scopes: &Scopes,
    ) -> Result<Option<Shown>> {
        let challenge = lock(&self.challenges).get(party.host).cloned();
        match challenge {
            Some(challenge) => {
                self.answer(transport, party, scopes, &challenge, None)
                    .await
            }
            None => Ok(None),
        }
    }

    /// Answers a 401. `refused` is what was shown; `None` comes back when there is nothing better to show.
    pub(crate) async fn respond(
        &self,
        transport: &Transport,
        party: &Party<'_>,
        scopes: &Scopes,
        answer: &Answer,
        refused: Option<&Shown>,
    ) -> Result<Option<Shown>> {
        if refused.is_some_and(|shown| shown.is_fresh) {
            return Ok(None);
        }
        let Some(challenge) = wanted(answer) else {
            return Ok(None);
        };
        lock(&self.challenges).insert(party.host.to_owned(), challenge.clone());
        self.answer(transport, party, scopes, &challenge, Some(refused))
            .await
    }

    /// Gets something new to show after a request with a body was answered with 401; false if there is nothing.
    pub(crate) async fn renew(
        &self,
        transport: &Transport,
        party: &Party<'_>,
        scopes: &Scopes,
        answer: &Answer,
    ) -> Result<bool> {
        let cell = lock(&self.tokens)
            .get(&(party.host.to_owned(), scopes.clone()))
            .cloned();
        if let Some(cell) = cell
            && let Some(token) = cell.lock().await.as_mut()
        {
            token.expires = Instant::now();
        }
        let shown = self.respond(transport, party, scopes, answer, None).await?;
        Ok(shown.is_some())
    }

    /// `refused` is set when a 401 came: the inner option is what it refused.
    async fn answer(
        &self,
        transport: &Transport,
        party: &Party<'_>,
        scopes: &Scopes,
        challenge: &Challenge,
        refused: Option<Option<&Shown>>,
    ) -> Result<Option<Shown>> {
        let credential = self.credential(party.registry).await?;
        if let Some(Credential::Bearer(token)) = &credential {
            return Ok(Some(Shown {
                header: secret_header("Bearer", token.expose(), party.registry)?,
                with_credentials: true,
                is_fresh: true,
            }));
        }
        match challenge {
            Challenge::Basic => match &credential {
                Some(Credential::Basic { username, password }) => Ok(Some(Shown {
                    header: basic_header(username, password, party.registry)?,
                    with_credentials: true,
                    is_fresh: true,
                })),
                _ => Ok(None),
            },
            Challenge::Bearer {
                realm,
                service,
                scopes: wanted,
            } => {
                let cell = Arc::clone(
                    lock(&self.tokens)
                        .entry((party.host.to_owned(), scopes.clone()))
                        .or_default(),
                );
                // Everybody who needs the same token waits for the one request that fetches it.
                let mut slot = cell.lock().await;
                let with_credentials = credential.is_some();
                if let Some(token) = slot.as_ref()
                    && token.expires > Instant::now()
                    && refused
                        .flatten()
                        .is_none_or(|shown| shown.header != token.header)
                {
                    return Ok(Some(Shown {
                        header: token.header.clone(),
                        with_credentials,
                        is_fresh: false,
                    }));
                }
                let mut extra = slot.take().map(|token| token.extra).unwrap_or_default();
                if refused.is_some() {
                    extra.extend(wanted.iter().cloned());
                }
                let ask = Ask {
                    registry: party.registry,
                    host: party.host,
                    realm,
                    service: service.as_deref(),
                    scopes: scopes.union(&extra).cloned().collect(),
                    offline: false,
                };
                let granted = fetch_token(transport, &ask, credential.as_ref()).await?;
                let header =
                    secret_header("Bearer", granted.access_token.expose(), party.registry)?;
                *slot = Some(Token {
                    header: header.clone(),
                    expires: Instant::now() + usable_life(granted.life),
                    extra,
                });
                Ok(Some(Shown {
                    header,
                    with_credentials,
                    is_fresh: true,
                }))
            }
        }
    }

    /// Credentials are asked for once in the life of a client.
    async fn credential(&self, registry: &str) -> Result<Option<Credential>> {
        let cell = Arc::clone(
            lock(&self.credentials)
                .entry(registry.to_owned())
                .or_default(),
        );
        let credential = cell
            .get_or_try_init(|| async {
                let source = Arc::clone(&self.config.credentials);
                let name = registry.to_owned();
                let outcome = tokio::task::spawn_blocking(move || source.get(&name)).await;
                outcome
                    .unwrap_or_else(|error| Err(std::io::Error::other(error)))
                    .map_err(|source| ClientError::Credentials {
                        registry: registry.to_owned(),
                        source,
                    })
            })
            .await?;
        Ok(credential.clone())
    }
}

/// Shows a new credential in answer to a 401 of `/v2/`: the headers to try, and what is worth keeping.
pub(crate) async fn log_in(
    transport: &Transport,
    party: &Party<'_>,
    answer: &Answer,
    credential: Credential,
) -> Result<(HeaderMap, Credential)> {
    let challenge = wanted(answer).ok_or_else(|| ClientError::Rubbish {
        url: shown(answer.url()),
        reason: "it wants a login without saying of what kind".to_owned(),
    })?;
    let refused = || ClientError::Unauthorized {
        what: "the login".to_owned(),
        registry: party.registry.to_owned(),
        with_credentials: true,
        errors: crate::RegistryErrors::default(),
    };
    let (header, kept) = match (challenge, credential) {
        (_, Credential::Bearer(token)) => {
            let header = secret_header("Bearer", token.expose(), party.registry)?;
            (header, Credential::Bearer(token))
        }
        (Challenge::Basic, credential) => {
            let Credential::Basic { username, password } = &credential else {
                return Err(refused());
            };
            (
                basic_header(username, password, party.registry)?,
                credential,
            )
        }
        (Challenge::Bearer { realm, service, .. }, credential) => {
            let ask = Ask {
                registry: party.registry,
                host: party.host,
                realm: &realm,
                service: service.as_deref(),
                scopes: Scopes::new(),
                offline: true,
            };
            let granted = fetch_token(transport, &ask, Some(&credential)).await?;
            let header = secret_header("Bearer", granted.access_token.expose(), party.registry)?;
            let kept = granted
                .identity_token
                .map_or(credential, Credential::IdentityToken);
            (header, kept)
        }
    };
    Ok((HeaderMap::from_iter([(AUTHORIZATION, header)]), kept))
}

/// The challenge of an answer that we can meet best.
fn wanted(answer: &Answer) -> Option<Challenge> {
    let headers = answer.headers().get_all(WWW_AUTHENTICATE);
    let mut found = challenge::parse(headers.iter().filter_map(|value| value.to_str().ok()));
    let bearer = found
        .iter()
        .position(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    (!found.is_empty()).then(|| found.swap_remove(bearer.unwrap_or(0)))
}

/// A token need not be thrown away at its last second: clocks and networks are slow.
fn usable_life(life: Duration) -> Duration {
    life - (life / 10).min(Duration::from_secs(30))
}

/// What to ask a token server for.
struct Ask<'a> {
    registry: &'a str,
    host: &'a str,
    realm: &'a Url,
    service: Option<&'a str>,
    scopes: Scopes,
    /// Whether to ask for an identity token, to be stored.
    offline: bool,
}

/// What a token server gave.
struct Granted {
    access_token: Secret,
    identity_token: Option<Secret>,
    life: Duration,
}

/// Gets a token: by GET for nobody and for names with passwords, by POST (OAuth2) for identity tokens.
async fn fetch_token(
    transport: &Transport,
    ask: &Ask<'_>,
    credential: Option<&Credential>,
) -> Result<Granted> {
    let is_plain = ask.realm.scheme() == "http";
    let came_by_tls = transport.scheme_of(ask.host) == Some("https");
    if credential.is_some() && is_plain && came_by_tls && !is_loopback(&authority(ask.realm)) {
        return Err(ask.failed("it wants the password over plain HTTP, which everybody can read"));
    }
    let answer = match credential {
        Some(Credential::IdentityToken(token)) => {
            ask.post(
                transport,
                &[
                    ("grant_type", "refresh_token"),
                    ("refresh_token", token.expose()),
                ],
            )
            .await?
        }
        Some(Credential::Basic { username, password }) => {
            let answer = ask.get(transport, Some((username, password))).await?;
            if matches!(answer.status().as_u16(), 404 | 405) {
                ask.post(
                    transport,
                    &[
                        ("grant_type", "password"),
                        ("username", username),
                        ("password", password.expose()),
                    ],
                )
                .await?
            } else {
                answer
            }
        }
        Some(Credential::Bearer(_)) | None => ask.get(transport, None).await?,
    };
    ask.read(answer, credential.is_some()).await
}

impl Ask<'_> {
    async fn get(
        &self,
        transport: &Transport,
        account: Option<(&String, &Secret)>,
    ) -> Result<Answer> {
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(self.service.map(|service| ("service", service)));
            query.extend_pairs(self.scopes.iter().map(|scope| ("scope", scope)));
            if let Some((username, _)) = account {
                query.append_pair("account", username);
            }
            query.append_pair("client_id", CLIENT_ID);
            if self.offline {
                query.append_pair("offline_token", "true");
            }
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some((username, password)) = account {
            headers.insert(
                AUTHORIZATION,
                basic_header(username, password, self.registry)?,
            );
        }
        transport
            .follow(url, &Method::GET, &headers, "an access token")
            .await
    }

    async fn post(&self, transport: &Transport, fields: &[(&str, &str)]) -> Result<Answer> {
        let scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        let mut form = Url::parse("http://form/").map_err(|_| self.failed("no form"))?;
        form.query_pairs_mut()
            .extend_pairs(fields)
            .extend_pairs(self.service.map(|service| ("service", service)))
            .append_pair("client_id", CLIENT_ID)
            .append_pair("scope", &scopes.join(" "))
            .extend_pairs(self.offline.then_some(("access_type", "offline")));
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        let (_, sent) = tokio::sync::watch::channel(0);
        let call = Call {
            method: Method::POST,
            headers,
            what: "an access token",
            body: Some(Upload {
                body: form.query().unwrap_or_default().to_owned().into(),
                sent,
            }),
            patience: Duration::from_secs(60),
            on_sent: &|_| {},
        };
        transport.send(self.realm.clone(), call).await
    }

    async fn read(&self, answer: Answer, with_credentials: bool) -> Result<Granted> {
        #[derive(Deserialize)]
        struct Body {
            token: Option<String>,
            access_token: Option<String>,
            refresh_token: Option<String>,
            expires_in: Option<f64>,
        }
        match answer.status() {
            StatusCode::OK => {}
            // OAuth2 says 400 for a bad refresh token (RFC 6749, 5.2).
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
                if with_credentials =>
            {
                let refused = answer
                    .refuse(&Method::GET, "an access token", self.registry, true)
                    .await;
                return Err(match refused {
                    ClientError::Denied {
                        what,
                        registry,
                        errors,
                    }
                    | ClientError::Status {
                        what,
                        url: registry,
                        errors,
                        ..
                    } => {
                        let _ = registry;
                        ClientError::Unauthorized {
                            what,
                            registry: self.registry.to_owned(),
                            with_credentials: true,
                            errors,
                        }
                    }
                    other => other,
                });
            }
            StatusCode::TOO_MANY_REQUESTS => {
                return Err(answer
                    .refuse(&Method::GET, "an access token", self.registry, false)
                    .await);
            }
            status => {
                return Err(if status.is_server_error() {
                    answer
                        .refuse(&Method::GET, "an access token", self.registry, false)
                        .await
                } else {
                    self.failed(format!("it answered {status}"))
                });
            }
        }
        let bytes = answer
            .bytes("the token server's answer", MAX_TOKEN_ANSWER_BYTES)
            .await?;
        let body: Body = serde_json::from_slice(&bytes)
            .map_err(|_| self.failed("its answer is not the JSON of a token"))?;
        let token = body
            .token
            .filter(|token| !token.is_empty())
            .or(body.access_token)
            .filter(|token| !token.is_empty())
            .ok_or_else(|| self.failed("its answer holds none"))?;
        let life = body
            .expires_in
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|life| !life.is_zero())
            .map_or(DEFAULT_LIFE, |life| life.min(Duration::from_secs(86_400)));
        Ok(Granted {
            access_token: Secret::new(token),
            identity_token: body
                .refresh_token
                .filter(|token| !token.is_empty())
                .map(Secret::new),
            life,
        })
    }

    fn failed(&self, reason: impl Into<String>) -> ClientError {
        ClientError::Token {
            registry: self.registry.to_owned(),
            realm: shown(self.realm),
            reason: reason.into(),
        }
    }
}

fn basic_header(username: &str, password: &Secret, registry: &str) -> Result<HeaderValue> {
    let text = BASE64.encode(format!("{username}:{}", password.expose()));
    secret_header("Basic", &text, registry)
}

fn secret_header(scheme: &str, text: &str, registry: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {text}")).map_err(|_| {
        ClientError::Credentials {
            registry: registry.to_owned(),
            source: std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "the token holds characters that cannot be sent",
            ),
        }
    })?;
    value.set_sensitive(true);
    Ok(value)
}
