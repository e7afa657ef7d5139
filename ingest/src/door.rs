//! The checks of one batch, before it touches anything.

use crate::failure::Failure;
use crate::resolve::Resolved;
use bytes::{Bytes, BytesMut};
use std::cmp::Ordering;
use strandline_commands::Batch;
use strandline_types::{TimestampType, TopicPartition, limits};
use strandline_wire::ErrorCode;
use strandline_wire::records::{BatchHeader, BatchSummary, ValidationRules, restamp, validate_batch};

/// From this version on zstd is allowed (KIP-110).
const ZSTD_SINCE: i16 = 7;

/// Where in the answer a partition stands: topic and partition, counted from 0.
pub(crate) type Place = (usize, usize);

/// A batch that may be committed.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) place: Place,
    pub(crate) partition: TopicPartition,
    pub(crate) topic: Resolved,
    pub(crate) batch: Batch,
    pub(crate) bytes: Bytes,
    pub(crate) records: u64,
}

impl Taken {
    pub(crate) fn log_append_time(&self) -> bool {
        self.topic.config.timestamp_type == TimestampType::LogAppend
    }
}

pub(crate) fn rules(topic: &Resolved, version: i16, now_ms: i64) -> ValidationRules {
    let config = &topic.config;
    ValidationRules {
        max_message_bytes: config.max_message_bytes,
        now_ms,
        timestamp_type: config.timestamp_type,
        timestamp_before_max_ms: config.timestamp_before_max_ms,
        timestamp_after_max_ms: config.timestamp_after_max_ms,
        key_required: config.cleanup.compact,
        zstd_allowed: version >= ZSTD_SINCE,
    }
}

/// Checks what a request carries for one partition: exactly one batch, and a good one.
pub(crate) fn check(
    topic: &Resolved,
    rules: &ValidationRules,
    place: Place,
    partition: i32,
    records: Option<Bytes>,
) -> Result<Taken, Failure> {
    let bytes = records.filter(|bytes| !bytes.is_empty());
    let bytes = bytes.ok_or_else(|| {
        Failure::new(ErrorCode::InvalidRecord, "a Produce request carries exactly one batch per partition, here is none")
    })?;
    exactly_one(&bytes)?;
    let summary = validate_batch(&bytes, rules).map_err(|error| Failure::of_batch(&error))?;
    if summary.transactional {
        return Err(Failure::new(ErrorCode::InvalidRequest, "transactions are not supported: unset transactional.id"));
    }
    let batch = command(&summary, rules.timestamp_type)?;
    let bytes = match rules.timestamp_type {
        TimestampType::Create if summary.max_timestamp != summary.stated_max_timestamp => corrected(&bytes, &summary)?,
        _ => bytes,
    };
    Ok(Taken {
        place,
        partition: TopicPartition { topic_id: topic.id, partition },
        topic: *topic,
        batch,
        bytes,
        records: u64::try_from(summary.record_count).unwrap_or(0),
    })
}

/// In Kafka's order: a length that no batch has is corrupt; what is cut off is no batch, and so not 'exactly one'.
fn exactly_one(bytes: &Bytes) -> Result<(), Failure> {
    const LEAST_LENGTH: i32 = 14;
    let not_one = |message| Err(Failure::new(ErrorCode::InvalidRecord, message));
    let Some(length) = bytes.get(8..12).and_then(|length| length.try_into().ok()).map(i32::from_be_bytes) else {
        return not_one("a Produce request carries exactly one batch per partition, this one is cut off");
    };
    if length < LEAST_LENGTH {
        return Err(Failure::new(ErrorCode::CorruptMessage, "the batch states a length that no batch has"));
    }
    match (bytes.len() as i64).cmp(&(i64::from(length) + 12)) {
        Ordering::Less => not_one("a Produce request carries exactly one batch per partition, this one is cut off"),
        Ordering::Equal => Ok(()),
        Ordering::Greater => not_one("a Produce request carries exactly one batch per partition, here are more"),
    }
}

fn command(summary: &BatchSummary, timestamp_type: TimestampType) -> Result<Batch, Failure> {
    let malformed = |_| Failure::new(ErrorCode::InvalidRecord, "the batch's counts are out of range");
    // With append times the producer's own are not checked: nothing may depend on them.
    let (max_timestamp_ms, max_timestamp_delta, min_timestamp_ms) = match timestamp_type {
        TimestampType::Create => (summary.max_timestamp, summary.max_timestamp_offset_delta, summary.min_timestamp),
        TimestampType::LogAppend => (-1, 0, -1),
    };
    Ok(Batch {
        length: u32::try_from(summary.length).map_err(malformed)?,
        last_offset_delta: u32::try_from(summary.last_offset_delta).map_err(malformed)?,
        producer_id: summary.producer_id,
        producer_epoch: i32::from(summary.producer_epoch),
        base_sequence: summary.base_sequence,
        attributes: u32::from(summary.attributes as u16),
        max_timestamp_ms,
        max_timestamp_delta: u32::try_from(max_timestamp_delta).map_err(malformed)?,
        min_timestamp_ms,
    })
}

/// A header that names a wrong largest timestamp gets the right one, as Kafka corrects it. Rare enough for a copy.
fn corrected(bytes: &Bytes, summary: &BatchSummary) -> Result<Bytes, Failure> {
    let base_offset = BatchHeader::parse(bytes).map_err(|error| Failure::of_batch(&error))?.base_offset;
    let chunks =
        restamp(bytes, base_offset, TimestampType::Create, summary.max_timestamp).map_err(|error| Failure::of_batch(&error))?;
    let mut whole = BytesMut::with_capacity(bytes.len().min(limits::BATCH_BYTES));
    for chunk in chunks {
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_lies_about_its_length_gets_kafkas_code() {
        let of_length = |length: i32, bytes: usize| {
            let mut batch = vec![0; bytes];
            batch[8..12].copy_from_slice(&length.to_be_bytes());
            exactly_one(&Bytes::from(batch)).map_err(|failure| failure.code)
        };
        assert_eq!(of_length(60, 72), Ok(()));
        assert_eq!(of_length(60, 71), Err(ErrorCode::InvalidRecord));
        assert_eq!(of_length(60, 73), Err(ErrorCode::InvalidRecord));
        assert_eq!(of_length(-5, 72), Err(ErrorCode::CorruptMessage));
        assert_eq!(of_length(13, 25), Err(ErrorCode::CorruptMessage));
        assert_eq!(exactly_one(&Bytes::from_static(&[0; 11])).map_err(|failure| failure.code), Err(ErrorCode::InvalidRecord));
    }
}
