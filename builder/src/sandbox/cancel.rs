//! Ending a step from another thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Says "stop" to every step that was started with it; clones are the same token.
#[derive(Clone, Debug)]
pub struct CancelToken {
    event: Arc<OwnedFd>,
}

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> std::io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            event: Arc::new(event),
        })
    }

    /// Ends all steps that run with this token, and all that will be started with it.
    ///
    /// Does nothing but one `write`, so a signal handler may call it.
    pub fn cancel(&self) {
        // The counter can only be full after 2^64 - 2 calls; it is readable then as well.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&self.event, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&now)), Ok(1..))
    }

    /// Becomes readable with the cancellation, and stays so.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
