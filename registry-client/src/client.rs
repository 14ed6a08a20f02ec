//! The client: one per process.

use std::sync::Arc;
use std::time::Duration;

use rbuild_image::{Reference, Tag};

use crate::{Credentials, HostRules, Result, RetryPolicy};

/// What a client is made of. [`Self::new`] fills in what seldom changes.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Where credentials come from.
    pub credentials: Arc<dyn Credentials>,
    /// How to speak to each registry.
    pub hosts: HostRules,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Transfers of blobs at once, for each registry.
    pub parallel: usize,
    /// When failed requests are tried again.
    pub retry: RetryPolicy,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a registry may be silent, in a transfer or before an answer. There is no limit on a whole transfer.
    pub stall_timeout: Duration,
}

impl ClientConfig {
    /// A configuration with the standard limits: 6 transfers at once, 20 s to connect, 60 s of silence.
    pub fn new(credentials: Arc<dyn Credentials>) -> Self {
        Self {
            credentials,
            hosts: HostRules::default(),
            user_agent: format!("rbuild/{}", env!("CARGO_PKG_VERSION")),
            parallel: 6,
            retry: RetryPolicy::STANDARD,
            connect_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(60),
        }
    }
}

/// Speaks to registries. Clones share connections, tokens and limits.
#[derive(Debug, Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
}

impl Client {
    /// A client. Nothing is opened or read yet.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            config: Arc::new(config),
        }
    }

    /// Asks whether a registry is there and lets us in, with the stored credentials where it wants some.
    pub async fn ping(&self, registry: &str) -> Result<()> {
        unimplemented!("{registry}{:?}", self.config)
    }

    /// The tags of the repository of `reference`, in the registry's order.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<Tag>> {
        unimplemented!("{reference}")
    }
}
