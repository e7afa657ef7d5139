//! Records for those inside the node who are not Kafka clients, and for tests.

use crate::error::ServeError;
use crate::plan::Isolation;
use crate::reader::Reader;
use crate::rope::Rope;
use crate::serve::Want;
use strandline_types::TopicPartition;
use strandline_wire::{ErrorCode, Records};

/// Why records could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} of partition {partition} of topic {topic_id} could not be read: {reason}", topic_id = at.topic_id, partition = at.partition)]
pub struct ReadRecordsError {
    /// Where.
    pub at: TopicPartition,
    /// From which offset.
    pub offset: i64,
    /// What a Kafka client would be told; says whether to try again.
    pub code: ErrorCode,
    /// What happened.
    pub reason: String,
}

impl Reader {
    /// Committed batches from `offset` on, as a Kafka client with `read_uncommitted` would get them: at most `max_bytes`, the first
    /// batch whole. Empty at the high watermark. Does not wait for records.
    ///
    /// # Errors
    /// [`ReadRecordsError`], after a barrier where it is a 'no'.
    pub async fn read_records(&self, at: TopicPartition, offset: i64, max_bytes: usize) -> Result<Records, ReadRecordsError> {
        self.read(at, offset, max_bytes).await.map_err(|error| ReadRecordsError {
            at,
            offset,
            code: error.code(),
            reason: error.to_string(),
        })
    }

    async fn read(&self, at: TopicPartition, offset: i64, max_bytes: usize) -> Result<Records, ServeError> {
        let isolation = Isolation::ReadUncommitted;
        let plan = match self.shared.plan(at, offset, isolation, max_bytes as u64) {
            Ok(plan) => plan,
            Err(_) => {
                self.shared.barrier().await?;
                self.shared.plan(at, offset, isolation, max_bytes as u64)?
            }
        };
        let want = Want { at, offset, isolation, until: None };
        let served = self.shared.serve(&want, plan, None, Rope::new(max_bytes, usize::MAX, true)).await?;
        if served.more_history {
            self.read_ahead(at, served.ahead, isolation);
        }
        Ok(served.rope.finish())
    }
}
