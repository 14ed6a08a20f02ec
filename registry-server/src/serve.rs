//! The life of a registry: open, listen, serve, stop.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ::http::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rbuild_store::{BlobStore, Durability, FsBlobStore};
use rustix::fs::FlockOperation;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::admin;
use crate::clock::SystemClock;
use crate::config::{Config, Limits};
use crate::http;
use crate::metadata::{MetadataError, SqliteMetadata};
use crate::service::{Parts, Registry, Sparse};
use crate::tls::Certificate;
use files::connections;
use lanes::Lanes;
use protocol::protocol;

mod files;
mod lanes;
mod protocol;
mod signal;

pub use files::raise_file_limit;
pub use signal::StopSignal;

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
    /// There are blobs, but the file with the records of them is gone.
    #[error(
        "`{0}` has blobs, but no records of them in `{file}`, and would lose them as garbage; put that file back from a backup, or move `blobs` away to begin anew",
        file = admin::DATABASE
    )]
    NoRecords(PathBuf),
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
    /// The certificate cannot be used.
    #[error("could not use the certificate")]
    Tls(#[source] io::Error),
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
    let database = path.join(admin::DATABASE);
    let recorded = std::fs::metadata(&database).is_ok_and(|file| file.len() > 0);
    if !recorded && has_blobs(&blobs).map_err(in_data)? {
        return Err(StartError::NoRecords(path.clone()));
    }
    let in_metadata = |source| StartError::Metadata {
        path: path.clone(),
        source,
    };
    let metadata = SqliteMetadata::open(database).map_err(in_metadata)?;
    let registry = Registry::new(Parts {
        blobs,
        metadata: Arc::new(metadata),
        clock: Arc::new(SystemClock),
        limits: config.limits,
        collect: config.collect,
        sparse: Sparse {
            indexes: config.sparse_indexes,
            images: config.sparse_images,
        },
        names: config.names.clone(),
    })
    .map_err(in_metadata)?;
    Ok(Opened {
        registry,
        _lock: lock,
    })
}

fn has_blobs(blobs: &FsBlobStore) -> io::Result<bool> {
    let mut found = false;
    blobs.walk(&mut |_| {
        found = true;
        ControlFlow::Break(())
    })?;
    Ok(found)
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
    metrics_address: Option<SocketAddr>,
    registry: Registry,
    open: Arc<Semaphore>,
    connections: usize,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves its metrics, if it does.
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        // One slot is always taken in advance, for the next connection.
        let taken = self.connections - self.open.available_permits();
        taken.saturating_sub(1)
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
    start_with(config, None)
}

/// The same, with a place for the access log.
pub fn start_with(
    config: &Config,
    access: Option<Box<dyn Write + Send>>,
) -> Result<Running, StartError> {
    let opened = open(config)?;
    let certificate = config.tls.as_ref().map(Certificate::load).transpose();
    let certificate = certificate.map_err(StartError::Tls)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Connections have threads of their own.
        .worker_threads(1)
        .enable_all()
        .thread_name("registry")
        .build()
        .map_err(StartError::Threads)?;
    let lanes = Lanes::start().map_err(StartError::Threads)?;
    let (listener, address) = listen(&runtime, config.listen)?;
    let metrics = match config.metrics {
        Some(address) => Some(listen(&runtime, address)?),
        None => None,
    };
    let registry = opened.registry.clone();
    let mut limits = config.limits;
    limits.connections = connections(&limits);
    let (stop, stopped) = watch::channel(false);
    let server = Server {
        api: http::Api::new(registry.clone(), access).map_err(StartError::Threads)?,
        limits,
        certificate: certificate.map(Arc::new),
        slots: Arc::new(Semaphore::new(limits.connections)),
        stopped,
        lanes,
    };
    let open = Arc::clone(&server.slots);
    let metrics_address = metrics.as_ref().map(|(_, address)| *address);
    let verify_bytes = config.verify_bytes;
    let thread = std::thread::Builder::new()
        .name("registry".to_owned())
        .spawn(move || {
            // All of it, not only the parts that are named below: its lock is held while the server runs.
            let opened = opened;
            let verifier = verifier(
                &opened.registry,
                runtime.handle().clone(),
                verify_bytes,
                server.stopped.clone(),
            );
            let metrics = metrics.map(|(listener, _)| listener);
            runtime.block_on(server.run(&opened.registry, listener, metrics));
            // Its connections end before the lock is given back.
            drop(server);
            if let Some(verifier) = verifier {
                // It looks at the same signal; a panic of its own has been reported.
                let _ = verifier.join();
            }
            runtime.shutdown_timeout(Duration::from_secs(1));
        })
        .map_err(StartError::Threads)?;
    Ok(Running {
        address,
        metrics_address,
        registry,
        open,
        connections: limits.connections,
        stop,
        thread: Some(thread),
    })
}

