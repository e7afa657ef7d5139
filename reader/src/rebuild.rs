//! Rows become batches again: magic 2, no producer, one timestamp type a batch, every offset covered (I5, I6).

use crate::hole::hole_batches;
use bytes::Bytes;
use strandline_types::{RecordRef, TimestampType, limits};
use strandline_wire::records::{BatchBuilder, BatchError, BatchOptions};

/// The batch that is being built.
#[derive(Debug)]
struct Open {
    builder: BatchBuilder,
    base_offset: i64,
    timestamp_type: TimestampType,
    /// With append times all records of a batch carry one time.
    append_ms: i64,
}

/// Builds the batches of one chunk. What lies between two records, or before the first, is covered by the batch of the record
/// that follows; each batch ends with its last record, so that a fetch that starts in a hole begins with the next record.
#[derive(Debug)]
pub(crate) struct Rebuilder {
    /// The first offset that is not covered yet.
    next: i64,
    open: Option<Open>,
    /// Batches one behind the other; while one is open, its builder has them.
    finished: Vec<u8>,
}

/// Room that is taken ahead, at most: more comes as it is needed.
const ROOM_BYTES: usize = 2 * limits::HISTORY_CHUNK_BYTES;

impl Rebuilder {
    /// Covers from `start` on; about `record_bytes` will come.
    pub(crate) fn new(start: i64, record_bytes: u64) -> Self {
        let record_bytes = usize::try_from(record_bytes).unwrap_or(usize::MAX);
        // A record takes a few bytes more than its key, value and headers.
        let room = record_bytes.saturating_add(record_bytes / 16).min(ROOM_BYTES);
        Self { next: start, open: None, finished: Vec::with_capacity(room) }
    }

    /// Adds a record; offsets rise.
    pub(crate) fn push(&mut self, record: &RecordRef<'_>) -> Result<(), BatchError> {
        if self.open.as_ref().is_some_and(|open| !open.takes(record)) {
            self.close()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                if record.offset - self.next > i64::from(i32::MAX) {
                    let holes = hole_batches(self.next, record.offset, HOLE_TIME_MS)?;
                    holes.into_iter().for_each(|(batch, _)| self.finished.extend_from_slice(&batch));
                    self.next = record.offset;
                }
                none.insert(Open::new(self.next, record, std::mem::take(&mut self.finished)))
            }
        };
        open.builder.push(record)?;
        self.next = record.offset + 1;
        Ok(())
    }

    fn close(&mut self) -> Result<(), BatchError> {
        if let Some(open) = self.open.take() {
            self.finished = open.builder.finish_behind(None)?;
        }
        Ok(())
    }

    /// The batches, one after the other.
    pub(crate) fn finish(mut self) -> Result<Bytes, BatchError> {
        self.close()?;
        // The cache counts what it holds.
        if self.finished.capacity() / 9 * 8 > self.finished.len() {
            self.finished.shrink_to_fit();
        }
        Ok(self.finished.into())
    }
}

impl Open {
    fn new(base_offset: i64, record: &RecordRef<'_>, finished: Vec<u8>) -> Self {
        let options = BatchOptions { base_offset, timestamp_type: record.timestamp_type, ..BatchOptions::default() };
        Self {
            builder: BatchBuilder::behind(finished, options),
            base_offset,
            timestamp_type: record.timestamp_type,
            append_ms: record.timestamp_ms,
        }
    }

    fn takes(&self, record: &RecordRef<'_>) -> bool {
        let same_time = match self.timestamp_type {
            TimestampType::Create => true,
            TimestampType::LogAppend => self.append_ms == record.timestamp_ms,
        };
        let bytes = BatchBuilder::record_bytes(record.key, record.value, record.headers);
        self.timestamp_type == record.timestamp_type
            && same_time
            && self.builder.bytes() + bytes <= limits::REBUILT_BATCH_BYTES
            && record.offset - self.base_offset <= i64::from(i32::MAX)
    }
}

/// Nobody knows when a hole in bronze came to be, and no client asks.
pub(crate) const HOLE_TIME_MS: i64 = -1;

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::ControlFlow;
    use strandline_wire::records::{BatchPlace, RecordScratch, for_each_record, split_batches};

    fn record(offset: i64, timestamp_ms: i64, timestamp_type: TimestampType, value: &[u8]) -> RecordRef<'_> {
        RecordRef { offset, timestamp_ms, timestamp_type, key: None, value: Some(value), headers: &[] }
    }

    /// Covered start, covered end, offsets and times of the records.
    type Shape = (i64, i64, Vec<(i64, i64)>);

    fn shape(bytes: Bytes) -> Vec<Shape> {
        let shape = |batch: strandline_wire::records::BatchView| {
            let mut records = Vec::new();
            if !batch.header.is_control() {
                for_each_record(&batch.bytes, BatchPlace::of(&batch.header), &mut RecordScratch::default(), |record| {
                    records.push((record.offset, record.timestamp_ms));
                    ControlFlow::Continue(())
                })
                .unwrap();
            }
            (batch.header.base_offset, batch.header.last_offset() + 1, records)
        };
        split_batches(bytes).unwrap().into_iter().map(shape).collect()
    }

    #[test]
    fn holes_belong_to_the_record_that_follows_and_times_cut_batches() {
        use TimestampType::{Create, LogAppend};
        let mut rebuilder = Rebuilder::new(10, 100);
        for record in [
            record(12, 5, Create, b"a"),
            record(15, -1, Create, b"b"),
            record(16, 7, LogAppend, b"c"),
            record(20, 7, LogAppend, b"d"),
            record(21, 8, LogAppend, b"e"),
        ] {
            rebuilder.push(&record).unwrap();
        }
        assert_eq!(
            shape(rebuilder.finish().unwrap()),
            [(10, 16, vec![(12, 5), (15, -1)]), (16, 21, vec![(16, 7), (20, 7)]), (21, 22, vec![(21, 8)])]
        );
    }

    #[test]
    fn a_batch_ends_at_its_size_and_a_large_record_stands_alone() {
        let large = vec![1; limits::REBUILT_BATCH_BYTES + 1];
        let half = vec![2; limits::REBUILT_BATCH_BYTES / 2];
        let mut rebuilder = Rebuilder::new(0, 3 << 20);
        for (offset, value) in [&half, &large, &half, &half].into_iter().enumerate() {
            rebuilder.push(&record(offset as i64, 1, TimestampType::Create, value)).unwrap();
        }
        let ends: Vec<_> = shape(rebuilder.finish().unwrap()).into_iter().map(|(start, end, _)| (start, end)).collect();
        assert_eq!(ends, [(0, 1), (1, 2), (2, 3), (3, 4)]);
    }

    #[test]
    fn a_hole_wider_than_a_batch_can_say_is_covered_all_the_same() {
        let far = 3 * i64::from(i32::MAX);
        let mut rebuilder = Rebuilder::new(0, 100);
        rebuilder.push(&record(1, 1, TimestampType::Create, b"a")).unwrap();
        rebuilder.push(&record(far, 1, TimestampType::Create, b"b")).unwrap();
        let shape = shape(rebuilder.finish().unwrap());
        let mut next = 0;
        for (start, end, _) in &shape {
            assert_eq!((*start, true), (next, start < end));
            next = *end;
        }
        assert_eq!(next, far + 1);
        assert_eq!(shape.last().unwrap().2, [(far, 1)]);
    }
}
