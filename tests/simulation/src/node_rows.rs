//! A node's way to the segment index: requests and replies are lost, writes may take their time, and a dead node's never begin.

use crate::core::Core;
use crate::dice::Dice;
use crate::gate::Gate;
use crate::happenings::Happening;
use crate::stops::{Place, Stops};
use async_trait::async_trait;
use std::sync::Arc;
use strandline_segment_index::{PutError, PutOutcome, ReadError, RemoveError, RowKey, SealedRow, SegmentIndex};
use strandline_types::{TopicId, TopicPartition};

pub(crate) struct NodeRows {
    pub core: Arc<Core>,
    pub gate: Gate,
    pub dice: Dice,
    pub stops: Stops,
    /// Of a hundred requests so many fail before they have an effect, and as many after it.
    pub failing: u64,
}

impl std::fmt::Debug for NodeRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeRows")
    }
}

impl NodeRows {
    async fn begin(&self) {
        self.gate.pass().await;
        if self.dice.chance(30) {
            self.core.clock().sleep(self.dice.millis(1, 60)).await;
        }
    }

    /// Now and then this request, or the reply to it, is lost.
    fn lose<E>(&self, what: Happening, failed: impl FnOnce(Arc<dyn std::error::Error + Send + Sync>) -> E) -> Result<(), E> {
        if self.core.is_calm() || self.failing == 0 || !self.dice.chance(self.failing) {
            return Ok(());
        }
        self.core.count(what);
        Err(failed(Arc::from(Box::<dyn std::error::Error + Send + Sync>::from("ordered by the run"))))
    }
}

#[async_trait]
impl SegmentIndex for NodeRows {
    async fn put(&self, rows: Vec<SealedRow>) -> Result<PutOutcome, PutError> {
        self.begin().await;
        self.stops.pass(Place::Rows, "").await;
        self.lose(Happening::LostRows, |source| PutError::Failed { source })?;
        if self.dice.chance(10) {
            // The zombie's write: it lands when everybody has forgotten it.
            self.core.count(Happening::LateRows);
            let (rows, index, clock, late) =
                (rows.clone(), self.core.segment_index.clone(), self.core.clock().clone(), self.dice.millis(1, 20_000));
            self.core.runtime.spawner.spawn("late rows", async move {
                clock.sleep(late).await;
                let _ = index.put(rows).await;
            });
        }
        let answer = self.core.segment_index.put(rows).await;
        self.gate.pass().await;
        self.lose(Happening::UnheardRows, |source| PutError::Failed { source })?;
        answer
    }

    async fn find(&self, topic_partition: TopicPartition, offset: i64) -> Result<Option<SealedRow>, ReadError> {
        self.begin().await;
        let answer = self.core.segment_index.find(topic_partition, offset).await;
        self.gate.pass().await;
        self.lose(Happening::LostRowReads, |source| ReadError::Failed { source })?;
        answer
    }

    async fn scan(&self, topic_partition: TopicPartition, from_offset: i64, limit: usize) -> Result<Vec<SealedRow>, ReadError> {
        self.begin().await;
        let answer = self.core.segment_index.scan(topic_partition, from_offset, limit).await;
        self.gate.pass().await;
        self.lose(Happening::LostRowReads, |source| ReadError::Failed { source })?;
        answer
    }

    async fn scan_all(&self, after: Option<RowKey>, limit: usize) -> Result<Vec<SealedRow>, ReadError> {
        self.begin().await;
        let answer = self.core.segment_index.scan_all(after, limit).await;
        self.stops.pass(Place::Listed, "").await;
        self.gate.pass().await;
        self.lose(Happening::LostRowReads, |source| ReadError::Failed { source })?;
        answer
    }

    async fn remove(&self, keys: Vec<RowKey>) -> Result<u64, RemoveError> {
        self.begin().await;
        self.lose(Happening::LostRows, |source| RemoveError::Failed { source })?;
        let answer = self.core.segment_index.remove(keys).await;
        self.lose(Happening::UnheardRows, |source| RemoveError::Failed { source })?;
        answer
    }

    async fn remove_topic(&self, topic_id: TopicId) -> Result<u64, RemoveError> {
        self.begin().await;
        self.lose(Happening::LostRows, |source| RemoveError::Failed { source })?;
        let answer = self.core.segment_index.remove_topic(topic_id).await;
        self.lose(Happening::UnheardRows, |source| RemoveError::Failed { source })?;
        answer
    }

    async fn count(&self) -> Result<u64, ReadError> {
        self.begin().await;
        self.lose(Happening::LostRowReads, |source| ReadError::Failed { source })?;
        self.core.segment_index.count().await
    }
}
