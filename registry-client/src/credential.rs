//! What we show to a registry to be let in.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

/// A text that never appears in logs, errors or `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for sending it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A way to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password, or a token that is used like one.
    Basic {
        /// Name of the account.
        username: String,
        /// Its password.
        password: Secret,
    },
    /// An `OAuth2` refresh token, which the token server exchanges.
    IdentityToken(Secret),
    /// A token that is sent to the registry as it is.
    Bearer(Secret),
}

impl Credential {
    /// A name and a password.
    pub fn basic(username: impl Into<String>, password: impl Into<Box<str>>) -> Self {
        Self::Basic {
            username: username.into(),
            password: Secret::new(password),
        }
    }
}

/// Where credentials come from. It is asked on a thread that may block, once per registry and token.
pub trait Credentials: Send + Sync + fmt::Debug {
    /// The credential for `registry`, a host with its port where one is written; `None` is "try without".
    ///
    /// The default registry is asked for as `docker.io`.
    fn get(&self, registry: &str) -> io::Result<Option<Credential>>;
}

/// No credentials: everything is tried as nobody.
#[derive(Debug, Clone, Copy)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn get(&self, _registry: &str) -> io::Result<Option<Credential>> {
        Ok(None)
    }
}

/// Fixed credentials, by registry.
#[derive(Debug, Clone, Default)]
pub struct StaticCredentials(pub BTreeMap<String, Credential>);

impl Credentials for StaticCredentials {
    fn get(&self, registry: &str) -> io::Result<Option<Credential>> {
        Ok(self.0.get(registry).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_holds_no_secret() {
        for credential in [
            Credential::basic("me", "hunter2"),
            Credential::IdentityToken(Secret::new("hunter2")),
            Credential::Bearer(Secret::new("hunter2")),
        ] {
            assert!(!format!("{credential:?}").contains("hunter2"));
        }
    }
}
