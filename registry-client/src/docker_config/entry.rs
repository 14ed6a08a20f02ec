//! One entry of `auths`, and the names under which entries stand.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use rbuild_image::reference::DEFAULT_REGISTRY;
use serde_json::{Map, Value, json};

use crate::{Credential, Secret};

/// Docker's own key for the default registry, from the time of its first API.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// As a user name it says that the password is an identity token.
pub(super) const TOKEN_USER: &str = "<token>";

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The key under which a registry's credential is written.
pub(super) fn key(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY {
        DOCKER_HUB_KEY
    } else {
        registry
    }
}

/// Whether a key of a file means this registry: with or without scheme and version, as tools have written it.
pub(super) fn is_key_of(key: &str, registry: &str) -> bool {
    let rest = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    // podman also has keys for parts of a registry; they are not for all of it.
    if !matches!(path.trim_end_matches('/'), "" | "v1" | "v2") {
        return false;
    }
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
        other => other,
    };
    host.eq_ignore_ascii_case(registry)
}

pub(super) fn empty() -> Value {
    json!({})
}

/// The entry for a credential.
pub(super) fn write(credential: &Credential) -> Value {
    match credential {
        Credential::Basic { username, password } => {
            json!({ "auth": LENIENT.encode(format!("{username}:{}", password.expose())) })
        }
        Credential::IdentityToken(token) => json!({ "identitytoken": token.expose() }),
        Credential::Bearer(token) => json!({ "registrytoken": token.expose() }),
    }
}

/// The credential in an entry; none if it is empty, the reason if it cannot be understood.
pub(super) fn read(entry: &Map<String, Value>) -> Result<Option<Credential>, &'static str> {
    let text = |name: &str| {
        entry
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Credential::IdentityToken(Secret::new(token))));
    }
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credential::Bearer(Secret::new(token))));
    }
    let (username, password) = match text("auth") {
        Some(encoded) => {
            let bytes = LENIENT
                .decode(encoded.trim())
                .map_err(|_| "`auth` is not base64")?;
            let decoded = String::from_utf8(bytes).map_err(|_| "`auth` is not UTF-8")?;
            let (username, password) = decoded
                .split_once(':')
                .ok_or("`auth` has no colon between name and password")?;
            (
                username.to_owned(),
                password.trim_end_matches('\0').to_owned(),
            )
        }
        None => match (text("username"), text("password")) {
            (Some(username), Some(password)) => (username.to_owned(), password.to_owned()),
            _ => return Ok(None),
        },
    };
    Ok(from_pair(username, password))
}

/// A credential from a name and a secret, as entries and helpers have them.
pub(super) fn from_pair(username: String, secret: String) -> Option<Credential> {
    if username.is_empty() || secret.is_empty() {
        return None;
    }
    Some(if username == TOKEN_USER {
        Credential::IdentityToken(Secret::new(secret))
    } else {
        Credential::basic(username, secret)
    })
}
