//! Batches of our own: what the reader rebuilds from bronze, and what our client sends.

use super::header::{BATCH_HEADER_BYTES, CHECKED_FROM, CONTROL_BIT, LENGTH_OVERHEAD, TIMESTAMP_TYPE_BIT, TRANSACTIONAL_BIT};
use super::validate::checksum;
use super::varint::{long_bytes, write_long};
use super::{BatchError, BatchHeader, Compression, MAGIC, NO_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, compression};
use bytes::Bytes;
use strandline_types::{HeaderRef, RecordRef, TimestampType, limits};

/// What a batch says beside its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    /// The first offset that the batch covers; 0 for a producer.
    pub base_offset: i64,
    /// The codec.
    pub compression: Compression,
    /// Whose times the records carry. With append times, all carry the largest.
    pub timestamp_type: TimestampType,
    /// The producer, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
    /// Whether it is part of a transaction.
    pub transactional: bool,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            base_offset: 0,
            compression: Compression::None,
            timestamp_type: TimestampType::Create,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_EPOCH,
            base_sequence: NO_SEQUENCE,
            transactional: false,
        }
    }
}

/// Builds one batch, record by record. Gaps between offsets are allowed.
#[derive(Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    control: bool,
    /// From `start` on room for the header, then the records. Before it whatever was there.
    buffer: Vec<u8>,
    start: usize,
    record_count: i32,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new(options: BatchOptions) -> Self {
        Self::with_capacity(options, 0)
    }

    /// An empty batch with room for `bytes`.
    pub fn with_capacity(options: BatchOptions, bytes: usize) -> Self {
        Self::behind(Vec::with_capacity(bytes.max(BATCH_HEADER_BYTES)), options)
    }

    /// An empty batch behind what the buffer holds, which [`finish_behind`](Self::finish_behind) gives back: batches that follow each
    /// other are built where they are to lie.
    pub fn behind(mut buffer: Vec<u8>, options: BatchOptions) -> Self {
        let start = buffer.len();
        buffer.resize(start + BATCH_HEADER_BYTES, 0);
        Self {
            options,
            control: false,
            buffer,
            start,
            record_count: 0,
            last_offset_delta: -1,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
        }
    }

    pub(super) fn control(options: BatchOptions) -> Self {
        Self { control: true, ..Self::new(options) }
    }

    /// Records so far.
    pub const fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Bytes of the batch so far, before compression.
    pub fn bytes(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Bytes that this record would add, at most 20 too many: what to ask before a bound is passed.
    pub fn record_bytes(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[HeaderRef<'_>]) -> usize {
        RECORD_OVERHEAD_BYTES + body_bytes(key, value, headers)
    }

    /// Adds a record with its own offset. Its timestamp type is the batch's.
    ///
    /// # Errors
    /// An offset that is below one added before or more than 2^31 - 1 above the base, or a batch above the bound.
    pub fn push(&mut self, record: &RecordRef<'_>) -> Result<(), BatchError> {
        let delta = record.offset.checked_sub(self.options.base_offset).and_then(|delta| i32::try_from(delta).ok());
        match delta {
            Some(delta) if delta > self.last_offset_delta => {
                self.append(delta, record.timestamp_ms, record.key, record.value, record.headers)
            }
            _ => Err(BatchError::Record { index: self.record_count, rule: super::RecordRule::Offset }),
        }
    }

    /// Adds a record at the next offset.
    ///
    /// # Errors
    /// A batch above the bound.
    pub fn push_next(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef<'_>],
    ) -> Result<(), BatchError> {
        match self.last_offset_delta.checked_add(1) {
            Some(delta) => self.append(delta, timestamp_ms, key, value, headers),
            None => Err(BatchError::Record { index: self.record_count, rule: super::RecordRule::Offset }),
        }
    }

    fn append(
        &mut self,
        offset_delta: i32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef<'_>],
    ) -> Result<(), BatchError> {
        // Whatever batch the door takes in has to fit when it is rebuilt: a record's numbers may take a few bytes more then.
        let bytes = self.bytes() - BATCH_HEADER_BYTES + body_bytes(key, value, headers);
        if bytes > limits::DECOMPRESSED_BATCH_BYTES {
            return Err(BatchError::TooLarge { bytes, max: limits::DECOMPRESSED_BATCH_BYTES });
        }
        if self.record_count == 0 {
            self.base_timestamp = timestamp_ms;
            self.max_timestamp = timestamp_ms;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        self.last_offset_delta = offset_delta;
        self.record_count += 1;
        let timestamp_delta = match self.options.timestamp_type {
            TimestampType::Create => timestamp_ms.wrapping_sub(self.base_timestamp),
            TimestampType::LogAppend => 0,
        };
        let length = 1 + long_bytes(timestamp_delta) + long_bytes(i64::from(offset_delta)) + body_bytes(key, value, headers);
        let buffer = &mut self.buffer;
        write_long(buffer, length as i64);
        buffer.push(0);
        write_long(buffer, timestamp_delta);
        write_long(buffer, i64::from(offset_delta));
        write_bytes(buffer, key);
        write_bytes(buffer, value);
        write_long(buffer, headers.len() as i64);
        for header in headers {
            write_bytes(buffer, Some(header.key.as_bytes()));
            write_bytes(buffer, header.value);
        }
        Ok(())
    }

    /// The batch. `last_offset` may lie behind the last record, so that the batch covers a hole.
    ///
    /// # Errors
    /// No records, a last offset that does not fit, or a codec that fails.
    pub fn finish(self, last_offset: Option<i64>) -> Result<Bytes, BatchError> {
        self.finish_behind(last_offset).map(Bytes::from)
    }

    /// The same, behind what was in the buffer.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_behind(self, last_offset: Option<i64>) -> Result<Vec<u8>, BatchError> {
        if self.record_count == 0 {
            return Err(BatchError::Count { stated: 0, actual: 0 });
        }
        let last_offset_delta = match last_offset {
            None => self.last_offset_delta,
            Some(last) => match last.checked_sub(self.options.base_offset).and_then(|delta| i32::try_from(delta).ok()) {
                Some(delta) if delta >= self.last_offset_delta => delta,
                _ => return Err(BatchError::Header("would end before its last record, or covers too many offsets")),
            },
        };
        let (mut buffer, start) = (self.buffer, self.start);
        if self.options.compression != Compression::None {
            let mut compressed = Vec::with_capacity(start + BATCH_HEADER_BYTES + (buffer.len() - start) / 2);
            compressed.extend_from_slice(&buffer[..start + BATCH_HEADER_BYTES]);
            compression::compress(self.options.compression, None, &buffer[start + BATCH_HEADER_BYTES..], &mut compressed)?;
            buffer = compressed;
        }
        let batch = &mut buffer[start..];
        let mut attributes = self.options.compression.bits();
        if self.options.timestamp_type == TimestampType::LogAppend {
            attributes |= TIMESTAMP_TYPE_BIT;
        }
        if self.options.transactional {
            attributes |= TRANSACTIONAL_BIT;
        }
        if self.control {
            attributes |= CONTROL_BIT;
        }
        let mut header = BatchHeader {
            base_offset: self.options.base_offset,
            batch_length: (batch.len() - LENGTH_OVERHEAD) as i32,
            partition_leader_epoch: -1,
            magic: MAGIC,
            crc: 0,
            attributes,
            last_offset_delta,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: self.options.producer_id,
            producer_epoch: self.options.producer_epoch,
            base_sequence: self.options.base_sequence,
            record_count: self.record_count,
        };
        batch[..BATCH_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        header.crc = checksum(&batch[CHECKED_FROM..]);
        batch[..BATCH_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        Ok(buffer)
    }
}

/// Length (5), attributes (1), timestamp delta (10) and offset delta (5) at most.
const RECORD_OVERHEAD_BYTES: usize = 21;

fn body_bytes(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[HeaderRef<'_>]) -> usize {
    let headers_bytes: usize =
        headers.iter().map(|header| nullable_bytes(Some(header.key.as_bytes())) + nullable_bytes(header.value)).sum();
    nullable_bytes(key) + nullable_bytes(value) + long_bytes(headers.len() as i64) + headers_bytes
}

fn nullable_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| long_bytes(bytes.len() as i64) + bytes.len())
}

fn write_bytes(buffer: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => write_long(buffer, -1),
        Some(bytes) => {
            write_long(buffer, bytes.len() as i64);
            buffer.extend_from_slice(bytes);
        }
    }
}
