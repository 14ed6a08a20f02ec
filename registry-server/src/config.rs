//! Settings, with a default for each: a registry needs no configuration.
//!
//! Every key may stand in a TOML file and in an environment variable (`limits.manifest_bytes` is
//! `RBUILD_REGISTRY_LIMITS_MANIFEST_BYTES`); the variable wins over the file, and an option of the command line over both.
//! [`key::KEYS`] is the list of all keys.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub mod key;

/// The settings of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The directory that everything is kept in.
    pub data: PathBuf,
    /// What clients may ask for.
    pub limits: Limits,
    /// When things are collected.
    pub collect: Collect,
    /// Whether an index may name manifests that are not here.
    pub sparse_indexes: bool,
    /// Whether an image may name blobs that are not here.
    pub sparse_images: bool,
    /// Hosts, with their ports, that names of images here begin with where clients use others than in `Host`.
    pub names: Vec<String>,
    /// Where metrics are served; nowhere by default.
    pub metrics: Option<SocketAddr>,
    /// Whether each request is logged.
    pub access_log: bool,
    /// Bytes per second that are read in the background to find damaged blobs; 0 reads none.
    pub verify_bytes: u64,
    /// Certificate chain and key, both in PEM; read again when the files change.
    pub tls: Option<Tls>,
}

/// Files for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("could not read the configuration file `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("the configuration file `{path}` is not valid TOML: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// There is no such key.
    #[error("`{name}` in {place} is no setting; the nearest one is `{nearest}`")]
    UnknownKey {
        /// As it was written.
        name: String,
        /// Where it was found.
        place: String,
        /// The key that looks most like it.
        nearest: &'static str,
    },
    /// The value does not fit.
    #[error("`{name}` in {place} cannot be `{value}`: {reason}")]
    Value {
        /// The key.
        name: &'static str,
        /// Where it was found.
        place: String,
        /// As it was written.
        value: String,
        /// What is wanted.
        reason: String,
    },
    /// Two settings contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// Bounds on everything that a client controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Length of a manifest in bytes.
    pub manifest_bytes: usize,
    /// Length of a blob in bytes.
    pub blob_bytes: u64,
    /// Length of a request's head in bytes.
    pub head_bytes: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Requests that one address may make per second in the long run, and ten times as many at once; 0 sets no bound.
    pub requests_per_second: u32,
    /// Uploads that are started and have received nothing.
    pub empty_uploads: u64,
    /// How long a client may take to send a request's head.
    pub head_time: Duration,
    /// How long a client may send or take nothing in the middle of a body.
    pub idle_time: Duration,
    /// Bytes per second that a body must come with, but for pauses of [`Self::idle_time`]; 0 sets no bound.
    pub body_rate: u64,
    /// How long an upload is kept that nothing comes for.
    pub upload_time: Duration,
    /// Bytes of disk that pushes must leave free, so that reads, deletes and the database go on.
    pub reserve_bytes: u64,
    /// The most of the disk, in hundredths, that is held back for that; it counts on small disks.
    pub reserve_percent: u64,
    /// How long requests that are under way may take once a stop is asked for.
    pub stop_time: Duration,
}

/// When content that nothing refers to goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collect {
    /// Whether the server collects at all.
    pub enabled: bool,
    /// How long a manifest is kept that no tag, index or subject keeps.
    pub untagged: Duration,
    /// How long a blob is kept that no manifest refers to.
    pub unreferenced: Duration,
    /// How long a blob is kept after a client was told that it is here.
    pub protect: Duration,
    /// How often the queue is looked at.
    pub interval: Duration,
    /// How long it is kept what happened to manifests and tags.
    pub events: Duration,
}

