//! Room that connections share, and what happens to those that hold it and do nothing with it.
//!
//! A client that announces a large request and sends it byte by byte, or asks for a large answer and does not take it, keeps
//! the room (I11) from all others. So a request has to come at a least rate, whoever waits. And while others wait for room,
//! who sends or takes too slowly loses the connection; a client that was only slow connects again and asks again. An answer
//! that nobody's room hangs on may wait in the socket for as long as an idle connection may: consumers that work on their
//! records for minutes do that.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strandline_runtime::{Clock, Held};
use strandline_types::limits;
use tokio::sync::Semaphore;

/// How often a transfer that makes no progress is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Rates are measured over this time.
pub(super) const WINDOW: Duration = Duration::from_secs(1);
/// Kafka's `connections.max.idle.ms`.
pub(super) const IDLE: Duration = Duration::from_secs(10 * 60);

/// It was too slow: close the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooSlow;

impl From<TooSlow> for io::Error {
    fn from(_: TooSlow) -> Self {
        io::ErrorKind::TimedOut.into()
    }
}

/// Which way bytes go; a label in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

/// One frame on its way, and whether it is quick enough.
pub(super) struct Transfer<'a> {
    clock: &'a dyn Clock,
    direction: Direction,
    /// When it is too late, whatever comes.
    until: Duration,
    window_began: Duration,
    window_bytes: usize,
}

impl<'a> Transfer<'a> {
    /// A request of this length, the first bytes of which have come.
    pub(super) fn of_request(clock: &'a dyn Clock, length: usize) -> Self {
        let seconds = length.div_ceil(limits::REQUEST_BYTES_PER_SECOND) as u64;
        Self::new(clock, Direction::Request, limits::REQUEST_TRANSFER + Duration::from_secs(seconds))
    }

    /// An answer. It has time for as long as it goes on at all.
    pub(super) fn of_answer(clock: &'a dyn Clock) -> Self {
        Self::new(clock, Direction::Answer, IDLE)
    }

    fn new(clock: &'a dyn Clock, direction: Direction, time: Duration) -> Self {
        let now = clock.monotonic();
        Self { clock, direction, until: now + time, window_began: now, window_bytes: 0 }
    }

    /// One read or write, which gives the number of its bytes. `is_needed`: others wait for the room that this transfer holds.
    pub(super) async fn step(
        &mut self,
        work: impl Future<Output = io::Result<usize>>,
        is_needed: impl Fn() -> bool,
    ) -> Result<io::Result<usize>, TooSlow> {
        tokio::pin!(work);
        loop {
            if self.is_too_slow(&is_needed) {
                let direction = if self.direction == Direction::Request { "request" } else { "answer" };
                metrics::counter!("strandline_slow_connections_total", "direction" => direction).increment(1);
                return Err(TooSlow);
            }
            if let Ok(done) = tokio::time::timeout(LOOK, &mut work).await {
                if let Ok(bytes) = done {
                    self.window_bytes += bytes;
                    if self.direction == Direction::Answer && bytes > 0 {
                        self.until = self.clock.monotonic() + IDLE;
                    }
                }
                return Ok(done);
            }
        }
    }

    fn is_too_slow(&mut self, is_needed: impl Fn() -> bool) -> bool {
        let now = self.clock.monotonic();
        if now >= self.until {
            return true;
        }
        let elapsed = now.saturating_sub(self.window_began);
        if elapsed < WINDOW {
            return false;
        }
        let slow = (self.window_bytes as f64) < elapsed.as_secs_f64() * limits::CONTESTED_BYTES_PER_SECOND as f64;
        (self.window_began, self.window_bytes) = (now, 0);
        slow && is_needed()
    }
}

