//! Sending a part of a blob that the kernel cannot send by itself: encrypted, or not from a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use super::stamp::Stamp;

/// Bytes of one read.
const CHUNK: usize = 256 << 10;

/// A body with these bytes of a blob, whose file was just opened and found whole.
pub(super) fn body(mut file: File, range: Range<u64>) -> io::Result<Body> {
    file.seek(SeekFrom::Start(range.start))?;
    let stamp = Stamp::of(&file.metadata()?);
    Ok(Body::new(Chunks {
        state: State::Idle(Source { file, stamp }),
        left: range.end - range.start,
    }))
}

/// Reads the next chunk when there is room for it: a slow client holds neither a thread nor more than one chunk.
struct Chunks {
    state: State,
    left: u64,
}

struct Source {
    file: File,
    stamp: Stamp,
}

enum State {
    Idle(Source),
    Reading(JoinHandle<io::Result<(Source, Bytes)>>),
    Ended,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut reading = match std::mem::replace(&mut self.state, State::Ended) {
            State::Idle(source) => {
                let size = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
                tokio::task::spawn_blocking(move || read(source, size))
            }
            State::Reading(reading) => reading,
            State::Ended => return Poll::Ready(None),
        };
        let Poll::Ready(outcome) = Pin::new(&mut reading).poll(context) else {
            self.state = State::Reading(reading);
            return Poll::Pending;
        };
        // After an error the client sees the connection break, and asks again for the rest.
        let (source, chunk) = outcome.map_err(io::Error::other).flatten()?;
        self.left -= chunk.len() as u64;
        self.state = State::Idle(source);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn read(mut source: Source, size: usize) -> io::Result<(Source, Bytes)> {
    let mut chunk = vec![0; size];
    source.file.read_exact(&mut chunk)?;
    if Stamp::of(&source.file.metadata()?) != source.stamp {
        return Err(io::Error::other(
            "the blob's file was written to while it was sent",
        ));
    }
    Ok((source, chunk.into()))
}
