//! What Kafka checks before it takes a batch in, and what ingest wants to know of it.

use super::header::{BATCH_HEADER_BYTES, CHECKED_FROM};
use super::walk::{RecordFacts, SliceSource, Source, StreamSource, WalkError, walk_record};
use super::{BatchError, BatchHeader, Compression, NO_PRODUCER_ID, NO_TIMESTAMP, RecordRule, compression};
use crc_fast::CrcAlgorithm;
use strandline_types::{TimestampType, limits};

/// The first millisecond of year 1 and the last of year 9999: what a timestamp column can show.
const TIMESTAMPS_MS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// What a topic asks of its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidationRules {
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// The time now, for the two bounds below.
    pub now_ms: i64,
    /// `message.timestamp.type`. With append times the producer's own are not checked.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// Whether every record needs a key (`cleanup.policy` has `compact`).
    pub key_required: bool,
    /// Whether the request's version allows zstd (Produce from 7).
    pub zstd_allowed: bool,
    /// The most that may come out of compressed records; never above [`limits::DECOMPRESSED_BATCH_BYTES`]. Past it the check
    /// ends with [`BatchError::Bomb`], having cost no more than that.
    pub max_decompressed_bytes: usize,
}

impl ValidationRules {
    /// Kafka's defaults for a topic.
    pub const fn kafka_defaults(now_ms: i64) -> Self {
        Self {
            max_message_bytes: 1_048_588,
            now_ms,
            timestamp_type: TimestampType::Create,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            key_required: false,
            zstd_allowed: true,
            max_decompressed_bytes: limits::DECOMPRESSED_BATCH_BYTES,
        }
    }
}

/// What a good batch says of itself, and what a walk over its records found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSummary {
    /// Bytes of the batch as it came.
    pub length: usize,
    /// Records inside.
    pub record_count: i32,
    /// `record_count` - 1.
    pub last_offset_delta: i32,
    /// The producer, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
    /// The attributes as they came.
    pub attributes: i16,
    /// What the records' timestamps count from.
    pub base_timestamp: i64,
    /// The smallest timestamp of a record; -1 counts as one.
    pub min_timestamp: i64,
    /// The largest timestamp of a record.
    pub max_timestamp: i64,
    /// The first record that has it.
    pub max_timestamp_offset_delta: i32,
    /// What the header claims as the largest. If it is another, serve the batch through [`restamp`](super::restamp), as
    /// Kafka corrects it.
    pub stated_max_timestamp: i64,
    /// The codec.
    pub compression: Compression,
    /// Bytes of the records, decompressed.
    pub decompressed_bytes: usize,
    /// Whether it is part of a transaction.
    pub transactional: bool,
}

/// Checks a batch as it came from a producer: everything Kafka checks, and that what bronze has to hold is representable.
/// It allocates nothing for a batch that is not compressed, nor for a small one in LZ4 (each thread keeps a buffer for those), and a
/// small window for others (for Snappy, its largest block), however much comes out.
///
/// # Errors
/// The first rule that is broken. [`BatchError::error_code`] is Kafka's answer.
pub fn validate_batch(batch: &[u8], rules: &ValidationRules) -> Result<BatchSummary, BatchError> {
    let header = BatchHeader::parse(batch)?;
    let expected = header.total_bytes();
    if expected != batch.len() as i64 {
        return Err(BatchError::Length { expected, actual: batch.len() });
    }
    let max = rules.max_message_bytes.min(limits::BATCH_BYTES);
    if batch.len() > max {
        return Err(BatchError::TooLarge { bytes: batch.len(), max });
    }
    let computed = checksum(&batch[CHECKED_FROM..]);
    if computed != header.crc {
        return Err(BatchError::Checksum { stored: header.crc, computed });
    }
    let compression = check_header(&header, rules)?;
    let mut found = Found::new(&header, rules);
    let records = &batch[BATCH_HEADER_BYTES..];
    let decompressed_bytes = if compression == Compression::None {
        walk_slice(records, &header, &mut found)?;
        records.len()
    } else {
        let max_bytes = rules.max_decompressed_bytes.min(limits::DECOMPRESSED_BATCH_BYTES);
        let walk = |bytes: &[u8]| walk_slice(bytes, &header, &mut found).map(|()| bytes.len());
        match compression::look(compression, records, max_bytes, walk) {
            Some(walked) => walked?,
            None => walk_stream(records, compression, max_bytes, &header, &mut found)?,
        }
    };
    Ok(BatchSummary {
        length: batch.len(),
        record_count: header.record_count,
        last_offset_delta: header.last_offset_delta,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        attributes: header.attributes,
        base_timestamp: header.base_timestamp,
        min_timestamp: found.min_timestamp,
        max_timestamp: found.max_timestamp,
        max_timestamp_offset_delta: found.max_timestamp_offset_delta,
        stated_max_timestamp: header.max_timestamp,
        compression,
        decompressed_bytes,
        transactional: header.is_transactional(),
    })
}

/// CRC-32C.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

