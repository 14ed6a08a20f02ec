//! What can go wrong between us and a registry, and what a user can do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rbuild_image::Digest;
use serde_json::Value;

const MAX_ENTRIES: usize = 5;

/// One entry of a registry's error body (distribution-spec, "Error codes").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryError {
    /// Machine-readable code, as `MANIFEST_UNKNOWN`.
    pub code: String,
    /// The registry's sentence.
    pub message: String,
}

/// The error body of an answer; empty where the registry sent none. The first five entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegistryErrors(pub Vec<RegistryError>);

impl RegistryErrors {
    /// Reads an error body; anything else than the documented form is no entry.
    pub(crate) fn parse(body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: &Value, name: &str, limit| {
            printable(value[name].as_str().unwrap_or_default(), limit)
        };
        let entry = |value: &Value| RegistryError {
            code: text(value, "code", 64),
            message: text(value, "message", 500),
        };
        if let Some(errors) = body["errors"].as_array() {
            return Self(errors.iter().take(MAX_ENTRIES).map(entry).collect());
        }
        // Docker Hub's token server answers `{"details": "…"}`, others `{"message": "…"}`,
        // OAuth2 servers `{"error_description": "…"}`.
        let message = ["details", "message", "error_description"]
            .into_iter()
            .map(|name| text(&body, name, 500))
            .find(|message| !message.is_empty());
        Self(Vec::from_iter(message.map(|message| RegistryError {
            code: String::new(),
            message,
        })))
    }

    /// Whether an entry has this code.
    pub fn has(&self, code: &str) -> bool {
        self.0.iter().any(|error| error.code == code)
    }
}

impl fmt::Display for RegistryErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.0 {
            match (error.code.is_empty(), error.message.is_empty()) {
                (false, false) => write!(f, "; {}: {}", error.code, error.message)?,
                (false, true) => write!(f, "; {}", error.code)?,
                (true, false) => write!(f, "; {}", error.message)?,
                (true, true) => {}
            }
        }
        Ok(())
    }
}

/// Foreign text for a message: one line, no control characters, at most `limit` characters.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let mut out: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(limit)
        .collect();
    if text.chars().nth(limit).is_some() {
        out.push('…');
    }
    out.trim().to_owned()
}

/// Why TLS failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsProblem {
    /// The certificate is not signed by an authority that this machine trusts.
    UnknownIssuer,
    /// The certificate is for other names.
    WrongName,
    /// The certificate has expired or is not yet valid.
    Expired,
    /// The other side does not speak TLS.
    NotTls,
    /// This machine has no trusted authorities at all.
    NoAuthorities,
    /// Anything else.
    Other,
}

impl TlsProblem {
    /// What an error of a connection says about TLS, by the texts of its causes; `None`: TLS is not what failed.
    ///
    /// TLS errors arrive as texts behind several layers; the words looked for are those of rustls' own error enum.
    pub fn find(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let text = cause_text(error);
        if text.contains("invalid peer certificate") || text.contains("certificate") {
            // `BadSignature`: an authority of the same name, made anew.
            let unknown = ["UnknownIssuer", "BadSignature", "CaUsedAsEndEntity"];
            return Some(if unknown.iter().any(|word| text.contains(word)) {
                Self::UnknownIssuer
            } else if text.contains("not valid for name") || text.contains("NotValidForName") {
                Self::WrongName
            } else if text.to_ascii_lowercase().contains("expired") || text.contains("NotValidYet")
            {
                Self::Expired
            } else {
                Self::Other
            });
        }
        if text.contains("InvalidContentType") || text.contains("corrupt message") {
            return Some(Self::NotTls);
        }
        None
    }

    /// What it is, in the words of a sentence.
    pub const fn describe(self) -> &'static str {
        tls(self)
    }
}

/// The texts of all causes of an error.
pub(crate) fn cause_text(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// What is wrong with an image that a registry served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidImage {
    /// Docker's first manifest format, which registries and engines have dropped.
    #[error(
        "it is in the old Docker schema 1 format, which is not supported (push the image again with a current tool)"
    )]
    Schema1,
    /// The manifest is no JSON, or lacks fields.
    #[error("its {what} cannot be read: {reason}")]
    Malformed {
        /// `manifest`, `index` or `config`.
        what: &'static str,
        /// What the JSON reader said.
        reason: String,
    },
    /// The document has a media type that is no image's.
    #[error("its {what} has the media type `{media_type}`: this is no container image")]
    MediaType {
        /// `manifest`, `config` or `layer`.
        what: &'static str,
        /// The media type found.
        media_type: String,
    },
    /// A document that is a manifest and an index at once.
    #[error("its manifest has both `layers` and `manifests`, so that it could be read in two ways")]
    Ambiguous,
    /// The config lists another number of layers than the manifest.
    #[error("its manifest has {layers} layers and its config has {diff_ids} diff_ids")]
    LayerCount {
        /// Layers in the manifest.
        layers: usize,
        /// `diff_ids` in the config.
        diff_ids: usize,
    },
    /// Indexes in indexes, too deep.
    #[error("its indexes are nested more than {0} deep")]
    Nesting(usize),
}

