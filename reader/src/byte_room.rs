//! Room counted in bytes (I11), shown by a gauge.

use metrics::Gauge;
use std::sync::Arc;
use std::time::Duration;
use strandline_runtime::Held;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All the room.
#[derive(Debug)]
pub(crate) struct ByteRoom {
    free: Arc<Semaphore>,
    total: usize,
    /// What of it is taken.
    gauge: fn() -> Gauge,
}

impl ByteRoom {
    pub(crate) fn new(bytes: usize, gauge: fn() -> Gauge) -> Self {
        let total = bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { free: Arc::new(Semaphore::new(total)), total, gauge }
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Room for so many bytes (at most all), taken at once. None if there was none within `patience`.
    pub(crate) async fn take(&self, bytes: usize, patience: Duration) -> Option<Held> {
        let permit = self.free.clone().acquire_many_owned(permits(bytes.min(self.total)));
        let permit = tokio::time::timeout(patience, permit).await.ok()?.ok()?;
        Some(self.held(permit))
    }

    /// The same, if there is that much right now.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Held> {
        let permit = self.free.clone().try_acquire_many_owned(permits(bytes.min(self.total))).ok()?;
        Some(self.held(permit))
    }

    /// Makes it room for so many bytes (at most all), if there is that much right now.
    pub(crate) fn grow(&self, room: &mut Held, bytes: usize) -> bool {
        let more = bytes.min(self.total).saturating_sub(room.bytes());
        if more == 0 {
            return true;
        }
        let Ok(taken) = self.free.clone().try_acquire_many_owned(permits(more)) else { return false };
        room.grow(taken);
        true
    }

    fn held(&self, permit: OwnedSemaphorePermit) -> Held {
        Held::new(permit, (self.gauge)())
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_types::limits;

    #[tokio::test(start_paused = true)]
    async fn nobody_gets_more_than_all_and_who_grows_does_not_wait() {
        let all = ByteRoom::new(1_000, || metrics::gauge!("strandline_time_search_bytes"));
        let take = |bytes| all.take(bytes, limits::REQUEST_WAIT);
        let mut one = take(300).await.unwrap();
        let other = take(300).await.unwrap();
        assert!(all.grow(&mut one, 700) && one.bytes() == 700);
        assert!(all.grow(&mut one, 100) && one.bytes() == 700, "it has that much");
        assert!(!all.grow(&mut one, 701));
        assert!(take(1).await.is_none(), "none in time");
        drop(other);
        assert!(all.grow(&mut one, usize::MAX) && one.bytes() == 1_000, "all there is");
        let (next, ()) = tokio::join!(take(usize::MAX), async { drop(one) });
        assert_eq!(next.map(|room| room.bytes()), Some(1_000));
    }
}
