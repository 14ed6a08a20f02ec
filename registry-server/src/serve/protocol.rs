//! How HTTP is spoken on a connection.

use hyper::server::conn::http1::Builder;
use hyper_util::rt::TokioTimer;

use crate::config::Limits;

/// Bytes that are read at once where there is room for it: each read costs an acknowledgement, and turns of both sides.
const ROOMY: usize = 512 << 10;
/// Connections that may read so much. More of them get no more than a head needs, so that their memory stays bounded.
const FEW: usize = 64;

/// HTTP/1.1 for one of `open` connections.
///
/// The length of a head is bounded by what is read at once; on the first few connections that is more than
/// `limits.head_bytes`, and the API refuses what is too long.
pub(super) fn protocol(limits: &Limits, open: usize) -> Builder {
    let head = limits.head_bytes.max(8192);
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(if open <= FEW { head.max(ROOMY) } else { head })
        // A client that has sent its request may close its half; the answer goes through the other one.
        .half_close(true);
    builder
}
