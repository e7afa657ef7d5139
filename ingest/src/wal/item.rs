//! One batch in a buffer.

use super::homes::Stay;
use crate::door::Taken;
use crate::failure::Failure;
use bytes::Bytes;
use strandline_commands::Batch;
use strandline_index::BatchOutcome;
use strandline_types::TopicPartition;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// What a buffer's task is told.
pub(crate) enum Intake {
    /// Batches of one request; urgent ones do not wait for the linger.
    Items { items: Vec<Item>, urgent: bool },
    /// Flush everything and say when it is committed.
    Drain(oneshot::Sender<()>),
}

/// A batch that waits, with the one who waits for it. Dropping it without a word leaves its outcome in doubt.
pub(crate) struct Item {
    pub(crate) partition: TopicPartition,
    pub(crate) bytes: Bytes,
    pub(crate) batch: Batch,
    stay: Stay,
    reply: oneshot::Sender<Result<BatchOutcome, Failure>>,
    _room: OwnedSemaphorePermit,
}

impl Item {
    pub(crate) fn new(taken: Taken, stay: Stay, reply: oneshot::Sender<Result<BatchOutcome, Failure>>, room: OwnedSemaphorePermit) -> Self {
        Self { partition: taken.partition, bytes: taken.bytes, batch: taken.batch, stay, reply, _room: room }
    }

    /// An earlier batch of its partition was lost.
    pub(crate) fn has_failed(&self) -> bool {
        self.stay.has_failed()
    }

    pub(crate) fn tell(self, result: Result<BatchOutcome, Failure>) {
        let _ = self.reply.send(result);
    }
}
