//! The checks of one batch, before it touches anything.

use crate::failure::Failure;
use crate::resolve::Resolved;
use bytes::{Bytes, BytesMut};
use std::cmp::Ordering;
use strandline_commands::Batch;
use strandline_topic_config::{CompressionType, TopicConfig};
use strandline_types::{TimestampType, TopicPartition, limits};
use strandline_wire::ErrorCode;
use strandline_wire::records::{
    BATCH_HEADER_BYTES, BatchError, BatchHeader, BatchSummary, Compression, ValidationRules, is_within, recompress, restamp,
    validate_batch,
};

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
    /// Of its records as they came, decompressed.
    pub(crate) decompressed_bytes: usize,
    /// Its bytes are a slice of the request's frame, and keep all of it in memory.
    pub(crate) is_slice: bool,
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
        max_decompressed_bytes: limits::DECOMPRESSED_BATCH_BYTES,
    }
}

/// Why a batch does not get past the door.
#[derive(Debug)]
pub(crate) enum Refused {
    /// More came out of it than the rules allow; nothing else is known of it.
    Bomb {
        /// What was allowed.
        max: usize,
    },
    /// It is bad.
    Bad(Failure),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Bad(failure)
    }
}

impl From<BatchError> for Refused {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Bomb { max } => Self::Bomb { max },
            error => Self::Bad(Failure::of_batch(&error)),
        }
    }
}

/// One partition's part of a request.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    pub(crate) place: Place,
    pub(crate) topic: Resolved,
    pub(crate) partition: i32,
    pub(crate) bytes: Bytes,
}

impl Offered {
    /// What came for a partition: exactly one batch.
    pub(crate) fn new(place: Place, topic: Resolved, partition: i32, records: Option<Bytes>) -> Result<Self, Failure> {
        let bytes = records.filter(|bytes| !bytes.is_empty());
        let bytes = bytes.ok_or_else(|| {
            Failure::new(ErrorCode::InvalidRecord, "a Produce request carries exactly one batch per partition, here is none")
        })?;
        exactly_one(&bytes)?;
        Ok(Self { place, topic, partition, bytes })
    }

    /// The codec that its header states, if it is one.
    pub(crate) fn codec(&self) -> Option<Compression> {
        BatchHeader::parse(&self.bytes).and_then(|header| header.compression()).ok()
    }

    /// Whether its frame, of the codec that its header states, says that no more than so many bytes come out of it.
    pub(crate) fn is_within(&self, codec: Compression, max_bytes: usize) -> bool {
        is_within(codec, self.bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default(), max_bytes)
    }

    /// Checks the batch; where its topic asks for another codec, the batch that is taken has that one.
    pub(crate) fn check(self, rules: &ValidationRules) -> Result<Taken, Refused> {
        let Self { place, topic, partition, bytes } = self;
        let summary = validate_batch(&bytes, rules)?;
        if summary.transactional {
            let message = "transactions are not supported: unset transactional.id";
            return Err(Failure::new(ErrorCode::InvalidRequest, message).into());
        }
        let mut batch = command(&summary, rules.timestamp_type)?;
        let came_at = bytes.as_ptr();
        let mut bytes = match rules.timestamp_type {
            TimestampType::Create if summary.max_timestamp != summary.stated_max_timestamp => corrected(&bytes, &summary)?,
            _ => bytes,
        };
        if let Some((codec, level)) = asked_codec(&topic.config, summary.compression) {
            bytes = recompress(&bytes, codec, level, summary.decompressed_bytes)?;
            let max = rules.max_message_bytes.min(limits::BATCH_BYTES);
            if bytes.len() > max {
                return Err(BatchError::TooLarge { bytes: bytes.len(), max }.into());
            }
            let header = BatchHeader::parse(&bytes)?;
            (batch.length, batch.attributes) = (length(bytes.len())?, u32::from(header.attributes as u16));
        }
        Ok(Taken {
            place,
            partition: TopicPartition { topic_id: topic.id, partition },
            topic,
            batch,
            is_slice: bytes.as_ptr() == came_at,
            bytes,
            records: u64::try_from(summary.record_count).unwrap_or(0),
            decompressed_bytes: summary.decompressed_bytes,
        })
    }
}

/// The codec and level that a batch has to be given, if it came with another codec. As in Kafka the level alone changes nothing.
pub(crate) fn asked_codec(config: &TopicConfig, came_with: Compression) -> Option<(Compression, Option<i32>)> {
    let asked = match config.compression {
        CompressionType::Producer => return None,
        CompressionType::Uncompressed => (Compression::None, None),
        CompressionType::Gzip => (Compression::Gzip, Some(config.gzip_level)),
        CompressionType::Snappy => (Compression::Snappy, None),
        CompressionType::Lz4 => (Compression::Lz4, None),
        CompressionType::Zstd => (Compression::Zstd, Some(config.zstd_level)),
    };
    (asked.0 != came_with).then_some(asked)
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

fn malformed(_: std::num::TryFromIntError) -> Failure {
    Failure::new(ErrorCode::InvalidRecord, "the batch's counts are out of range")
}

fn length(bytes: usize) -> Result<u32, Failure> {
    u32::try_from(bytes).map_err(malformed)
}

fn command(summary: &BatchSummary, timestamp_type: TimestampType) -> Result<Batch, Failure> {
    // With append times the producer's own are not checked: nothing may depend on them.
    let (max_timestamp_ms, max_timestamp_delta, min_timestamp_ms) = match timestamp_type {
        TimestampType::Create => (summary.max_timestamp, summary.max_timestamp_offset_delta, summary.min_timestamp),
        TimestampType::LogAppend => (-1, 0, -1),
    };
    Ok(Batch {
        length: length(summary.length)?,
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
