//! What a fetch brought: batches as they came, records on demand.

use crate::error::ClientError;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use strandline_types::{RecordRef, TimestampType};
use strandline_wire::messages::fetch::AbortedTransaction;
use strandline_wire::records::{
    BatchError, BatchPlace, BatchView, ControlKind, ControlRecord, RecordScratch, for_each_record, split_whole_batches,
};

/// The records of one poll.
#[derive(Debug, Default)]
pub struct Fetched {
    /// Per partition, in order.
    pub partitions: Vec<FetchedPartition>,
}

/// The records of one partition.
#[derive(Debug)]
pub struct FetchedPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// Records below it are not part of the answer, though the first batch may have some.
    pub from_offset: i64,
    /// The offset after the last one that is covered.
    pub next_offset: i64,
    /// Data batches, in order.
    pub batches: Vec<BatchView>,
    /// The end of what consumers see, when this was answered.
    pub high_watermark: i64,
    /// The bytes of the answer, skipped batches included.
    pub bytes: usize,
}

/// One record, on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970, UTC.
    pub timestamp_ms: i64,
    /// Whose time that is.
    pub timestamp_type: TimestampType,
    /// The key; null is not empty.
    pub key: Option<Bytes>,
    /// The value; null is not empty.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl Fetched {
    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.partitions.iter().all(|partition| partition.batches.is_empty())
    }

    /// All records, copied.
    ///
    /// # Errors
    /// A damaged batch.
    pub fn records(&self) -> Result<Vec<ConsumedRecord>, ClientError> {
        let mut records = Vec::new();
        for partition in &self.partitions {
            partition.for_each(|record| {
                records.push(partition.own(record));
                ControlFlow::Continue(())
            })?;
        }
        Ok(records)
    }
}

impl FetchedPartition {
    /// Hands every record to `visit`, borrowed, until it breaks.
    ///
    /// # Errors
    /// A damaged batch; records before the damage were handed out.
    pub fn for_each(&self, mut visit: impl FnMut(&RecordRef<'_>) -> ControlFlow<()>) -> Result<(), ClientError> {
        let mut scratch = RecordScratch::default();
        let mut stopped = false;
        for batch in &self.batches {
            let visited = for_each_record(&batch.bytes, BatchPlace::of(&batch.header), &mut scratch, |record| {
                if record.offset < self.from_offset {
                    return ControlFlow::Continue(());
                }
                let flow = visit(record);
                stopped = flow.is_break();
                flow
            });
            visited.map_err(|error| self.damaged(batch.header.base_offset, error))?;
            if stopped {
                break;
            }
        }
        Ok(())
    }

    fn damaged(&self, offset: i64, error: BatchError) -> ClientError {
        ClientError::Batch { what: format!("the batch at {}-{} offset {offset}", self.topic, self.partition), error }
    }

    fn own(&self, record: &RecordRef<'_>) -> ConsumedRecord {
        let own = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
        ConsumedRecord {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            timestamp_type: record.timestamp_type,
            key: own(record.key),
            value: own(record.value),
            headers: record.headers.iter().map(|header| (header.key.to_owned(), own(header.value))).collect(),
        }
    }

    /// Takes an answer apart: markers are left out, and with `aborted` what aborted transactions wrote.
    pub(super) fn parse(
        topic: Arc<str>,
        partition: i32,
        from_offset: i64,
        high_watermark: i64,
        records: Bytes,
        aborted: Option<Vec<AbortedTransaction>>,
        check_crcs: bool,
    ) -> Result<Self, ClientError> {
        let bytes = records.len();
        let mut fetched =
            Self { topic, partition, from_offset, next_offset: from_offset, batches: Vec::new(), high_watermark, bytes };
        let batches = split_whole_batches(records).map_err(|error| fetched.damaged(from_offset, error))?;
        let mut aborted = aborted.unwrap_or_default();
        aborted.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        let mut dropping: BTreeSet<i64> = BTreeSet::new();
        for batch in batches {
            let header = batch.header;
            if header.last_offset() < from_offset {
                continue;
            }
            if check_crcs && let Err(error) = check_crc(&batch) {
                // What came before it is sound, and is handed out first: then the damaged one comes alone.
                if fetched.next_offset > from_offset {
                    break;
                }
                return Err(fetched.damaged(header.base_offset, error));
            }
            while let Some(transaction) = aborted.pop_if(|transaction| transaction.first_offset <= header.last_offset()) {
                dropping.insert(transaction.producer_id);
            }
            fetched.next_offset = header.last_offset().saturating_add(1);
            if header.is_control() {
                // Only an abort marker takes a producer off the list (KIP-98).
                if is_abort(&batch) {
                    dropping.remove(&header.producer_id);
                }
            } else if !(header.is_transactional() && dropping.contains(&header.producer_id)) {
                fetched.batches.push(batch);
            }
        }
        Ok(fetched)
    }
}

fn check_crc(batch: &BatchView) -> Result<(), BatchError> {
    /// What the checksum covers begins here.
    const CHECKED_FROM: usize = 21;
    let computed = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &batch.bytes[CHECKED_FROM..]) as u32;
    let stored = batch.header.crc;
    if stored == computed { Ok(()) } else { Err(BatchError::Checksum { stored, computed }) }
}