/// Bytes of requests that are in flight, over all connections. Small requests have room of their own: a heartbeat never
/// waits behind megabytes.
#[derive(Debug)]
pub(super) struct Admission {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Room of a request; given back when it is dropped.
pub(super) type Admitted = Held;

impl Default for Admission {
    fn default() -> Self {
        Self {
            small: Arc::new(Semaphore::new(limits::SMALL_REQUESTS_IN_FLIGHT_BYTES)),
            large: Arc::new(Semaphore::new(LARGE_BYTES)),
            waiting: AtomicUsize::new(0),
        }
    }
}

const LARGE_BYTES: usize = limits::REQUESTS_IN_FLIGHT_BYTES - limits::SMALL_REQUESTS_IN_FLIGHT_BYTES;

impl Admission {
    /// Room for a request of this length; one that is larger than all room takes all.
    pub(super) async fn admit(&self, length: usize) -> Option<Admitted> {
        let is_small = length <= limits::SMALL_REQUEST_BYTES;
        let (room, bytes) = if is_small { (&self.small, length) } else { (&self.large, length.min(LARGE_BYTES)) };
        let _counted = (room.available_permits() < bytes).then(|| Counted::new(&self.waiting));
        let permit = room.clone().acquire_many_owned(u32::try_from(bytes).ok()?).await.ok()?;
        Some(Held::new(permit, metrics::gauge!("strandline_requests_in_flight_bytes")))
    }

    /// Someone waits for room.
    pub(super) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use strandline_runtime::VirtualClock;

    async fn after<T>(wait: Duration, value: T) -> T {
        tokio::time::sleep(wait).await;
        value
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_trickles_ends_whoever_waits() {
        let clock = VirtualClock::new(0);
        let (length, mut came) = (50 << 20, 0);
        let mut transfer = Transfer::of_request(&clock, length);
        while transfer.step(after(Duration::from_secs(1), Ok(1)), || false).await.is_ok() {
            came += 1;
            assert!(came < 10_000, "it would hold its room for ever");
        }
        assert!((Duration::from_secs(810)..Duration::from_secs(812)).contains(&clock.monotonic()), "{:?}", clock.monotonic());
        // One that comes at the least rate gets through.
        let mut transfer = Transfer::of_request(&clock, length);
        for _ in 0..length / (70 << 10) {
            assert!(transfer.step(after(Duration::from_secs(1), Ok(70 << 10)), || true).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_gives_way_to_others_at_once() {
        let clock = VirtualClock::new(0);
        for transfer in [Transfer::of_request(&clock, 1 << 20), Transfer::of_answer(&clock)] {
            let (mut transfer, began) = (transfer, clock.monotonic());
            transfer.window_began = began;
            // A byte now and then is no progress.
            while transfer.step(after(Duration::from_millis(300), Ok(1)), || true).await.is_ok() {}
            assert!(clock.monotonic() - began <= Duration::from_millis(1_500));
        }
        let mut transfer = Transfer::of_answer(&clock);
        assert!(transfer.step(pending(), || true).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_waits_for_may_stay_as_long_as_an_idle_connection() {
        let clock = VirtualClock::new(0);
        let mut transfer = Transfer::of_answer(&clock);
        for _ in 0..3 {
            assert!(transfer.step(after(Duration::from_secs(590), Ok(1)), || false).await.is_ok());
        }
        let began = clock.monotonic();
        assert!(transfer.step(pending(), || false).await.is_err());
        assert!(clock.monotonic() - began <= IDLE + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn small_requests_do_not_wait_for_large_ones_and_who_waits_is_counted() {
        let admission = Admission::default();
        let held = admission.admit(60 << 20).await;
        assert!(admission.admit(100).await.is_some(), "small requests do not wait");
        assert!(!admission.is_short());
        let gives_back = async {
            tokio::task::yield_now().await;
            assert!(admission.is_short());
            drop(held);
        };
        let (admitted, ()) = tokio::join!(admission.admit(1 << 20), gives_back);
        assert!(admitted.is_some());
        assert_eq!(admission.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_in_flight_falls_as_requests_are_answered() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let (handle, admission) = (recorder.handle(), Admission::default());
        let _recorded = metrics::set_default_local_recorder(&recorder);
        let shown = || {
            handle.render().lines().find_map(|line| line.strip_prefix("strandline_requests_in_flight_bytes ").map(str::to_owned))
        };
        let (first, second) = (admission.admit(1 << 20).await, admission.admit(100).await);
        assert_eq!(shown(), Some((100 + (1 << 20)).to_string()));
        drop(first);
        assert_eq!(shown(), Some("100".to_owned()));
        drop(second);
        assert_eq!(shown(), Some("0".to_owned()));
    }
}