impl Config {
    /// The defaults, with everything kept in `data`.
    ///
    /// ```
    /// use rbuild_registry_server::config::Config;
    ///
    /// assert_eq!(Config::new("/var/lib/rbuild-registry").listen.port(), 5000);
    /// ```
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5000)),
            data: data.into(),
            limits: Limits::STANDARD,
            collect: Collect::STANDARD,
            sparse_indexes: false,
            sparse_images: false,
            names: Vec::new(),
            metrics: None,
            access_log: true,
            verify_bytes: 4 << 20,
            tls: None,
        }
    }

    /// The defaults, then the file if there is one, then the environment.
    ///
    /// `variables` are names and values; those that do not begin with `RBUILD_REGISTRY_` are none of ours.
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::new("rbuild-registry-data");
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
                path: path.to_owned(),
                source,
            })?;
            config.read_toml(&text, path)?;
        }
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(key::PREFIX) else {
                continue;
            };
            if key::OTHER_VARIABLES.contains(&rest) {
                continue;
            }
            let key = key::by_variable(rest).ok_or_else(|| ConfigError::UnknownKey {
                nearest: key::nearest(&rest.to_ascii_lowercase()),
                name: name.clone(),
                place: "the environment".to_owned(),
            })?;
            key.set(&mut config, &value, || format!("the variable `{name}`"))?;
        }
        config.check()?;
        Ok(config)
    }

    fn read_toml(&mut self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let table: toml::Table =
            text.parse()
                .map_err(|error: toml::de::Error| ConfigError::Syntax {
                    path: path.to_owned(),
                    reason: error.to_string().trim().replace('\n', " "),
                })?;
        let mut entries = Vec::new();
        flatten("", &table, &mut entries);
        for (name, value) in entries {
            let place = || format!("`{}`", path.display());
            let key = key::by_name(&name).ok_or_else(|| ConfigError::UnknownKey {
                nearest: key::nearest(&name),
                place: place(),
                name: name.clone(),
            })?;
            key.set(self, &value, place)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        let complete =
            |tls: &Tls| tls.certificate.as_os_str().is_empty() == tls.key.as_os_str().is_empty();
        if !self.tls.as_ref().is_none_or(complete) {
            return Err(ConfigError::Contradiction(
                "`tls.certificate` and `tls.key` are given together or not at all",
            ));
        }
        if self.limits.idle_time.is_zero() || self.limits.head_time.is_zero() {
            return Err(ConfigError::Contradiction(
                "`limits.idle_time` and `limits.head_time` must be longer than nothing",
            ));
        }
        Ok(())
    }
}

/// All values of a table with their dotted names, as text.
fn flatten(prefix: &str, table: &toml::Table, entries: &mut Vec<(String, String)>) {
    for (name, value) in table {
        let name = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            toml::Value::Table(inner) => flatten(&name, inner, entries),
            toml::Value::String(text) => entries.push((name, text.clone())),
            toml::Value::Integer(number) => entries.push((name, number.to_string())),
            toml::Value::Boolean(flag) => entries.push((name, flag.to_string())),
            // No setting takes any of these, so its own reader refuses them by name.
            other => entries.push((name, format!("{other:?}"))),
        }
    }
}

impl Limits {
    /// The defaults.
    pub const STANDARD: Self = Self {
        manifest_bytes: 4 << 20,
        blob_bytes: 1 << 40,
        head_bytes: 64 << 10,
        connections: 4096,
        requests_per_second: 0,
        empty_uploads: 100_000,
        head_time: Duration::from_secs(20),
        idle_time: Duration::from_mins(1),
        body_rate: 1 << 10,
        upload_time: Duration::from_hours(24),
        reserve_bytes: 256 << 20,
        reserve_percent: 5,
        stop_time: Duration::from_mins(1),
    };
}

impl Collect {
    /// The defaults.
    pub const STANDARD: Self = Self {
        enabled: true,
        untagged: Duration::from_hours(7 * 24),
        unreferenced: Duration::from_hours(24),
        protect: Duration::from_hours(1),
        interval: Duration::from_secs(10),
        events: Duration::from_hours(30 * 24),
    };
}
