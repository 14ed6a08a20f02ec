//! Threads that serve connections, each with an event loop of its own.
//!
//! A connection stays with its thread. Loops that share their work wake each other up for every part of a body,
//! which costs more than what they gain: a request's parts never run at the same time anyway.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// How long calls that block may take after the last connection is over.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// All of them. Dropping it ends them, whatever they are doing.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    stop: watch::Sender<bool>,
}

#[derive(Debug)]
struct Lane {
    runtime: Handle,
    /// Connections that it serves.
    load: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// One connection's share of a lane; given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lanes {
    /// One for each processor.
    pub(super) fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let (stop, stopped) = watch::channel(false);
        let mut lanes = Self {
            lanes: Vec::with_capacity(count),
            stop,
        };
        for number in 0..count {
            let name = format!("registry-{number}");
            let runtime = Builder::new_current_thread()
                .enable_all()
                .thread_name(name.clone())
                .build()?;
            let handle = runtime.handle().clone();
            let mut stopped = stopped.clone();
            let thread = std::thread::Builder::new().name(name).spawn(move || {
                // An error: nobody is left who could say stop.
                let _ = runtime.block_on(stopped.wait_for(|stop| *stop));
                runtime.shutdown_timeout(LAST_CALLS);
            })?;
            lanes.lanes.push(Lane {
                runtime: handle,
                load: Arc::default(),
                thread: Some(thread),
            });
        }
        Ok(lanes)
    }

    /// Serves a connection on the thread that has the fewest.
    pub(super) fn serve(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let load = |lane: &&Lane| lane.load.load(Ordering::Relaxed);
        let Some(lane) = self.lanes.iter().min_by_key(load) else {
            return;
        };
        lane.load.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&lane.load));
        lane.runtime.spawn(async move {
            let _place = place;
            connection.await;
        });
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        // Nobody listens only if all threads have ended.
        let _ = self.stop.send(true);
        for lane in &mut self.lanes {
            if let Some(thread) = lane.thread.take() {
                // A panic has been reported on its own thread.
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn connections_are_spread_and_ended() {
        let lanes = Lanes::start().expect("started");
        let (sender, receiver) = mpsc::channel();
        let count = 3 * lanes.lanes.len();
        for _ in 0..count {
            let sender = sender.clone();
            lanes.serve(async move {
                let name = std::thread::current().name().map(str::to_owned);
                sender.send(name).expect("sent");
                // Until it is ended with its thread.
                std::future::pending::<()>().await;
            });
        }
        let mut names: Vec<_> = receiver.iter().take(count).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), lanes.lanes.len());
        drop(lanes);
        drop(sender);
        assert!(receiver.recv().is_err(), "all connections are gone");
    }

    #[test]
    fn who_has_fewer_gets_the_next() {
        let lanes = Lanes::start().expect("started");
        for _ in 0..5 {
            let (sender, receiver) = mpsc::channel();
            lanes.serve(async move { sender.send(()).expect("sent") });
            receiver.recv().expect("served");
        }
        // What is over counts no longer, a moment later at most.
        while lanes
            .lanes
            .iter()
            .any(|lane| lane.load.load(Ordering::Relaxed) > 0)
        {
            std::thread::yield_now();
        }
    }
}
