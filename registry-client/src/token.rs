//! Tokens from the server that a registry names (distribution, "Token Authentication" and "`OAuth2` Token Authentication").

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use reqwest::Url;
use serde::Deserialize;

use crate::auth::Scopes;
use crate::hosts::is_loopback;
use crate::transport::{Answer, Call, Transport, Upload, authority, shown};
use crate::{ClientError, Credential, Result, Secret};

const CLIENT_ID: &str = "rbuild";
const MAX_TOKEN_ANSWER_BYTES: u64 = 1 << 20;
/// What the specification says where the server says nothing.
const DEFAULT_LIFE: Duration = Duration::from_mins(1);

/// What to ask a token server for.
pub(crate) struct Ask<'a> {
    pub(crate) registry: &'a str,
    pub(crate) host: &'a str,
    pub(crate) realm: &'a Url,
    pub(crate) service: Option<&'a str>,
    pub(crate) scopes: Scopes,
    /// Whether to ask for an identity token, to be stored.
    pub(crate) offline: bool,
}

/// What a token server gave.
pub(crate) struct Granted {
    pub(crate) access_token: Secret,
    pub(crate) identity_token: Option<Secret>,
    pub(crate) life: Duration,
}

/// Gets a token: by GET for nobody and for names with passwords, by POST (`OAuth2`) for identity tokens.
pub(crate) async fn fetch_token(
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
            patience: Duration::from_mins(1),
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
        let status = answer.status();
        if status != StatusCode::OK {
            // OAuth2 says 400 for a bad refresh token (RFC 6749, 5.2).
            let is_refusal = with_credentials && matches!(status.as_u16(), 400 | 403);
            let error = answer
                .refuse(
                    &Method::GET,
                    "an access token",
                    self.registry,
                    with_credentials,
                )
                .await;
            return Err(match error {
                ClientError::Denied { errors, .. } | ClientError::Status { errors, .. }
                    if is_refusal =>
                {
                    ClientError::Unauthorized {
                        what: "an access token".to_owned(),
                        registry: self.registry.to_owned(),
                        with_credentials,
                        errors,
                    }
                }
                ClientError::Unauthorized { .. } => error,
                _ if error.is_transient() => error,
                _ => self.failed(format!("it answered {status}")),
            });
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
            .map_or(DEFAULT_LIFE, |life| life.min(Duration::from_hours(24)));
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

pub(crate) fn basic_header(
    username: &str,
    password: &Secret,
    registry: &str,
) -> Result<HeaderValue> {
    let text = BASE64.encode(format!("{username}:{}", password.expose()));
    secret_header("Basic", &text, registry)
}

pub(crate) fn secret_header(scheme: &str, text: &str, registry: &str) -> Result<HeaderValue> {
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
