//! One batch in a buffer, and the room it takes.

use super::intake::Stay;
use crate::door::Taken;
use crate::failure::Failure;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use strandline_commands::Batch;
use strandline_index::BatchOutcome;
use strandline_runtime::{Clock, Held};
use strandline_types::{TopicPartition, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// A batch counts with at least this: it is more than its bytes.
const LEAST_SHARE_BYTES: usize = 1_024;

/// The bytes that buffers may hold together (I11).
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(limits::INGEST_BUFFER_BYTES)))
    }

    /// Room for a batch, if there is some.
    pub(crate) fn take_now(&self, bytes: usize) -> Option<Held> {
        self.0.clone().try_acquire_many_owned(share(bytes)).ok().map(held)
    }

    /// Room for a batch; none if the buffers stay full until then.
    pub(crate) async fn take_until(&self, bytes: usize, clock: &dyn Clock, deadline: Duration) -> Option<Held> {
        let wait = deadline.saturating_sub(clock.monotonic());
        let permit = self.0.clone().acquire_many_owned(share(bytes));
        tokio::time::timeout(wait, permit).await.ok()?.ok().map(held)
    }
}

fn share(bytes: usize) -> u32 {
    u32::try_from(bytes.clamp(LEAST_SHARE_BYTES, limits::INGEST_BUFFER_BYTES)).unwrap_or(u32::MAX)
}

fn held(permit: OwnedSemaphorePermit) -> Held {
    Held::new(permit, metrics::gauge!("strandline_ingest_buffer_bytes"))
}

/// A batch that waits, with the one who waits for it. Dropping it without a word leaves its outcome in doubt.
pub(crate) struct Item {
    pub(crate) partition: TopicPartition,
    pub(crate) bytes: Bytes,
    pub(crate) batch: Batch,
    reply: Option<oneshot::Sender<Result<BatchOutcome, Failure>>>,
    _stay: Stay,
    _share: Held,
}

impl Item {
    pub(crate) fn new(taken: Taken, stay: Stay, reply: oneshot::Sender<Result<BatchOutcome, Failure>>, share: Held) -> Self {
        Self {
            partition: taken.partition,
            bytes: taken.bytes,
            batch: taken.batch,
            reply: Some(reply),
            _stay: stay,
            _share: share,
        }
    }

    /// Its client knows what became of it; it must not be committed.
    pub(crate) fn is_told(&self) -> bool {
        self.reply.is_none()
    }

    pub(crate) fn tell(&mut self, result: Result<BatchOutcome, Failure>) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(result);
        }
    }
}
