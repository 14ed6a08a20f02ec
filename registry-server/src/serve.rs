//! The life of a registry: open, listen, serve, stop.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rbuild_store::{Durability, FsBlobStore};
use rustix::fs::FlockOperation;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::clock::SystemClock;
use crate::config::{Config, Limits};
use crate::http;
use crate::metadata::{MetadataError, SqliteMetadata};
use crate::service::{Parts, Registry};

/// Why a registry does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process has the directory.
    #[error("another process serves from `{0}`")]
    Locked(PathBuf),
    /// The directory cannot be used.
    #[error("could not use the data directory `{path}`")]
    Data {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The records cannot be read.
    #[error("could not open the metadata in `{path}`")]
    Metadata {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: MetadataError,
    },
    /// The address cannot be used.
    #[error("could not listen on `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system gives no threads.
    #[error("could not start threads")]
    Threads(#[source] io::Error),
}

/// A registry on a directory that no other process serves from.
#[derive(Debug)]
pub struct Opened {
    /// The registry.
    pub registry: Registry,
    /// Locked for as long as it is open.
    _lock: std::fs::File,
}

/// Opens (or makes) a registry's directory.
pub fn open(config: &Config) -> Result<Opened, StartError> {
    let path = &config.data;
    let in_data = |source| StartError::Data {
        path: path.clone(),
        source,
    };
    std::fs::create_dir_all(path).map_err(in_data)?;
    let lock = lock(path)?;
    let blobs = FsBlobStore::open(path, Durability::Durable).map_err(in_data)?;
    let metadata =
        SqliteMetadata::open(path.join("meta.db")).map_err(|source| StartError::Metadata {
            path: path.clone(),
            source,
        })?;
    let registry = Registry::new(Parts {
        blobs,
        metadata: Arc::new(metadata),
        clock: Arc::new(SystemClock),
        limits: config.limits,
        collect: config.collect,
        sparse_indexes: config.sparse_indexes,
    });
    Ok(Opened {
        registry,
        _lock: lock,
    })
}

fn lock(data: &Path) -> Result<std::fs::File, StartError> {
    let path = data.join("lock");
    let in_data = |source: io::Error| StartError::Data {
        path: data.to_owned(),
        source,
    };
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(in_data)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::Locked(data.to_owned())),
        Err(error) => Err(in_data(error.into())),
    }
}

/// A registry that serves on a thread of its own. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    registry: Registry,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The registry behind it.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Takes no more requests, finishes those under way (for as long as the limits allow), and returns.
    pub fn shutdown(mut self) {
        self.stop_and_wait();
    }

    fn stop_and_wait(&mut self) {
        // Nobody listens only if the server has ended already.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            // A panic of the server has been reported on its own thread.
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop_and_wait();
    }
}

/// Starts a registry in this process, for callers without an event loop.
///
/// ```
/// use rbuild_registry_server::{config::Config, serve};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let mut config = Config::new(directory.path());
/// config.listen = "127.0.0.1:0".parse()?;
/// let running = serve::start(&config)?;
/// assert_ne!(running.address().port(), 0);
/// running.shutdown();
/// # Ok(())
/// # }
/// ```
pub fn start(config: &Config) -> Result<Running, StartError> {
    let opened = open(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("registry")
        .build()
        .map_err(StartError::Threads)?;
    let listener = runtime
        .block_on(TcpListener::bind(config.listen))
        .map_err(|source| StartError::Listen {
            address: config.listen,
            source,
        })?;
    let address = listener.local_addr().map_err(|source| StartError::Listen {
        address: config.listen,
        source,
    })?;
    let (stop, stopped) = watch::channel(false);
    let registry = opened.registry.clone();
    let thread = std::thread::Builder::new()
        .name("registry".to_owned())
        .spawn(move || {
            runtime.block_on(run(opened, listener, stopped));
            runtime.shutdown_timeout(Duration::from_secs(1));
        })
        .map_err(StartError::Threads)?;
    Ok(Running {
        address,
        registry,
        stop,
        thread: Some(thread),
    })
}

/// Serves until `stopped` turns true.
async fn run(opened: Opened, listener: TcpListener, stopped: watch::Receiver<bool>) {
    let registry = &opened.registry;
    let limits = *registry.limits();
    let collector = tokio::spawn(collect(registry.clone(), stopped.clone()));
    let api = http::Api::new(registry.clone());
    let router = api.stream_router();
    let housekeeping = tokio::spawn(expire(api));
    let connections = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    loop {
        let mut stop = stopped.clone();
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                // Out of file descriptors, most likely: give others time to end.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Answers are written whole, so waiting for more of them only makes clients wait.
        let _ = stream.set_nodelay(true);
        let connection = protocol(&limits).serve_connection(
            TokioIo::new(http::stream::Stream::new(stream)),
            TowerToHyperService::new(router.clone()),
        );
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.stop_time, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests were still under way when the time to stop was over");
    }
    housekeeping.abort();
    // It looks at the same signal.
    let _ = collector.await;
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

fn protocol(limits: &Limits) -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes.max(8192))
        .half_close(false);
    builder
}

/// Closes files that nobody asks for any more, every few seconds.
async fn expire(api: http::Api) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        api.expire();
    }
}

/// Collects now and then, until the server stops.
async fn collect(registry: Registry, mut stopped: watch::Receiver<bool>) {
    let settings = registry.collect_settings();
    if !settings.enabled {
        return;
    }
    let mut rounds = 0_u64;
    loop {
        tokio::select! {
            () = tokio::time::sleep(settings.interval) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let registry = registry.clone();
        // Going through all files is for once a day or so; the queue is for every round.
        let thorough = rounds.is_multiple_of(8640);
        rounds += 1;
        let round = tokio::task::spawn_blocking(move || {
            if thorough {
                registry.sweep()?;
            }
            registry.collect()
        });
        match round.await {
            Ok(Ok(collected)) if collected != crate::service::Collected::default() => {
                tracing::info!(
                    manifests = collected.manifests,
                    blobs = collected.blobs,
                    size_bytes = collected.bytes,
                    uploads = collected.uploads,
                    "collected what nothing refers to"
                );
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(error = ?error, "could not collect"),
            Err(error) => {
                tracing::error!(%error, "the collection failed by a fault of the registry")
            }
        }
    }
}

/// Waits for SIGTERM or SIGINT.
pub fn wait_for_signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}
