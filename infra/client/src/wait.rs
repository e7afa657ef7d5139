//! Waiting on the injected clock.

use std::time::Duration;
use strandline_runtime::Runtime;

/// The future's result, or `None` when the time is over first.
pub(crate) async fn within<F: IntoFuture>(runtime: &Runtime, duration: Duration, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future.into_future() => Some(output),
        () = runtime.sleep(duration) => None,
    }
}

/// Waits between tries: doubles, half of it random, so that many clients do not come back at once.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
    first: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest, first }
    }

    /// The next wait.
    pub(crate) fn next(&mut self, runtime: &Runtime) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        let half = wait / 2;
        half + Duration::from_micros(runtime.random.below(half.as_micros() as u64 + 1))
    }

    /// As after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}
