//! Where batches are checked: at once what takes less than handing it over, the rest on threads for blocking work, so that no
//! request holds a worker that others need.
//!
//! What comes out of a compressed batch is not known before, but for some that say so. So a check is begun with a small bound, and
//! begun again with a larger one when it is passed: an honest batch takes room for what it is, not for the most that it could be,
//! and a bomb costs little more than its last bound.

use crate::door::{Offered, Refused, Taken, asked_codec};
use crate::failure::Failure;
use crate::instruments::Instruments;
use std::sync::Arc;
use std::time::Duration;
use strandline_runtime::Runtime;
use strandline_types::limits;
use strandline_wire::ErrorCode;
use strandline_wire::records::{BatchError, Compression, ValidationRules};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const LARGE_DECOMPRESSING_BYTES: usize = limits::DECOMPRESSING_BYTES - limits::SMALL_DECOMPRESSING_BYTES;
const _: () = assert!(LARGE_DECOMPRESSING_BYTES >= limits::DECOMPRESSED_BATCH_BYTES);
const _: () = assert!(LARGE_DECOMPRESSING_BYTES >= 2 * limits::BATCH_BYTES);
/// Compressed data that is larger than this part of a bound most likely passes it, or takes too long for the thread: that is not tried.
const USUAL_RATIO: usize = 4;

/// How large a batch is thought to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Inline,
    Small,
    Large,
}

impl Size {
    /// `is_within`: it says itself that no more comes out of it than the smallest bound.
    fn first(bytes: usize, decompresses: bool, recompresses: bool, is_within: impl FnOnce() -> bool) -> Self {
        let quick = match decompresses {
            true => bytes <= limits::INLINE_DECOMPRESSED_BYTES / USUAL_RATIO || is_within(),
            false => bytes <= limits::INLINE_BATCH_BYTES,
        };
        match bytes {
            _ if quick && !recompresses => Self::Inline,
            0..=limits::SMALL_DECOMPRESSED_BYTES => Self::Small,
            _ => Self::Large,
        }
    }

    /// What may come out.
    fn bound(self, recompresses: bool) -> usize {
        match self {
            Self::Inline => limits::INLINE_DECOMPRESSED_BYTES,
            Self::Small => limits::SMALL_DECOMPRESSED_BYTES,
            // All of it lies in memory, beside the result, which may be as large.
            Self::Large if recompresses => limits::BATCH_BYTES,
            Self::Large => limits::DECOMPRESSED_BATCH_BYTES,
        }
    }

    fn next(self) -> Option<Self> {
        match self {
            Self::Inline => Some(Self::Small),
            Self::Small => Some(Self::Large),
            Self::Large => None,
        }
    }
}

/// Checks batches for all connections.
pub(crate) struct Checks {
    runtime: Runtime,
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    instruments: Instruments,
}

/// Room for what is being decompressed; given back when it is dropped.
pub(crate) struct Room {
    permit: Option<OwnedSemaphorePermit>,
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    instruments: Instruments,
}

/// What the checks of one request have used up.
pub(crate) struct RequestChecks {
    /// What may still come out of its batches.
    decompressed_left: usize,
    /// Bytes that were looked at since others had their turn.
    since_yield: usize,
    /// When it waits no more, by the monotonic clock.
    until: Duration,
}

impl RequestChecks {
    pub(crate) fn until(until: Duration) -> Self {
        Self { decompressed_left: limits::DECOMPRESSED_REQUEST_BYTES, since_yield: 0, until }
    }
}

/// A good batch.
pub(crate) struct Checked {
    pub(crate) taken: Taken,
    /// Its bytes are new ones, not those of the request. Keep the room for as long as nothing else accounts for them.
    pub(crate) recompressed: Option<Room>,
}

impl Checks {
    pub(crate) fn new(runtime: Runtime, instruments: Instruments) -> Self {
        let small = Arc::new(Semaphore::new(limits::SMALL_DECOMPRESSING_BYTES));
        let large = Arc::new(Semaphore::new(LARGE_DECOMPRESSING_BYTES));
        Self { runtime, small, large, instruments }
    }

