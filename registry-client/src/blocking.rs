//! The bridge from threads to the async client.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::Client;

/// A [`Client`] with a runtime of its own, for callers that block.
///
/// Any number of threads may use it at once.
#[derive(Debug)]
pub struct Blocking {
    client: Client,
    runtime: Option<Runtime>,
}

impl Blocking {
    /// Starts two threads that move bytes for `client`.
    pub fn new(client: Client) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("registry")
            .enable_all()
            .build()?;
        Ok(Self {
            client,
            runtime: Some(runtime),
        })
    }

    /// The client, for making the future that [`Self::run`] runs.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Runs a future of the client to its end. Must not be called from async code.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use rbuild_registry_client::{Anonymous, Blocking, Client, ClientConfig};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let registry = Blocking::new(Client::new(ClientConfig::new(Arc::new(Anonymous))))?;
    /// let answer = registry.run(registry.client().ping("127.0.0.1:1"));
    /// assert!(answer.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        match &self.runtime {
            Some(runtime) => runtime.block_on(future),
            None => unreachable!("the runtime is taken only by drop"),
        }
    }
}

impl Drop for Blocking {
    /// Gives the threads of broken-off transfers a moment to take back what they wrote, and does not wait for ever.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }
}
