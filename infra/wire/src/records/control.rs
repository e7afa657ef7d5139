//! Control batches: the end of a transaction, and what covers a hole.

use super::{BatchBuilder, BatchError, BatchOptions, NO_EPOCH, NO_PRODUCER_ID};
use bytes::Bytes;
use strandline_types::{RecordRef, TimestampType};

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum ControlKind {
    /// It was aborted.
    Abort = 0,
    /// It was committed.
    Commit = 1,
}

/// What is in a control record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlRecord {
    /// How the transaction ended.
    pub kind: ControlKind,
    /// Epoch of the coordinator that ended it.
    pub coordinator_epoch: i32,
}

impl ControlRecord {
    /// Reads the one record of a control batch; `None` for kinds that are not known here.
    pub fn parse(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Self> {
        let kind = match key?.get(2..4)? {
            [0, 0] => ControlKind::Abort,
            [0, 1] => ControlKind::Commit,
            _ => return None,
        };
        let coordinator_epoch =
            value.and_then(|value| value.get(2..6)?.first_chunk::<4>()).map_or(-1, |bytes| i32::from_be_bytes(*bytes));
        Some(Self { kind, coordinator_epoch })
    }
}

/// The marker at `offset` that ends a producer's transaction in a partition.
///
/// # Errors
/// None for real arguments; the builder's own otherwise.
pub fn control_batch(
    offset: i64,
    producer_id: i64,
    producer_epoch: i16,
    kind: ControlKind,
    timestamp_ms: i64,
    coordinator_epoch: i32,
) -> Result<Bytes, BatchError> {
    let options = BatchOptions {
        base_offset: offset,
        producer_id,
        producer_epoch,
        transactional: producer_id != NO_PRODUCER_ID,
        ..BatchOptions::default()
    };
    marker(options, offset, kind, timestamp_ms, coordinator_epoch)
}

/// One batch that covers the hole `[start, last]`: a commit marker of no producer whose record has the offset `last`.
/// Clients skip it and go on behind it. Of a hole wider than 2^31 offsets it covers the end.
///
/// # Errors
/// A hole that ends before it starts.
pub fn hole_batch(start: i64, last: i64, timestamp_ms: i64) -> Result<Bytes, BatchError> {
    let base_offset = start.max(last.saturating_sub(i64::from(i32::MAX)));
    let options = BatchOptions { base_offset, producer_epoch: NO_EPOCH, ..BatchOptions::default() };
    marker(options, last, ControlKind::Commit, timestamp_ms, -1)
}

fn marker(
    options: BatchOptions,
    offset: i64,
    kind: ControlKind,
    timestamp_ms: i64,
    coordinator_epoch: i32,
) -> Result<Bytes, BatchError> {
    let [high, low] = (kind as i16).to_be_bytes();
    let mut value = [0; 6];
    value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
    let mut builder = BatchBuilder::control(options);
    builder.push(&RecordRef {
        offset,
        timestamp_ms,
        timestamp_type: TimestampType::Create,
        key: Some(&[0, 0, high, low]),
        value: Some(&value),
        headers: &[],
    })?;
    builder.finish(None)
}