fn check_header(header: &BatchHeader, rules: &ValidationRules) -> Result<Compression, BatchError> {
    let compression = header.compression()?;
    if compression == Compression::Zstd && !rules.zstd_allowed {
        return Err(BatchError::Codec(compression.bits()));
    }
    if header.is_control() {
        return Err(BatchError::Header("is a control batch, which only a broker may write"));
    }
    if header.timestamp_type() == TimestampType::LogAppend {
        return Err(BatchError::TimestampType);
    }
    if header.record_count <= 0 || i64::from(header.last_offset_delta) + 1 != i64::from(header.record_count) {
        return Err(BatchError::Count { stated: header.record_count, actual: i64::from(header.last_offset_delta) + 1 });
    }
    if header.producer_id < NO_PRODUCER_ID {
        return Err(BatchError::Header("has a negative producer id"));
    }
    // Clients without a producer id send what they like as its epoch and sequence.
    if header.producer_id != NO_PRODUCER_ID && (header.base_sequence < 0 || header.producer_epoch < 0) {
        return Err(BatchError::Header("has a producer id without an epoch or a sequence"));
    }
    if header.is_transactional() && header.producer_id == NO_PRODUCER_ID {
        return Err(BatchError::Header("is transactional without a producer id"));
    }
    Ok(compression)
}

fn walk_slice(records: &[u8], header: &BatchHeader, found: &mut Found) -> Result<(), BatchError> {
    let mut source = SliceSource { bytes: records, position: 0 };
    for index in 0..header.record_count {
        let at = |error| place(error, index);
        if source.position == records.len() {
            return Err(BatchError::Count { stated: header.record_count, actual: i64::from(index) });
        }
        let length = source.int().and_then(record_length).map_err(at)?;
        let start = source.position;
        source.skip(length).map_err(at)?;
        let mut record = SliceSource { bytes: &records[start..start + length], position: 0 };
        let facts = walk_record(&mut record).map_err(at)?;
        if record.position != length {
            return Err(place(RecordRule::Malformed.into(), index));
        }
        found.add(index, facts)?;
    }
    if source.position != records.len() {
        return Err(BatchError::Header("has bytes after its last record"));
    }
    Ok(())
}

/// Gives the bytes that came out.
fn walk_stream(
    records: &[u8],
    compression: Compression,
    max_bytes: usize,
    header: &BatchHeader,
    found: &mut Found,
) -> Result<usize, BatchError> {
    let mut source = StreamSource::new(compression, records, max_bytes)?;
    for index in 0..header.record_count {
        let at = |error| place(error, index);
        if source.is_at_end().map_err(at)? {
            return Err(BatchError::Count { stated: header.record_count, actual: i64::from(index) });
        }
        let length = source.int().and_then(record_length).map_err(at)?;
        let facts = source.walk(length).map_err(at)?;
        found.add(index, facts)?;
    }
    match source.is_at_end().map_err(|error| place(error, header.record_count))? {
        true => Ok(source.decompressed_bytes()),
        false => Err(BatchError::Header("has bytes after its last record")),
    }
}

fn record_length(length: i32) -> Result<usize, WalkError> {
    usize::try_from(length).map_err(|_| RecordRule::Malformed.into())
}

fn place(error: WalkError, index: i32) -> BatchError {
    match error {
        WalkError::Rule(rule) => BatchError::Record { index, rule },
        WalkError::Batch(error) => error,
    }
}

/// What the walk found so far.
struct Found<'a> {
    rules: &'a ValidationRules,
    base_timestamp: i64,
    min_timestamp: i64,
    max_timestamp: i64,
    max_timestamp_offset_delta: i32,
}

impl<'a> Found<'a> {
    fn new(header: &BatchHeader, rules: &'a ValidationRules) -> Self {
        Self {
            rules,
            base_timestamp: header.base_timestamp,
            min_timestamp: i64::MAX,
            max_timestamp: i64::MIN,
            max_timestamp_offset_delta: 0,
        }
    }

    #[inline(always)]
    fn add(&mut self, index: i32, facts: RecordFacts) -> Result<(), BatchError> {
        if facts.offset_delta != index {
            return Err(BatchError::Record { index, rule: RecordRule::Offset });
        }
        if self.rules.key_required && !facts.has_key {
            return Err(BatchError::Record { index, rule: RecordRule::Key });
        }
        let timestamp = self.base_timestamp.wrapping_add(facts.timestamp_delta);
        if self.rules.timestamp_type == TimestampType::Create && timestamp != NO_TIMESTAMP {
            let overflow = self.base_timestamp.checked_add(facts.timestamp_delta).is_none();
            let age = self.rules.now_ms.saturating_sub(timestamp);
            if overflow
                || !TIMESTAMPS_MS.contains(&timestamp)
                || age > self.rules.timestamp_before_max_ms
                || age.saturating_neg() > self.rules.timestamp_after_max_ms
            {
                return Err(BatchError::Timestamp { index, timestamp_ms: timestamp });
            }
        }
        self.min_timestamp = self.min_timestamp.min(timestamp);
        if timestamp > self.max_timestamp {
            self.max_timestamp = timestamp;
            self.max_timestamp_offset_delta = index;
        }
        Ok(())
    }
}