    /// Checks one batch. Others have their turn in between, so await it before the next batch of the same partition.
    pub(crate) async fn check(
        &self,
        offered: Offered,
        rules: &ValidationRules,
        request: &mut RequestChecks,
    ) -> Result<Checked, Failure> {
        let codec = offered.codec();
        let decompresses = codec.is_some_and(|codec| codec != Compression::None);
        let recompresses = codec.is_some_and(|codec| asked_codec(&offered.topic.config, codec).is_some());
        let is_within = || codec.is_some_and(|codec| offered.is_within(codec, limits::INLINE_DECOMPRESSED_BYTES));
        let mut size = Size::first(offered.bytes.len(), decompresses, recompresses, is_within);
        loop {
            let bound = size.bound(recompresses).min(request.decompressed_left);
            if decompresses && bound == 0 {
                return Err(too_much_together());
            }
            let rules = ValidationRules { max_decompressed_bytes: bound, ..*rules };
            let (result, room) = match size {
                Size::Inline => (inline(offered.clone(), &rules, request).await, None),
                Size::Small | Size::Large => {
                    // What is only read lies in the request, which has its room.
                    let needs_room = decompresses || recompresses;
                    let room = if needs_room { Some(self.room(size, recompresses, request.until).await?) } else { None };
                    self.blocking(offered.clone(), rules, room).await?
                }
            };
            // How much came out of a batch that is bad is not known: as much as might have.
            let spent = match &result {
                _ if !decompresses => 0,
                Ok(taken) => taken.decompressed_bytes,
                Err(Refused::Bomb { max }) if *max < request.decompressed_left && size.next().is_some() => 0,
                Err(_) => bound,
            };
            let was_left = request.decompressed_left;
            request.decompressed_left = was_left.saturating_sub(spent);
            match (result, size.next()) {
                (Ok(taken), _) => return Ok(Checked { taken, recompressed: room.filter(|_| recompresses) }),
                (Err(Refused::Bad(failure)), _) => return Err(failure),
                (Err(Refused::Bomb { max }), _) if max == was_left => return Err(too_much_together()),
                (Err(Refused::Bomb { .. }), Some(next)) => size = next,
                (Err(Refused::Bomb { max }), None) => return Err(Failure::of_batch(&BatchError::Bomb { max })),
            }
        }
    }

    async fn blocking(
        &self,
        offered: Offered,
        rules: ValidationRules,
        room: Option<Room>,
    ) -> Result<(Result<Taken, Refused>, Option<Room>), Failure> {
        self.instruments.blocking_checks.increment(1);
        // The work keeps the room, also when nobody waits for it any more.
        let work = move || (offered.check(&rules), room);
        let done = self.runtime.spawner.blocking("check a batch", work).await;
        done.map_err(|error| Failure::new(ErrorCode::RequestTimedOut, error.to_string()))
    }

    async fn room(&self, size: Size, recompresses: bool, until: Duration) -> Result<Room, Failure> {
        let (room, bytes) = match size {
            Size::Large => (&self.large, LARGE_DECOMPRESSING_BYTES),
            // What comes out and what is made of it.
            _ if recompresses => (&self.small, 2 * limits::SMALL_DECOMPRESSED_BYTES),
            _ => (&self.small, limits::SMALL_DECOMPRESSED_BYTES),
        };
        let left = until.saturating_sub(self.runtime.clock.monotonic());
        let permit = room.clone().acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX));
        let permit = tokio::time::timeout(left, permit).await.ok().and_then(Result::ok).ok_or_else(Failure::queue_full)?;
        let room = Room {
            permit: Some(permit),
            small: self.small.clone(),
            large: self.large.clone(),
            instruments: self.instruments.clone(),
        };
        room.report();
        Ok(room)
    }
}

async fn inline(offered: Offered, rules: &ValidationRules, request: &mut RequestChecks) -> Result<Taken, Refused> {
    if request.since_yield >= limits::INLINE_DECOMPRESSED_BYTES {
        request.since_yield = 0;
        tokio::task::yield_now().await;
    }
    let bytes = offered.bytes.len();
    let result = offered.check(rules);
    request.since_yield += match &result {
        Ok(taken) => bytes.max(taken.decompressed_bytes),
        Err(_) => bytes.max(rules.max_decompressed_bytes),
    };
    result
}

impl Room {
    fn report(&self) {
        let free = self.small.available_permits() + self.large.available_permits();
        self.instruments.decompressing.set(limits::DECOMPRESSING_BYTES.saturating_sub(free) as f64);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.permit = None;
        self.report();
    }
}

fn too_much_together() -> Failure {
    let message = "the request's batches have more bytes after decompression than one request may have: send smaller requests";
    Failure::new(ErrorCode::MessageTooLarge, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_begins_with_the_bound_that_will_most_likely_do() {
        const KIB: usize = 1 << 10;
        let first = |bytes, decompresses, recompresses| Size::first(bytes, decompresses, recompresses, || false);
        assert_eq!(first(4 << 20, false, false), Size::Inline, "nothing comes out of it");
        assert_eq!(first(60 << 20, false, false), Size::Large);
        assert_eq!(first(KIB, true, false), Size::Inline);
        let half = limits::INLINE_DECOMPRESSED_BYTES / 2;
        assert_eq!(first(half, true, false), Size::Small);
        assert_eq!(Size::first(half, true, false, || true), Size::Inline, "it says that no more comes out of it");
        assert_eq!(Size::first(half, true, true, || true), Size::Small);
        assert_eq!(first(KIB, true, true), Size::Small, "compressing is never quick");
        assert_eq!(first(KIB, false, true), Size::Small);
        assert_eq!(first(9 << 20, true, false), Size::Large);
        assert_eq!(first(9 << 20, false, true), Size::Large);
    }
}