fn listen(
    runtime: &tokio::runtime::Runtime,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Reads everything again and again on a thread of its own, slowly.
fn verifier(
    registry: &Registry,
    runtime: tokio::runtime::Handle,
    bytes_per_second: u64,
    stopped: watch::Receiver<bool>,
) -> Option<JoinHandle<()>> {
    if bytes_per_second == 0 {
        return None;
    }
    let registry = registry.clone();
    // Waits for the time or for the stop, whichever comes first.
    let pause = move |time: Duration| {
        let mut stopped = stopped.clone();
        runtime.block_on(async {
            let stop = stopped.wait_for(|stop| *stop);
            tokio::time::timeout(time, stop).await.is_ok()
        })
    };
    std::thread::Builder::new()
        .name("verify".to_owned())
        .spawn(move || {
            admin::verify_forever(
                registry.blobs(),
                registry.metadata(),
                bytes_per_second,
                pause,
            );
        })
        .inspect_err(|error| tracing::error!(%error, "stored content is not verified"))
        .ok()
}

/// What serving needs.
struct Server {
    api: http::Api,
    limits: Limits,
    certificate: Option<Arc<Certificate>>,
    /// One for each connection that may be open.
    slots: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
    lanes: Lanes,
}

impl Server {
    /// Serves until it is told to stop.
    async fn run(&self, registry: &Registry, listener: TcpListener, metrics: Option<TcpListener>) {
        let collector = tokio::spawn(collect(
            registry.clone(),
            self.api.clone(),
            self.stopped.clone(),
        ));
        let housekeeping = tokio::spawn(keep_house(self.api.clone(), self.certificate.clone()));
        let metrics =
            metrics.map(|listener| tokio::spawn(serve_metrics(listener, self.api.clone())));
        let connections = GracefulShutdown::new();
        self.accept_all(&listener, &connections).await;
        drop(listener);
        if tokio::time::timeout(self.limits.stop_time, connections.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("requests were still under way when the time to stop was over");
        }
        housekeeping.abort();
        if let Some(metrics) = metrics {
            metrics.abort();
        }
        // It looks at the same signal.
        let _ = collector.await;
    }

    async fn accept_all(&self, listener: &TcpListener, connections: &GracefulShutdown) {
        let plain = TowerToHyperService::new(self.api.stream_router());
        let encrypted = TowerToHyperService::new(self.api.router());
        loop {
            let mut stop = self.stopped.clone();
            let accepted = tokio::select! {
                accepted = accept(listener, &self.slots) => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let (stream, peer, slot) = match accepted {
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
            // The thread that serves it also waits for it.
            let stream = match stream.into_std() {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be handed over");
                    continue;
                }
            };
            let idle_time = self.limits.idle_time;
            let stream = move || {
                let stream = TcpStream::from_std(stream)?;
                io::Result::Ok(http::stream::Stream::new(stream, idle_time))
            };
            let open = self.limits.connections - self.slots.available_permits();
            let protocol = protocol(&self.limits, open);
            let watcher = connections.watcher();
            let Some(certificate) = &self.certificate else {
                let service = with_peer(plain.clone(), peer);
                self.lanes.serve(async move {
                    match stream() {
                        Ok(stream) => {
                            let io = TokioIo::new(stream);
                            ended(watcher.watch(protocol.serve_connection(io, service)).await);
                        }
                        Err(error) => tracing::warn!(%error, "a connection could not be watched"),
                    }
                    drop(slot);
                });
                continue;
            };
            let service = with_peer(encrypted.clone(), peer);
            let acceptor = certificate.acceptor();
            let head_time = self.limits.head_time;
            self.lanes.serve(async move {
                let stream = match stream() {
                    Ok(stream) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be watched");
                        return;
                    }
                };
                match tokio::time::timeout(head_time, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let io = TokioIo::new(stream);
                        ended(watcher.watch(protocol.serve_connection(io, service)).await);
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!("a TLS handshake took too long"),
                }
                drop(slot);
            });
        }
    }
}

fn ended(outcome: Result<(), hyper::Error>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Tells the service where its requests come from.
fn with_peer(
    service: TowerToHyperService<http::Router>,
    peer: SocketAddr,
) -> impl Service<
    Request<Incoming>,
    Response = http::Response,
    Error = Infallible,
    Future = impl Future<Output = Result<http::Response, Infallible>> + Send,
> {
    hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(http::Peer(peer));
        service.call(request)
    })
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot))
}

/// Serves the metrics, to few at a time.
async fn serve_metrics(listener: TcpListener, api: http::Api) {
    let slots = Arc::new(Semaphore::new(16));
    let service = TowerToHyperService::new(api.metrics_router());
    loop {
        match accept(&listener, &slots).await {
            Ok((stream, _, slot)) => {
                let connection = protocol(&Limits::STANDARD, usize::MAX)
                    .serve_connection(TokioIo::new(stream), service.clone());
                tokio::spawn(async move {
                    ended(connection.await);
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics could not be taken");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Every few seconds: closes files that nobody asks for, takes up a new certificate.
async fn keep_house(api: http::Api, certificate: Option<Arc<Certificate>>) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        api.expire();
        match certificate.as_ref().map(|certificate| certificate.reload()) {
            Some(Ok(true)) => tracing::info!("a new certificate is in use"),
            Some(Err(error)) => {
                tracing::error!(%error, "the new certificate cannot be used; the old one stays");
            }
            Some(Ok(false)) | None => {}
        }
    }
}

/// How many times as long as it has worked the collection leaves the disk to others.
const PAUSE: u32 = 4;
/// The longest of these pauses: a disk that was slow once is not slow for ever.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Collects now and then, until the server stops.
async fn collect(registry: Registry, api: http::Api, mut stopped: watch::Receiver<bool>) {
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
        let (registry, stop) = (registry.clone(), stopped.clone());
        // Going through all files is for once a day or so, through leftovers once an hour; the queue is for every round.
        let thorough = rounds.is_multiple_of(8640);
        let leftovers = rounds.is_multiple_of(360);
        rounds += 1;
        let round = tokio::task::spawn_blocking(move || {
            if thorough {
                registry.sweep()?;
            } else if leftovers {
                registry.sweep_ingests()?;
            }
            // Nobody waits for it, and clients wait for the same disk: it takes a small part of the time.
            registry.collect_beside(&mut |took| {
                std::thread::sleep((took * PAUSE).min(LONGEST_PAUSE));
                !*stop.borrow()
            })
        });
        match round.await {
            Ok(Ok(collected)) if collected != crate::service::Collected::default() => {
                api.count_collected(&collected);
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
                tracing::error!(%error, "the collection failed by a fault of the registry");
            }
        }
    }
}
