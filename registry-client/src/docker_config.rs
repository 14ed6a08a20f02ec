//! Docker's `config.json`: the credentials that container tools share.
//!
//! Read are Docker's file and podman's `auth.json`, written is Docker's file alone.
//! Where the file names a credential helper (`credHelpers`, `credsStore`), secrets go to that program and not into the file.

mod entry;
mod file;
mod helper;
mod login;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crate::{Credential, Credentials};
use file::ConfigFile;
use helper::{Helper, HelperError};

pub use login::verify_login;

/// Where the files are, and the helpers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigPaths {
    /// Docker's file: read, and written by [`DockerConfig::store`] and [`DockerConfig::erase`].
    pub docker: PathBuf,
    /// Files that are only read, after Docker's: podman's `auth.json`.
    pub others: Vec<PathBuf>,
    /// Where helper programs are looked for, as in `$PATH`; none means `$PATH` itself.
    pub helper_path: Option<OsString>,
}

impl ConfigPaths {
    /// The places that the environment names: `$DOCKER_CONFIG` or `~/.docker`, and `$REGISTRY_AUTH_FILE`,
    /// or else `$XDG_RUNTIME_DIR/containers` and `~/.config/containers`. `var` looks a variable up.
    ///
    /// ```
    /// use rbuild_registry_client::docker_config::ConfigPaths;
    /// let paths = ConfigPaths::from_env(|name| (name == "DOCKER_CONFIG").then(|| "/etc/d".into()));
    /// assert_eq!(paths.docker.to_str(), Some("/etc/d/config.json"));
    /// ```
    pub fn from_env(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| var(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = path("HOME").or_else(std::env::home_dir).unwrap_or_default();
        let docker = path("DOCKER_CONFIG").unwrap_or_else(|| home.join(".docker"));
        let others = match path("REGISTRY_AUTH_FILE") {
            Some(file) => vec![file],
            None => path("XDG_RUNTIME_DIR")
                .into_iter()
                .chain([path("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"))])
                .map(|directory| directory.join("containers/auth.json"))
                .collect(),
        };
        Self {
            docker: docker.join("config.json"),
            others,
            helper_path: None,
        }
    }
}

/// Where a credential was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Given to this helper program.
    Helper(String),
    /// Written into this file, where whoever can read the file can read the secret.
    File(PathBuf),
}

/// The credentials in these files and in the helpers they name.
///
/// The files are read anew for every question: another program may have written them.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    paths: ConfigPaths,
}

impl DockerConfig {
    /// Uses the files at these paths; those that do not exist are empty.
    pub const fn new(paths: ConfigPaths) -> Self {
        Self { paths }
    }

    /// Keeps a credential for `registry`: in its helper where one is configured, else in Docker's file.
    pub fn store(&self, registry: &str, credential: &Credential) -> io::Result<Kept> {
        let path = &self.paths.docker;
        let _lock = file::lock_directory(path)?;
        let mut config = ConfigFile::read(path)?;
        let key = entry::key(registry);
        let entry = match self.helper(&config, registry)? {
            Some(helper) => {
                helper.store(key, credential)?;
                // An empty entry tells other tools that there is something in the helper.
                config.put(registry, entry::empty())?;
                config.write(path)?;
                return Ok(Kept::Helper(helper.program()));
            }
            None => entry::write(credential),
        };
        config.put(registry, entry)?;
        config.write(path)?;
        Ok(Kept::File(path.clone()))
    }

    /// Forgets the credential for `registry`, in Docker's file and in its helper; false if there was none.
    pub fn erase(&self, registry: &str) -> io::Result<bool> {
        let path = &self.paths.docker;
        if !path.exists() {
            return Ok(false);
        }
        let _lock = file::lock_directory(path)?;
        let mut config = ConfigFile::read(path)?;
        let mut had = match self.helper(&config, registry)? {
            Some(helper) => helper.erase(entry::key(registry))?,
            None => false,
        };
        if config.remove(registry) {
            config.write(path)?;
            had = true;
        }
        Ok(had)
    }

    fn helper(&self, config: &ConfigFile, registry: &str) -> io::Result<Option<Helper>> {
        let name = config
            .helper_of(registry)
            .or_else(|| config.default_helper());
        name.map(|name| Helper::new(name, self.paths.helper_path.clone()))
            .transpose()
    }

    fn ask_helpers(&self, config: &ConfigFile, registry: &str) -> io::Result<Option<Credential>> {
        let new = |name: &str| Helper::new(name, self.paths.helper_path.clone());
        let key = entry::key(registry);
        if let Some(name) = config.helper_of(registry) {
            return Ok(new(name)?.get(key)?);
        }
        let Some(name) = config.default_helper() else {
            return Ok(None);
        };
        match new(name)?.get(key) {
            // A file copied from another machine often names a helper that is not here;
            // that should not keep anybody from pulling public images.
            Err(HelperError::Missing(program)) => {
                tracing::warn!(
                    program,
                    config = %self.paths.docker.display(),
                    "the credential helper is not installed, credentials in it are not used"
                );
                Ok(None)
            }
            outcome => Ok(outcome?),
        }
    }
}

impl Credentials for DockerConfig {
    fn get(&self, registry: &str) -> io::Result<Option<Credential>> {
        for path in [&self.paths.docker].into_iter().chain(&self.paths.others) {
            let config = ConfigFile::read(path)?;
            if let Some(credential) = self.ask_helpers(&config, registry)? {
                return Ok(Some(credential));
            }
            if let Some(credential) = config.credential(registry)? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
