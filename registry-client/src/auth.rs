//! Being let in: Basic, and the token flow of Docker's registries (distribution, "Token Authentication").

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};

use crate::challenge::{self, Challenge};
use crate::token::{Ask, basic_header, fetch_token, secret_header};
use crate::transport::{Answer, Transport, lock, shown};
use crate::{ClientConfig, ClientError, Credential, Result};

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
                self.answer(transport, party, scopes, &challenge, false, None)
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
        self.answer(transport, party, scopes, &challenge, true, refused)
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

    /// `was_refused`: a 401 came; `refused` is what was shown before it.
    async fn answer(
        &self,
        transport: &Transport,
        party: &Party<'_>,
        scopes: &Scopes,
        challenge: &Challenge,
        was_refused: bool,
        refused: Option<&Shown>,
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
                    && refused.is_none_or(|shown| shown.header != token.header)
                {
                    return Ok(Some(Shown {
                        header: token.header.clone(),
                        with_credentials,
                        is_fresh: false,
                    }));
                }
                let mut extra = slot.take().map(|token| token.extra).unwrap_or_default();
                if was_refused {
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
    life.saturating_sub((life / 10).min(Duration::from_secs(30)))
}
