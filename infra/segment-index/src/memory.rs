//! The index in memory, for simulations.

use crate::errors::{PutError, ReadError, RemoveError};
use crate::row::{RowKey, SealedRow};
use crate::seam::{PutOutcome, SegmentIndex, check_keys, check_rows, gives_way};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_types::{TopicId, TopicPartition, limits};

/// Rows in a map; clones share them, so that a node that 'restarts' finds them again.
#[derive(Debug, Clone, Default)]
pub struct MemorySegmentIndex(Arc<Mutex<BTreeMap<RowKey, SealedRow>>>);

impl MemorySegmentIndex {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RowKey, SealedRow>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SegmentIndex for MemorySegmentIndex {
    async fn put(&self, rows: Vec<SealedRow>) -> Result<PutOutcome, PutError> {
        check_rows(&rows)?;
        let (mut table, mut outcome) = (self.lock(), PutOutcome::default());
        for row in rows {
            if gives_way(table.get(&row.key()), &row, &mut outcome) {
                table.insert(row.key(), row);
            }
        }
        Ok(outcome)
    }

    async fn find(&self, topic_partition: TopicPartition, offset: i64) -> Result<Option<SealedRow>, ReadError> {
        Ok(self.scan(topic_partition, offset, 1).await?.pop())
    }

    async fn scan(&self, topic_partition: TopicPartition, from_offset: i64, limit: usize) -> Result<Vec<SealedRow>, ReadError> {
        let from = RowKey { topic_partition, end_offset: from_offset };
        let to = RowKey { topic_partition, end_offset: i64::MAX };
        if from == to {
            return Ok(Vec::new());
        }
        let table = self.lock();
        let rows = table.range((Bound::Excluded(from), Bound::Included(to))).map(|(_, row)| row.clone());
        Ok(rows.take(limit.min(limits::SEGMENT_INDEX_SCAN_ROWS)).collect())
    }

    async fn scan_all(&self, after: Option<RowKey>, limit: usize) -> Result<Vec<SealedRow>, ReadError> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let table = self.lock();
        let rows = table.range((after, Bound::Unbounded)).map(|(_, row)| row.clone());
        Ok(rows.take(limit.min(limits::SEGMENT_INDEX_SCAN_ROWS)).collect())
    }

    async fn remove(&self, keys: Vec<RowKey>) -> Result<u64, RemoveError> {
        check_keys(&keys)?;
        let mut table = self.lock();
        Ok(keys.into_iter().filter(|key| table.remove(key).is_some()).count() as u64)
    }

    async fn remove_topic(&self, topic_id: TopicId) -> Result<u64, RemoveError> {
        let mut table = self.lock();
        let before = table.len();
        table.retain(|key, _| key.topic_partition.topic_id != topic_id);
        Ok((before - table.len()) as u64)
    }

    async fn count(&self) -> Result<u64, ReadError> {
        Ok(self.lock().len() as u64)
    }
}
