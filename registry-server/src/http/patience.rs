//! How long a client may do nothing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Measures how long nothing has happened.
///
/// A body comes in thousands of parts. One timer is set for all of them, and looks when it fires whether something has happened since:
/// setting one for each part wakes the whole event loop each time.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Since when nothing has happened, if so.
    idle_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Nothing has been waited for yet.
    pub(super) const fn new() -> Self {
        Self {
            idle_since: None,
            timer: None,
        }
    }

    /// Something has happened; tells after how long, as far as anybody waited.
    pub(super) fn renew(&mut self) -> Duration {
        let since = self.idle_since.take();
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Nothing happens: ready once that has been so for as long as `limit`.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        let end = since + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if timer.deadline() > end {
            timer.as_mut().reset(end);
        }
        loop {
            ready!(timer.as_mut().poll(context));
            if timer.deadline() >= end {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(test);
    }

    #[test]
    fn it_ends_when_nothing_has_happened_for_that_long() {
        run(async {
            let limit = Duration::from_millis(40);
            let mut patience = Patience::new();
            let begin = Instant::now();
            poll_fn(|context| patience.poll(context, limit)).await;
            assert!(begin.elapsed() >= limit);
        });
    }

    #[test]
    fn a_shorter_limit_counts_at_once() {
        run(async {
            let mut patience = Patience::new();
            let hour = Duration::from_hours(1);
            let pending = poll_fn(|context| Poll::Ready(patience.poll(context, hour).is_pending()));
            assert!(pending.await);
            let limit = Duration::from_millis(20);
            poll_fn(|context| patience.poll(context, limit)).await;
            assert!(patience.renew() >= limit);
            assert_eq!(patience.renew(), Duration::ZERO);
        });
    }

    #[test]
    fn whatever_happens_renews_it() {
        run(async {
            let limit = Duration::from_millis(40);
            let mut patience = Patience::new();
            let begin = Instant::now();
            // The timer is set, and then something happens later.
            let pending =
                poll_fn(|context| Poll::Ready(patience.poll(context, limit).is_pending()));
            assert!(pending.await);
            tokio::time::sleep(limit / 2).await;
            patience.renew();
            let renewed = Instant::now();
            assert!(renewed > begin);
            poll_fn(|context| patience.poll(context, limit)).await;
            assert!(renewed.elapsed() >= limit);
        });
    }
}
