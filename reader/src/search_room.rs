//! Room for extents that are looked into for times (I11): their bytes, and what comes out of their compressed batches.
//!
//! Who needs more than was taken gets it at once or gives all of it back first: nobody waits while holding some, so nobody waits for ever.

use std::sync::Arc;
use strandline_runtime::Held;
use strandline_types::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

// There is room for the largest extent, of one batch.
const _: () = assert!(limits::TIME_SEARCH_BYTES >= limits::BATCH_BYTES + limits::DECOMPRESSED_BATCH_BYTES);

/// All the room.
#[derive(Debug)]
pub(crate) struct SearchRoom {
    free: Arc<Semaphore>,
    total: usize,
}

impl SearchRoom {
    pub(crate) fn new(bytes: usize) -> Self {
        let total = bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { free: Arc::new(Semaphore::new(total)), total }
    }

    /// Room for so many bytes (at most all), taken at once. None if there was none in time.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Held> {
        let permit = self.free.clone().acquire_many_owned(permits(bytes.min(self.total)));
        let permit = tokio::time::timeout(limits::REQUEST_WAIT, permit).await.ok()?.ok()?;
        Some(room(permit))
    }

    /// Makes it room for so many bytes (at most all), if there is that much right now.
    pub(crate) fn grow(&self, room: &mut Held, bytes: usize) -> bool {
        let more = bytes.min(self.total).saturating_sub(room.bytes());
        let Ok(taken) = self.free.clone().try_acquire_many_owned(permits(more)) else { return false };
        room.grow(taken);
        true
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn room(permit: OwnedSemaphorePermit) -> Held {
    Held::new(permit, metrics::gauge!("strandline_time_search_bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_gets_more_than_all_and_who_grows_does_not_wait() {
        let all = SearchRoom::new(1_000);
        let mut one = all.take(300).await.unwrap();
        let other = all.take(300).await.unwrap();
        assert!(all.grow(&mut one, 700) && one.bytes() == 700);
        assert!(all.grow(&mut one, 100) && one.bytes() == 700, "it has that much");
        assert!(!all.grow(&mut one, 701));
        assert!(all.take(1).await.is_none(), "none in time");
        drop(other);
        assert!(all.grow(&mut one, usize::MAX) && one.bytes() == 1_000, "all there is");
        let (next, ()) = tokio::join!(all.take(usize::MAX), async { drop(one) });
        assert_eq!(next.map(|room| room.bytes()), Some(1_000));
    }
}
