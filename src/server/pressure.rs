//! Room that connections share, and what happens to those that hold it and do nothing with it.
//!
//! A client that announces a large request and does not send it, or asks for a large answer and does not take it, keeps the
//! room (I11) from all others. While nobody else needs it, it may. Once others wait, it loses its connection; a client that
//! was only slow connects again and asks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strandline_types::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How often a connection that makes no progress looks whether others wait.
const LOOK: Duration = Duration::from_millis(250);
/// This many looks without progress are a stall: a second.
const LOOKS: u32 = 4;

/// Waits for an operation while it makes progress or nobody else needs what it holds; nothing when it was given up.
async fn unless_stalled<T>(work: impl Future<Output = T>, is_needed: impl Fn() -> bool) -> Option<T> {
    tokio::pin!(work);
    let mut looks = 0;
    loop {
        if let Ok(done) = tokio::time::timeout(LOOK, &mut work).await {
            return Some(done);
        }
        looks += 1;
        if looks >= LOOKS && is_needed() {
            return None;
        }
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
    /// Room for a request of this length, held until the permit is dropped; one that is larger than all room takes all.
    pub(super) async fn admit(&self, length: usize) -> Option<OwnedSemaphorePermit> {
        let is_small = length <= limits::SMALL_REQUEST_BYTES;
        let (room, bytes) = if is_small { (&self.small, length) } else { (&self.large, length.min(LARGE_BYTES)) };
        let _counted = (room.available_permits() < bytes).then(|| Counted::new(&self.waiting));
        let permit = room.clone().acquire_many_owned(u32::try_from(bytes).ok()?).await.ok()?;
        let free = self.small.available_permits() + self.large.available_permits();
        metrics::gauge!("strandline_requests_in_flight_bytes").set(limits::REQUESTS_IN_FLIGHT_BYTES.saturating_sub(free) as f64);
        Some(permit)
    }

    /// Someone waits for room.
    fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// One read of a request; nothing once it has stalled and others wait for its room.
    pub(super) async fn unless_stalled<T>(&self, read: impl Future<Output = T>) -> Option<T> {
        unless_stalled(read, || self.is_short()).await
    }
}

/// Fetches that take longer than they were asked to wait: most likely for the room of answers that others do not take.
#[derive(Debug, Default)]
pub(super) struct LateFetches(AtomicUsize);

impl LateFetches {
    /// Does a Fetch that should be answered within `wait`.
    pub(super) async fn watch<T>(&self, wait: Duration, fetch: impl Future<Output = T>) -> T {
        tokio::pin!(fetch);
        if let Ok(done) = tokio::time::timeout(wait + LOOK * 2, &mut fetch).await {
            return done;
        }
        let _counted = Counted::new(&self.0);
        fetch.await
    }

    /// One write of an answer; nothing once it has stalled and Fetches are late, or requests wait for room: those that are
    /// queued behind this answer hold some.
    pub(super) async fn unless_stalled<T>(&self, admission: &Admission, write: impl Future<Output = T>) -> Option<T> {
        unless_stalled(write, || self.0.load(Ordering::Relaxed) > 0 || admission.is_short()).await
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

    #[tokio::test(start_paused = true)]
    async fn who_holds_room_and_stalls_gives_way_only_to_others() {
        let admission = Admission::default();
        let held = admission.admit(60 << 20).await;
        let alone = tokio::time::timeout(Duration::from_secs(60), admission.unless_stalled(std::future::pending::<()>())).await;
        assert!(alone.is_err(), "nobody else needs it");
        assert!(admission.admit(100).await.is_some(), "small requests do not wait");
        let other = admission.admit(1 << 20);
        let stalled = async {
            let given_up = admission.unless_stalled(std::future::pending::<()>()).await;
            drop(held);
            given_up
        };
        let (admitted, given_up) = tokio::join!(other, stalled);
        assert_eq!((admitted.is_some(), given_up), (true, None));
        assert_eq!(admission.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_is_given_up_when_fetches_are_late() {
        let late = LateFetches::default();
        let alone = tokio::time::timeout(
            Duration::from_secs(60),
            late.unless_stalled(&Admission::default(), std::future::pending::<()>()),
        )
        .await;
        assert!(alone.is_err());
        let fetch = late.watch(Duration::from_secs(1), tokio::time::sleep(Duration::from_secs(30)));
        let admission = Admission::default();
        let stalled = late.unless_stalled(&admission, std::future::pending::<()>());
        assert_eq!(tokio::join!(fetch, stalled), ((), None));
        assert_eq!(late.0.load(Ordering::Relaxed), 0);
    }
}
