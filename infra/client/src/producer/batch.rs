//! Batches: open while records come in, sealed when they are sent.

use super::delivery::Completion;
use crate::error::ClientError;
use bytes::{Bytes, BytesMut};
use crc_fast::CrcAlgorithm;
use std::sync::Arc;
use std::time::Duration;
use strandline_wire::records::{BATCH_HEADER_BYTES, BatchBuilder, BatchError, BatchHeader};

/// A producer id with its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// No producer id, as a producer has that is not idempotent.
pub(super) const ANONYMOUS: Identity = Identity { id: -1, epoch: -1 };

/// A batch that still takes records.
pub(super) struct OpenBatch {
    pub(super) builder: BatchBuilder,
    /// What its records took of the producer's buffer.
    pub(super) permits: usize,
    pub(super) created: Duration,
    pub(super) id: u64,
    pub(super) completion: Arc<Completion>,
}

/// A batch that was given its sequence.
pub(super) struct SealedBatch {
    pub(super) bytes: Bytes,
    pub(super) records: i32,
    pub(super) permits: usize,
    pub(super) created: Duration,
    pub(super) id: u64,
    pub(super) completion: Arc<Completion>,
    /// Its place among the batches of its partition, from the first.
    pub(super) order: u64,
    pub(super) identity: Identity,
    pub(super) base_sequence: i32,
    pub(super) last_error: Option<ClientError>,
}

impl OpenBatch {
    pub(super) fn seal(self, order: u64, identity: Identity, base_sequence: i32) -> Result<SealedBatch, (Unbuilt, BatchError)> {
        let records = self.builder.record_count();
        let rest = Unbuilt { permits: self.permits, id: self.id, completion: self.completion };
        let bytes = match self.builder.finish(None).and_then(|bytes| stamp(bytes, identity, base_sequence)) {
            Ok(bytes) => bytes,
            Err(error) => return Err((rest, error)),
        };
        Ok(SealedBatch {
            bytes,
            records,
            permits: rest.permits,
            created: self.created,
            id: rest.id,
            completion: rest.completion,
            order,
            identity,
            base_sequence,
            last_error: None,
        })
    }
}

/// What is left of a batch that could not be built.
pub(super) struct Unbuilt {
    pub(super) permits: usize,
    pub(super) id: u64,
    pub(super) completion: Arc<Completion>,
}

impl SealedBatch {
    /// Gives the batch another sequence, after a new epoch.
    pub(super) fn renumber(&mut self, identity: Identity, base_sequence: i32) -> Result<(), BatchError> {
        self.bytes = stamp(std::mem::take(&mut self.bytes), identity, base_sequence)?;
        self.identity = identity;
        self.base_sequence = base_sequence;
        Ok(())
    }

    /// The sequence after its last record; sequences wrap at 2^31 - 1.
    pub(super) fn next_sequence(&self) -> i32 {
        advance(self.base_sequence, self.records)
    }
}

/// The sequence `records` later.
pub(super) const fn advance(sequence: i32, records: i32) -> i32 {
    if sequence < 0 {
        return sequence;
    }
    ((sequence as i64 + records as i64) % (i32::MAX as i64 + 1)) as i32
}

/// Writes producer, epoch and sequence into a batch's header, and its checksum anew.
fn stamp(bytes: Bytes, identity: Identity, base_sequence: i32) -> Result<Bytes, BatchError> {
    if identity == ANONYMOUS {
        return Ok(bytes);
    }
    /// What the checksum covers begins here.
    const CHECKED_FROM: usize = 21;
    let mut header = BatchHeader::parse(&bytes)?;
    header.producer_id = identity.id;
    header.producer_epoch = identity.epoch;
    header.base_sequence = base_sequence;
    let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    bytes[..BATCH_HEADER_BYTES].copy_from_slice(&header.to_bytes());
    header.crc = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &bytes[CHECKED_FROM..]) as u32;
    bytes[..BATCH_HEADER_BYTES].copy_from_slice(&header.to_bytes());
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_wire::records::{BatchOptions, ValidationRules, validate_batch};

    fn open(records: i32) -> OpenBatch {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for index in 0..records {
            builder.push_next(1_000 + i64::from(index), Some(b"key"), Some(b"value"), &[]).unwrap();
        }
        OpenBatch { builder, permits: 0, created: Duration::ZERO, id: 0, completion: Default::default() }
    }

    #[test]
    fn a_sealed_and_renumbered_batch_is_valid() {
        let rules = ValidationRules::kafka_defaults(1_000);
        let mut batch = open(3).seal(0, Identity { id: 7, epoch: 1 }, 40).ok().unwrap();
        let summary = validate_batch(&batch.bytes, &rules).unwrap();
        assert_eq!((summary.producer_id, summary.producer_epoch, summary.base_sequence), (7, 1, 40));
        assert_eq!(batch.next_sequence(), 43);
        let shared = batch.bytes.clone();
        batch.renumber(Identity { id: 7, epoch: 2 }, 0).unwrap();
        let summary = validate_batch(&batch.bytes, &rules).unwrap();
        assert_eq!((summary.producer_id, summary.producer_epoch, summary.base_sequence), (7, 2, 0));
        assert_eq!(validate_batch(&shared, &rules).unwrap().base_sequence, 40);
        let anonymous = open(1).seal(0, ANONYMOUS, -1).ok().unwrap();
        assert_eq!(validate_batch(&anonymous.bytes, &rules).unwrap().producer_id, -1);
    }

    #[test]
    fn sequences_wrap() {
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 1, 3), 1);
        assert_eq!(advance(-1, 3), -1);
    }
}
