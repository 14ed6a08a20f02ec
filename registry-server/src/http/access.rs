//! The access log: one line for each request, written by a thread of its own.

use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use http::{HeaderValue, Method, Uri};

/// Lines that wait for the writer; what comes beyond is dropped rather than making clients wait.
const WAITING: usize = 8192;

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The log. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct AccessLog(Arc<SyncSender<String>>);

/// What a line tells about a request.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) id: &'a str,
    pub(super) peer: Option<Peer>,
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) agent: Option<&'a HeaderValue>,
    pub(super) status: u16,
    pub(super) sent: u64,
    pub(super) took: Duration,
}

impl AccessLog {
    /// Starts the writer. It ends with the last clone of the log.
    pub(super) fn new(output: Box<dyn Write + Send>) -> std::io::Result<Self> {
        let (sender, lines) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_lines(&lines, BufWriter::new(output)))?;
        Ok(Self(Arc::new(sender)))
    }

    pub(super) fn write(&self, line: &Line<'_>) {
        let time = humantime::format_rfc3339_millis(
            crate::clock::Clock::now(&crate::clock::SystemClock).system(),
        );
        let agent = line
            .agent
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or("");
        let agent: String = agent.chars().take(200).collect();
        let uri = line.uri.path_and_query().map_or("", |uri| uri.as_str());
        let uri: String = uri.chars().take(1000).collect();
        let peer = line
            .peer
            .map_or_else(String::new, |peer| peer.0.to_string());
        let text = format!(
            "{time} access id={} peer={peer} method={} uri={uri:?} status={} sent_bytes={} took_ms={:.1} agent={agent:?}\n",
            line.id,
            line.method,
            line.status,
            line.sent,
            line.took.as_secs_f64() * 1000.0,
        );
        // Full, or the writer has failed: serving goes on.
        let _ = self.0.try_send(text);
    }
}

/// Writes lines, and flushes whenever none waits.
fn write_lines(lines: &Receiver<String>, mut output: impl Write) {
    while let Ok(first) = lines.recv() {
        let mut next = Ok(first);
        while let Ok(line) = next {
            if output.write_all(line.as_bytes()).is_err() {
                return;
            }
            next = lines.try_recv();
        }
        if output.flush().is_err() || next == Err(TryRecvError::Disconnected) {
            return;
        }
    }
}
