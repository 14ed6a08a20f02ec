//! The content of a blob as the body of a request.

use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{mpsc, watch};

use crate::push::BlobSource;
use crate::transport::lock;

const READ_BYTES: usize = 256 << 10;
const PIECES_IN_FLIGHT: usize = 4;

/// A part of a blob as the body of a request, read by a thread that may block.
pub(crate) struct Content {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
    sent: u64,
    report: watch::Sender<u64>,
}

impl Content {
    pub(crate) fn start(
        source: BlobSource,
        offset: u64,
        length: u64,
        failure: &Arc<Mutex<Option<io::Error>>>,
    ) -> (Self, watch::Receiver<u64>) {
        let (sender, pieces) = mpsc::channel(PIECES_IN_FLIGHT);
        let failure = Arc::clone(failure);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = read_pieces(&source, offset, length, &sender) {
                let echo = io::Error::from(error.kind());
                lock(&failure).replace(error);
                // Fails only when nobody wants the body any more.
                drop(sender.blocking_send(Err(echo)));
            }
        });
        let (report, sent) = watch::channel(0);
        let body = Self {
            pieces,
            left: length,
            sent: 0,
            report,
        };
        (body, sent)
    }
}

fn read_pieces(
    source: &BlobSource,
    offset: u64,
    length: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let mut content = source.open()?;
    content.seek(SeekFrom::Start(offset))?;
    let mut left = length;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(READ_BYTES);
        let mut piece = vec![0; room];
        let mut filled = 0;
        while filled < room {
            match content.read(&mut piece[filled..]) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        format!("the content ends {} bytes early", left - filled as u64),
                    ));
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        left -= room as u64;
        if sender.blocking_send(Ok(piece.into())).is_err() {
            break;
        }
    }
    Ok(())
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(piece) = std::task::ready!(self.pieces.poll_recv(context)) else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(piece.map(|bytes| {
            self.left = self.left.saturating_sub(bytes.len() as u64);
            self.sent += bytes.len() as u64;
            self.report.send_replace(self.sent);
            Frame::data(bytes)
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
