//! Docker's `config.json`: the credentials that container tools share.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crate::{Client, Credential, Credentials, Result};

/// Where the files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigPaths {
    /// Docker's file: read, and written by `login` and `logout`.
    pub docker: PathBuf,
    /// Files that are only read, after Docker's: podman's `auth.json`.
    pub others: Vec<PathBuf>,
}

impl ConfigPaths {
    /// The places that the environment names: `$DOCKER_CONFIG`, `$HOME/.docker`, `$REGISTRY_AUTH_FILE`,
    /// `$XDG_RUNTIME_DIR/containers/auth.json`; `var` looks a variable up.
    pub fn from_env(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let _ = var;
        unimplemented!()
    }
}

/// The credentials in these files and in the helpers they name.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    paths: ConfigPaths,
}

impl DockerConfig {
    /// Reads from these files, each time a credential is asked for.
    pub const fn new(paths: ConfigPaths) -> Self {
        Self { paths }
    }

    /// Keeps a credential for `registry`: in its helper where one is configured, else in Docker's file.
    pub fn store(&self, registry: &str, credential: &Credential) -> io::Result<()> {
        unimplemented!("{registry}{credential:?}{:?}", self.paths)
    }

    /// Forgets the credential for `registry`; false if there was none.
    pub fn erase(&self, registry: &str) -> io::Result<bool> {
        unimplemented!("{registry}")
    }
}

impl Credentials for DockerConfig {
    fn get(&self, registry: &str) -> io::Result<Option<Credential>> {
        unimplemented!("{registry}")
    }
}

/// Tries a name and password at a registry, and returns what is to be stored:
/// the same, or the identity token that the registry gave for them.
pub async fn verify_login(
    client: &Client,
    registry: &str,
    credential: Credential,
) -> Result<Credential> {
    unimplemented!("{client:?}{registry}{credential:?}")
}
