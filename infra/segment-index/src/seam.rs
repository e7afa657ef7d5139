//! The trait, and what follows from it.

use crate::errors::{PutError, ReadError, RemoveError};
use crate::row::{RowKey, SealedRow};
use async_trait::async_trait;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{TopicId, TopicPartition, limits};

/// What became of the rows of one put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutOutcome {
    /// Rows written: their key was free, or held a lower generation.
    pub written: u64,
    /// Rows that were there already, the same or of a higher generation.
    pub kept: u64,
    /// Keys whose row has the same generation and says something else. It stays, and a defect is behind it:
    /// raise an alarm.
    pub differing: Vec<RowKey>,
}

/// The table of sealed segments. Reads are consistent: they see every write that returned before they began.
#[async_trait]
pub trait SegmentIndex: std::fmt::Debug + Send + Sync + 'static {
    /// Writes rows, each only where its key is free or holds a lower generation. All of them in one
    /// transaction, durable when this returns, in the order given; at most
    /// `limits::SEGMENT_INDEX_BATCH_ROWS`. Idempotent.
    async fn put(&self, rows: Vec<SealedRow>) -> Result<PutOutcome, PutError>;

    /// The first row of the partition whose end is greater than `offset`. It may start behind the offset: a
    /// reader then takes a barrier and plans again.
    async fn find(&self, topic_partition: TopicPartition, offset: i64) -> Result<Option<SealedRow>, ReadError>;

    /// Rows of the partition whose end is greater than `from_offset`, in order, at most `limit` and at most
    /// `limits::SEGMENT_INDEX_SCAN_ROWS`.
    async fn scan(&self, topic_partition: TopicPartition, from_offset: i64, limit: usize) -> Result<Vec<SealedRow>, ReadError>;

    /// Rows of all partitions behind `after` (all if `None`), in the order of their keys, at most `limit` and
    /// at most `limits::SEGMENT_INDEX_SCAN_ROWS`.
    async fn scan_all(&self, after: Option<RowKey>, limit: usize) -> Result<Vec<SealedRow>, ReadError>;

    /// Removes rows, whatever their generation, in one durable transaction; at most
    /// `limits::SEGMENT_INDEX_BATCH_ROWS`. Says how many were there.
    async fn remove(&self, keys: Vec<RowKey>) -> Result<u64, RemoveError>;

    /// Removes all rows of a topic, durably. Says how many there were.
    async fn remove_topic(&self, topic_id: TopicId) -> Result<u64, RemoveError>;

    /// How many rows there are.
    async fn count(&self) -> Result<u64, ReadError>;
}

/// Calls `visit` with every row in the order of keys, a bounded number at a time. Rows that come or go
/// meanwhile may be seen or not.
pub async fn for_each(index: &dyn SegmentIndex, mut visit: impl FnMut(SealedRow) + Send) -> Result<u64, ReadError> {
    let (mut after, mut visited) = (None, 0);
    loop {
        let rows = index.scan_all(after, limits::SEGMENT_INDEX_SCAN_ROWS).await?;
        let Some(last) = rows.last() else { return Ok(visited) };
        after = Some(last.key());
        visited += rows.len() as u64;
        rows.into_iter().for_each(&mut visit);
    }
}

/// What every implementation refuses before it touches its table.
pub(crate) fn check_rows(rows: &[SealedRow]) -> Result<(), PutError> {
    if rows.len() > limits::SEGMENT_INDEX_BATCH_ROWS {
        return Err(PutError::TooMany { rows: rows.len(), limit: limits::SEGMENT_INDEX_BATCH_ROWS });
    }
    match rows.iter().find(|row| row.start_offset < 0 || row.start_offset >= row.end_offset) {
        Some(row) => Err(PutError::BadRange { start_offset: row.start_offset, end_offset: row.end_offset }),
        None => Ok(()),
    }
}

/// As [`check_rows`], for keys.
pub(crate) fn check_keys(keys: &[RowKey]) -> Result<(), RemoveError> {
    if keys.len() > limits::SEGMENT_INDEX_BATCH_ROWS {
        return Err(RemoveError::TooMany { rows: keys.len(), limit: limits::SEGMENT_INDEX_BATCH_ROWS });
    }
    Ok(())
}

/// Whether a row gives way to another with its key; counts the outcome.
pub(crate) fn gives_way(there: Option<&SealedRow>, new: &SealedRow, outcome: &mut PutOutcome) -> bool {
    let Some(there) = there else {
        outcome.written += 1;
        return true;
    };
    if there.generation < new.generation || !holds(Rule::C1) {
        outcome.written += 1;
        return true;
    }
    if there.generation == new.generation && there != new {
        tracing::error!(key = ?new.key(), there = %there.path, new = %new.path, "two different rows of one generation in the segment index; the first one stays");
        outcome.differing.push(new.key());
    } else {
        outcome.kept += 1;
    }
    false
}
