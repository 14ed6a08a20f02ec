//! Sending a part of a blob.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use rbuild_store::BlobReader;
use tokio::sync::mpsc;

/// Bytes of one read.
const CHUNK: usize = 256 << 10;
/// Chunks that wait for the client.
const WAITING: usize = 2;

/// A body with these bytes of a blob.
pub(super) fn body(reader: Box<dyn BlobReader>, range: Range<u64>) -> Body {
    let length = range.end - range.start;
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read(reader, range, &sender) {
            // The client sees the connection break, and asks again for the rest. If it is gone, nobody cares.
            let _ = sender.blocking_send(Err(error));
        }
    });
    Body::new(Chunks {
        receiver,
        left: length,
    })
}

fn read(
    mut reader: Box<dyn BlobReader>,
    range: Range<u64>,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    reader.seek(SeekFrom::Start(range.start))?;
    let mut left = range.end - range.start;
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let mut chunk = vec![0; size];
        reader.read_exact(&mut chunk)?;
        left -= size as u64;
        if sender.blocking_send(Ok(chunk.into())).is_err() {
            break;
        }
    }
    Ok(())
}

struct Chunks {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.receiver.poll_recv(context).map(|chunk| match chunk {
            Some(Ok(bytes)) => {
                self.left = self.left.saturating_sub(bytes.len() as u64);
                Some(Ok(Frame::data(bytes)))
            }
            Some(Err(error)) => Some(Err(error)),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