fn is_abort(batch: &BatchView) -> bool {
    let place = BatchPlace::of(&batch.header);
    let mut abort = false;
    let visited = for_each_record(&batch.bytes, place, &mut RecordScratch::default(), |record| {
        let control = ControlRecord::parse(record.key, record.value);
        abort = control.is_some_and(|control| control.kind == ControlKind::Abort);
        ControlFlow::Break(())
    });
    visited.is_ok() && abort
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_wire::records::{BatchBuilder, BatchOptions, control_batch, hole_batch};

    fn data(base_offset: i64, producer_id: i64, transactional: bool, values: &[&str]) -> Bytes {
        let producer_epoch = if producer_id < 0 { -1 } else { 0 };
        let base_sequence = producer_epoch.into();
        let options =
            BatchOptions { base_offset, producer_id, producer_epoch, base_sequence, transactional, ..Default::default() };
        let mut builder = BatchBuilder::new(options);
        for value in values {
            builder.push_next(5, None, Some(value.as_bytes()), &[]).unwrap();
        }
        builder.finish(None).unwrap()
    }

    fn values(batches: &[Bytes], from: i64, aborted: Option<Vec<(i64, i64)>>) -> (Vec<String>, i64) {
        let aborted = aborted.map(|aborted| {
            let one = |(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset };
            aborted.into_iter().map(one).collect()
        });
        let fetched = FetchedPartition::parse("t".into(), 0, from, 99, batches.concat().into(), aborted, true).unwrap();
        let next = fetched.next_offset;
        let records = Fetched { partitions: vec![fetched] }.records().unwrap();
        (records.into_iter().map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap()).collect(), next)
    }

    #[test]
    fn records_below_the_offset_asked_for_are_left_out() {
        let batches = [data(0, -1, false, &["a", "b", "c"]), data(3, -1, false, &["d"])];
        assert_eq!(values(&batches, 2, None), (vec!["c".into(), "d".into()], 4));
        assert_eq!(values(&batches, 3, None), (vec!["d".into()], 4));
    }

    #[test]
    fn aborted_transactions_are_left_out_until_their_marker() {
        let batches = [
            data(0, 7, true, &["aborted"]),
            data(1, 8, true, &["committed"]),
            control_batch(2, 7, 0, ControlKind::Abort, 5, 0).unwrap(),
            data(3, 7, true, &["later"]),
            control_batch(4, 7, 0, ControlKind::Commit, 5, 0).unwrap(),
            control_batch(5, 8, 0, ControlKind::Commit, 5, 0).unwrap(),
        ];
        assert_eq!(values(&batches, 0, Some(vec![(7, 0)])), (vec!["committed".into(), "later".into()], 6));
        assert_eq!(values(&batches, 0, None).0.len(), 3);
    }

    #[test]
    fn a_hole_moves_the_position_and_brings_nothing() {
        assert_eq!(values(&[hole_batch(0, 41, 5).unwrap()], 0, None), (vec![], 42));
    }

    #[test]
    fn a_damaged_batch_is_an_error() {
        let mut batch = data(0, -1, false, &["value"]).to_vec();
        let last = batch.len() - 2;
        batch[last] ^= 1;
        let parsed = FetchedPartition::parse("t".into(), 0, 0, 9, batch.into(), None, true);
        assert!(matches!(parsed, Err(ClientError::Batch { error: BatchError::Checksum { .. }, .. })));
    }
}