/// A digest that is not the promised one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestMismatch {
    /// What was promised.
    pub expected: Digest,
    /// What was computed from the bytes.
    pub actual: Digest,
}

/// Why a transfer or a question to a registry failed.
///
/// No variant ever holds a password, a token or the query of a URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// 404.
    #[error("{what} was not found in registry `{registry}`{errors}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// The registry.
        registry: String,
        /// Its error body.
        errors: RegistryErrors,
    },
    /// 401 after all that we could try.
    #[error("registry `{registry}` refuses access to {what}: {}{errors}", logged_in(*.with_credentials))]
    Unauthorized {
        /// What was asked for.
        what: String,
        /// The registry.
        registry: String,
        /// Whether we had credentials to show.
        with_credentials: bool,
        /// Its error body.
        errors: RegistryErrors,
    },
    /// A name and password that were just typed are not accepted.
    #[error("registry `{registry}` does not accept this name and password{errors}")]
    BadLogin {
        /// The registry.
        registry: String,
        /// Its error body.
        errors: RegistryErrors,
    },
    /// 403.
    #[error("registry `{registry}` denies {what}{errors}")]
    Denied {
        /// What was asked for.
        what: String,
        /// The registry.
        registry: String,
        /// Its error body.
        errors: RegistryErrors,
    },
    /// 429, and waiting would take too long.
    #[error("registry `{registry}` answers that there are too many requests{}{errors}", wait(.retry_after.as_ref()))]
    RateLimited {
        /// The registry.
        registry: String,
        /// How long it wants us to wait.
        retry_after: Option<Duration>,
        /// Its error body.
        errors: RegistryErrors,
    },
    /// Any other status that is no success.
    #[error("registry answered {status} to {method} `{url}` for {what}{errors}")]
    Status {
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// The HTTP method.
        method: String,
        /// Without query and user.
        url: String,
        /// Its error body.
        errors: RegistryErrors,
    },
    /// A success that makes no sense.
    #[error("`{url}` did not answer as a registry does: {reason}")]
    Rubbish {
        /// Without query and user.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The bytes are not those that were promised.
    #[error("{what} from registry `{registry}` has digest `{}`, not the promised `{}`", .mismatch.actual, .mismatch.expected)]
    Digest {
        /// Which blob or manifest.
        what: String,
        /// The registry.
        registry: String,
        /// Both digests.
        mismatch: Box<DigestMismatch>,
    },
    /// The bytes are more or fewer than promised.
    #[error("{what} from registry `{registry}` has {actual} bytes, not the promised {expected}")]
    Size {
        /// Which blob or manifest.
        what: String,
        /// The registry.
        registry: String,
        /// Promised bytes.
        expected: u64,
        /// Bytes that came, or were announced.
        actual: u64,
    },
    /// A document that must be held in memory is too large for that.
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Which document.
        what: String,
        /// Limit in bytes.
        limit: u64,
    },
    /// TLS failed.
    #[error("no secure connection to `{host}`: {}", tls(*.problem))]
    Tls {
        /// Host and port.
        host: String,
        /// The kind of failure.
        problem: TlsProblem,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody listens there.
    #[error("cannot connect to `{host}`")]
    Connect {
        /// Host and port.
        host: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The name of the host is unknown.
    #[error("no such host: `{host}`")]
    NoSuchHost {
        /// Host and port.
        host: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registry was silent for too long.
    #[error("`{host}` was silent for {} s ({what})", .after.as_secs_f32())]
    Timeout {
        /// What we waited for.
        what: String,
        /// Host and port.
        host: String,
        /// How long we waited.
        after: Duration,
    },
    /// The connection broke.
    #[error("the connection to `{host}` broke ({what})")]
    Interrupted {
        /// What was on its way.
        what: String,
        /// Host and port.
        host: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The token server's answer is of no use.
    #[error("the token server `{realm}` of registry `{registry}` gave no token: {reason}")]
    Token {
        /// The registry.
        registry: String,
        /// URL of the token server, without query and user.
        realm: String,
        /// What is wrong.
        reason: String,
    },
    /// The image is there, but not for this platform.
    #[error("{reference} has no image for platform `{wanted}`; there is {}", list(.available))]
    NoPlatform {
        /// The image.
        reference: String,
        /// The platform asked for.
        wanted: String,
        /// The platforms that the index has.
        available: Vec<String>,
    },
    /// The image is there and cannot be used.
    #[error("{reference} cannot be used: {problem}")]
    Image {
        /// The image.
        reference: String,
        /// What is wrong with it.
        problem: InvalidImage,
    },
    /// Credentials could not be read.
    #[error("cannot read the credentials for registry `{registry}`")]
    Credentials {
        /// The registry.
        registry: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The local store, or the source of a push, failed.
    #[error("cannot {action} {what} on this machine")]
    Local {
        /// `read` or `store`.
        action: &'static str,
        /// Which blob.
        what: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file of certificates cannot be used.
    #[error("cannot use the certificates in `{}`: {reason}", .path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The registry's name makes no URL.
    #[error("`{text}` is no usable address")]
    Address {
        /// What was tried.
        text: String,
    },
}

impl ClientError {
    /// What the user can do, where we know it: one line, lower case, no full stop.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => {
                Some("check the name and the tag; a private image may also hide behind this answer, see `rbuild login`".to_owned())
            }
            Self::Unauthorized {
                registry,
                with_credentials,
                ..
            } => Some(if *with_credentials {
                format!("the stored credentials are wrong or lack this right; `rbuild login {registry}` replaces them")
            } else {
                format!("log in with `rbuild login {registry}`")
            }),
            Self::Denied { registry, .. } => Some(format!(
                "the account in use lacks this right; `rbuild login {registry}` changes the account"
            )),
            Self::RateLimited { registry, .. } => Some(format!(
                "`rbuild login {registry}` may raise the limit, and a mirror in registries.toml avoids it"
            )),
            Self::Rubbish { .. } => {
                Some("is this the address of a registry, or of a proxy or web page before it?".to_owned())
            }
            Self::Tls { host, problem, .. } => Some(match problem {
                TlsProblem::UnknownIssuer => format!(
                    "give its authority as `ca` for `{host}` in registries.toml, or use --tls-verify=false if you trust the network"
                ),
                TlsProblem::NotTls => format!(
                    "if it speaks plain HTTP, set `plain-http = true` for `{host}` in registries.toml or use --tls-verify=false"
                ),
                TlsProblem::NoAuthorities => {
                    "install the package `ca-certificates`, or set SSL_CERT_FILE".to_owned()
                }
                TlsProblem::WrongName | TlsProblem::Expired | TlsProblem::Other => {
                    "check the registry's certificate and this machine's clock".to_owned()
                }
            }),
            Self::Connect { .. } => Some("is the registry running, and the port right?".to_owned()),
            Self::NoSuchHost { .. } => {
                Some("check the registry's name, and the network and name servers of this machine".to_owned())
            }
            Self::NoPlatform { .. } => Some("choose one of them with --platform".to_owned()),
            Self::Status { status: 413, .. } => Some(
                "a proxy before the registry limits the size of requests".to_owned(),
            ),
            _ => None,
        }
    }

    /// Whether the same request may well succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Interrupted { .. } | Self::RateLimited { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// The error for a transfer that had begun: a registry that was there a moment ago and takes no connection now
    /// is being restarted, and worth waiting for.
    pub(crate) fn in_the_middle(self) -> Self {
        match self {
            Self::Connect { host, source } => Self::Interrupted {
                what: "it takes no new connection".to_owned(),
                host,
                source,
            },
            other => other,
        }
    }

    /// Whether the registry says that the thing is not there.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, ClientError>;

const fn logged_in(with_credentials: bool) -> &'static str {
    if with_credentials {
        "the credentials are wrong or not sufficient"
    } else {
        "it wants a login"
    }
}

fn wait(retry_after: Option<&Duration>) -> String {
    retry_after.map_or_else(String::new, |time| {
        format!(", and to try again in {} s", time.as_secs())
    })
}

fn list(available: &[String]) -> String {
    if available.is_empty() {
        "none at all".to_owned()
    } else {
        available.join(", ")
    }
}

const fn tls(problem: TlsProblem) -> &'static str {
    match problem {
        TlsProblem::UnknownIssuer => {
            "its certificate is signed by an authority that this machine does not trust"
        }
        TlsProblem::WrongName => "its certificate is for another name",
        TlsProblem::Expired => "its certificate has expired or is not yet valid",
        TlsProblem::NotTls => "it does not speak TLS",
        TlsProblem::NoAuthorities => "this machine has no trusted certificate authorities",
        TlsProblem::Other => "TLS failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_are_shown_whatever_their_form() {
        for (body, want) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"no"}]}"#,
                "; DENIED: no",
            ),
            (
                r#"{"errors":[{"code":"DENIED","message":null,"detail":{"a":1}}]}"#,
                "; DENIED",
            ),
            (
                r#"{"errors":[{"message":"a\nb\u0007"},{"code":"X"}]}"#,
                "; a b; X",
            ),
            (
                r#"{"details":"incorrect username or password"}"#,
                "; incorrect username or password",
            ),
            (
                r#"{"error":"invalid_grant","error_description":"expired"}"#,
                "; expired",
            ),
            (r#"{"errors":{}}"#, ""),
            ("[1]", ""),
            ("<html>", ""),
            ("", ""),
        ] {
            assert_eq!(
                RegistryErrors::parse(body.as_bytes()).to_string(),
                want,
                "{body}"
            );
        }
        let many = format!(
            r#"{{"errors":[{}]}}"#,
            vec![r#"{"code":"X"}"#; 100].join(",")
        );
        assert_eq!(RegistryErrors::parse(many.as_bytes()).0.len(), MAX_ENTRIES);
    }

    #[test]
    fn a_registry_that_vanishes_in_the_middle_is_worth_waiting_for() {
        let refused = || ClientError::Connect {
            host: "r".to_owned(),
            source: "refused".into(),
        };
        assert!(!refused().is_transient());
        assert!(refused().in_the_middle().is_transient());
    }
}
