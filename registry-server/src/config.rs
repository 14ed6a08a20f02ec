//! Settings, with a default for each: a registry needs no configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

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
    /// Uploads that are started and have received nothing.
    pub empty_uploads: usize,
    /// How long a client may take to send a request's head.
    pub head_time: Duration,
    /// How long a client may send or take nothing in the middle of a body.
    pub idle_time: Duration,
    /// How long an upload is kept that nothing comes for.
    pub upload_time: Duration,
    /// Bytes of disk that new uploads must leave free, so that reads, deletes and the database go on.
    pub reserve_bytes: u64,
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
        empty_uploads: 100_000,
        head_time: Duration::from_secs(20),
        idle_time: Duration::from_mins(1),
        upload_time: Duration::from_hours(24),
        reserve_bytes: 256 << 20,
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
    };
}
