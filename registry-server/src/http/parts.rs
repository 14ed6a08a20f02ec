//! Several ranges of a blob in one answer: `multipart/byteranges` (RFC 9110, 14.6).

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::{Either, ready};
use futures_util::{StreamExt, TryStreamExt};
use http_body::{Frame, SizeHint};
use rbuild_image::Digest;

use super::error::ApiError;

/// A body of parts, and what its headers have to say.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) body: Body,
    /// Length of the body in bytes.
    pub(super) length: u64,
    pub(super) content_type: String,
}

/// What stands between parts.
///
/// A blob cannot hold its own digest, so that no line of a part looks like it; 70 characters are allowed.
fn boundary(digest: Digest) -> String {
    digest.hex().chars().take(64).collect()
}

/// The parts of a blob of `size` bytes; `content` gives the bytes of a range.
///
/// The first part is taken at once, so that a blob that cannot be read is an error and no broken answer.
pub(super) async fn parts<F>(
    digest: Digest,
    size: u64,
    ranges: Vec<Range<u64>>,
    content: impl Fn(Range<u64>) -> F + Send + 'static,
) -> Result<Parts, ApiError>
where
    F: Future<Output = Result<Body, ApiError>> + Send + 'static,
{
    let boundary = boundary(digest);
    let mut length = 0;
    let mut heads = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        let line_end = if index == 0 { "" } else { "\r\n" };
        let head = format!(
            "{line_end}--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {}-{}/{size}\r\n\r\n",
            range.start,
            range.end - 1
        );
        length += head.len() as u64 + (range.end - range.start);
        heads.push(head);
    }
    let end = format!("\r\n--{boundary}--\r\n");
    length += end.len() as u64;
    let mut first = match ranges.first() {
        Some(range) => Some(content(range.clone()).await?),
        None => None,
    };
    let pieces = futures_util::stream::iter(heads.into_iter().zip(ranges));
    let parts = pieces.then(move |(head, range)| {
        let body = match first.take() {
            Some(body) => Either::Left(ready(Ok(body))),
            None => Either::Right(content(range)),
        };
        async move {
            // After an error the client sees the connection break, and asks again.
            let body = body.await.map_err(|error| io::Error::other(error.code()))?;
            let head = futures_util::stream::iter([Ok(Bytes::from(head))]);
            let bytes = body.into_data_stream().map_err(io::Error::other);
            Ok::<_, io::Error>(head.chain(bytes))
        }
    });
    let end = futures_util::stream::iter([Ok(Bytes::from(end))]);
    let stream = parts.try_flatten().chain(end);
    Ok(Parts {
        body: Body::new(Sized {
            inner: Body::from_stream(stream),
            left: length,
        }),
        length,
        content_type: format!("multipart/byteranges; boundary={boundary}"),
    })
}

/// A body whose length is known.
struct Sized {
    inner: Body,
    left: u64,
}

impl http_body::Body for Sized {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let length = frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
            self.left = self.left.saturating_sub(length);
        }
        polled
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
