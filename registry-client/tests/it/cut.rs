//! A wire that breaks: hands connections on to an address and cuts each after so many bytes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// After how many bytes a connection is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) up: usize,
    pub(crate) down: usize,
}

impl Limit {
    pub(crate) const fn up(up: usize) -> Self {
        let down = usize::MAX;
        Self { up, down }
    }

    pub(crate) const fn down(down: usize) -> Self {
        let up = usize::MAX;
        Self { up, down }
    }
}

pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    /// The first connections get these limits, one each; all later ones hold.
    pub(crate) async fn to(target: SocketAddr, limits: &[Limit]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::with(listener, target, limits)
    }

    pub(crate) fn with(listener: TcpListener, target: SocketAddr, limits: &[Limit]) -> Self {
        let address = listener.local_addr().unwrap();
        let limits = Arc::new(Mutex::new(limits.iter().copied().collect::<VecDeque<_>>()));
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let limit = limits.lock().unwrap().pop_front();
                let limit = limit.unwrap_or(Limit::up(usize::MAX));
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(target).await else {
                        return;
                    };
                    let (near_in, near_out) = near.into_split();
                    let (far_in, far_out) = far.into_split();
                    // Whichever direction ends first takes the other with it.
                    tokio::select! {
                        () = carry(near_in, far_out, limit.up) => {}
                        () = carry(far_in, near_out, limit.down) => {}
                    }
                });
            }
        });
        Self { address, task }
    }
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut left: usize,
) {
    let mut buffer = vec![0; 16 << 10];
    while left > 0 {
        let room = buffer.len().min(left);
        let Ok(count @ 1..) = from.read(&mut buffer[..room]).await else {
            return;
        };
        left -= count;
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
