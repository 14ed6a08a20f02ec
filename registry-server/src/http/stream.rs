//! A connection that sends mapped files by `sendfile` and everything else as it is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::cold;
use super::mapping::Mapping;
use super::patience::Patience;

/// Bytes that one `sendfile` may move before other connections get their turn.
const TURN: usize = 1 << 20;
/// Slices shorter than this are written as they are: a look-up costs more than copying them.
const SHORT: usize = 4 << 10;

/// A TCP connection whose client must keep taking what is sent.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    /// How long the client may take nothing.
    limit: Duration,
    patience: Patience,
    /// Running while what is to be sent next is read from the disk.
    reading: Option<JoinHandle<()>>,
}

impl Stream {
    /// Wraps a connection; writing fails once the client has taken nothing for as long as `patience`.
    pub const fn new(socket: TcpStream, patience: Duration) -> Self {
        Self {
            socket,
            limit: patience,
            patience: Patience::new(),
            reading: None,
        }
    }

    /// Ends the patience with a client that takes nothing.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.patience.renew();
            return progress;
        }
        ready!(self.patience.poll(context, self.limit));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_io<T>(
        &self,
        context: &mut Context<'_>,
        mut work: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            ready!(self.socket.poll_write_ready(context))?;
            match self
                .socket
                .try_io(Interest::WRITABLE, || work(&self.socket))
            {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// Waits until what is to be sent is in memory: `sendfile` would hold this thread, and all others that it serves, for as long as the disk takes.
    fn poll_warm(
        &mut self,
        context: &mut Context<'_>,
        mapping: &Arc<Mapping>,
        offset: u64,
        length: usize,
    ) -> Poll<()> {
        if self.reading.is_none() && !cold::is_cold(mapping.file(), offset, length.min(TURN)) {
            return Poll::Ready(());
        }
        let reading = self.reading.get_or_insert_with(|| {
            let mapping = Arc::clone(mapping);
            tokio::task::spawn_blocking(move || {
                let now = length.min(TURN);
                cold::read(mapping.file(), offset, now);
                // What comes after it is read while this is sent.
                tokio::task::spawn_blocking(move || {
                    cold::read(mapping.file(), offset + now as u64, length - now);
                });
            })
        });
        // Read or not: `sendfile` finds out, and tells what is wrong with the disk.
        let _ = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        Poll::Ready(())
    }

    fn poll_send_file(
        &mut self,
        context: &mut Context<'_>,
        mapping: &Arc<Mapping>,
        offset: u64,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        if self.reading.is_none() {
            ready!(self.socket.poll_write_ready(context))?;
        }
        ready!(self.poll_warm(context, mapping, offset, length));
        // Looked at for each turn: a client learns from the broken answer that what it has is not the blob.
        if !mapping.is_unchanged() {
            return Poll::Ready(Err(io::Error::other(
                "the blob's file was written to while it was sent",
            )));
        }
        self.poll_io(context, |socket| {
            let mut at = offset;
            match rustix::fs::sendfile(socket, mapping.file(), Some(&mut at), length.min(TURN))? {
                0 => Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the blob's file is shorter than it was when it was opened",
                )),
                count => Ok(count),
            }
        })
    }
}

fn mapped(slice: &[u8]) -> Option<(Arc<Mapping>, u64)> {
    if slice.len() < SHORT {
        return None;
    }
    Mapping::of(slice)
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slice: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = match mapped(slice) {
            Some((mapping, offset)) => self.poll_send_file(context, &mapping, offset, slice.len()),
            None => Pin::new(&mut self.socket).poll_write(context, slice),
        };
        self.watch(context, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(first) = slices.iter().position(|slice| !slice.is_empty()) else {
            return Poll::Ready(Ok(0));
        };
        let slices = &slices[first..];
        let file = slices
            .iter()
            .enumerate()
            .find_map(|(index, slice)| mapped(slice).map(|found| (index, found)));
        let progress = match file {
            None => Pin::new(&mut self.socket).poll_write_vectored(context, slices),
            Some((0, (mapping, offset))) => {
                self.poll_send_file(context, &mapping, offset, slices[0].len())
            }
            // The head of an answer: held back until the file's first bytes go with it.
            Some(_) => self.poll_io(context, |socket| {
                Ok(rustix::net::send(
                    socket,
                    &slices[0],
                    SendFlags::MORE | SendFlags::NOSIGNAL,
                )?)
            }),
        };
        self.watch(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}
