//! The 61 bytes that a batch begins with.

use super::{BatchError, Compression};
use strandline_types::TimestampType;

/// Bytes of a batch's header.
pub const BATCH_HEADER_BYTES: usize = 61;
/// The format that is spoken.
pub const MAGIC: i8 = 2;
/// No producer id.
pub const NO_PRODUCER_ID: i64 = -1;
/// No producer epoch, or no leader epoch.
pub const NO_EPOCH: i16 = -1;
/// No sequence.
pub const NO_SEQUENCE: i32 = -1;
/// No timestamp.
pub const NO_TIMESTAMP: i64 = -1;

/// Bytes before those that `batch_length` counts.
pub(super) const LENGTH_OVERHEAD: usize = 12;
/// Where the bytes begin that the checksum covers.
pub(super) const CHECKED_FROM: usize = 21;

pub(super) const TIMESTAMP_TYPE_BIT: i16 = 0x08;
pub(super) const TRANSACTIONAL_BIT: i16 = 0x10;
pub(super) const CONTROL_BIT: i16 = 0x20;

/// A batch's header, all fields of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (what a producer sends here means nothing).
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Served as -1 always.
    pub partition_leader_epoch: i32,
    /// The format: 2.
    pub magic: i8,
    /// CRC-32C of everything after it.
    pub crc: u32,
    /// Compression, timestamp type, transactional, control.
    pub attributes: i16,
    /// Offsets that the batch covers, less one.
    pub last_offset_delta: i32,
    /// What the records' timestamps count from.
    pub base_timestamp: i64,
    /// The largest timestamp, or the append time.
    pub max_timestamp: i64,
    /// The producer, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
    /// Records inside.
    pub record_count: i32,
}

fn array<const N: usize>(bytes: &[u8; BATCH_HEADER_BYTES], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

impl BatchHeader {
    /// Reads the header of the batch that `records` begin with, and how many bytes the batch takes, all of which are there.
    ///
    /// # Errors
    /// Another format, or a length that does not fit: also a batch that is cut off.
    pub fn parse_whole(records: &[u8]) -> Result<(Self, usize), BatchError> {
        let header = Self::parse(records)?;
        let expected = header.total_bytes();
        match usize::try_from(expected) {
            Ok(bytes) if (BATCH_HEADER_BYTES..=records.len()).contains(&bytes) => Ok((header, bytes)),
            _ => Err(BatchError::Length { expected: expected.max(BATCH_HEADER_BYTES as i64), actual: records.len() }),
        }
    }

    /// Reads the header at the start of `batch`. Nothing is checked but the format and that the header is there.
    ///
    /// # Errors
    /// Too few bytes, or another format.
    pub fn parse(batch: &[u8]) -> Result<Self, BatchError> {
        if let Some(&magic) = batch.get(16)
            && magic as i8 != MAGIC
        {
            return Err(BatchError::Magic(magic as i8));
        }
        let Some(bytes) = batch.first_chunk::<BATCH_HEADER_BYTES>() else {
            return Err(BatchError::Length { expected: BATCH_HEADER_BYTES as i64, actual: batch.len() });
        };
        Ok(Self {
            base_offset: i64::from_be_bytes(array(bytes, 0)),
            batch_length: i32::from_be_bytes(array(bytes, 8)),
            partition_leader_epoch: i32::from_be_bytes(array(bytes, 12)),
            magic: bytes[16] as i8,
            crc: u32::from_be_bytes(array(bytes, 17)),
            attributes: i16::from_be_bytes(array(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(array(bytes, 23)),
            base_timestamp: i64::from_be_bytes(array(bytes, 27)),
            max_timestamp: i64::from_be_bytes(array(bytes, 35)),
            producer_id: i64::from_be_bytes(array(bytes, 43)),
            producer_epoch: i16::from_be_bytes(array(bytes, 51)),
            base_sequence: i32::from_be_bytes(array(bytes, 53)),
            record_count: i32::from_be_bytes(array(bytes, 57)),
        })
    }

    /// The header's bytes, fields as they stand: no checksum is computed.
    pub fn to_bytes(&self) -> [u8; BATCH_HEADER_BYTES] {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        bytes[16] = self.magic as u8;
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..].copy_from_slice(&self.record_count.to_be_bytes());
        bytes
    }

    /// Bytes of the whole batch as its header has it; negative for a lying header.
    pub const fn total_bytes(&self) -> i64 {
        self.batch_length as i64 + LENGTH_OVERHEAD as i64
    }

    /// The last offset that the batch covers.
    pub const fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.last_offset_delta as i64)
    }

    /// The codec of the records.
    ///
    /// # Errors
    /// A codec that Kafka does not have.
    pub const fn compression(&self) -> Result<Compression, BatchError> {
        Compression::from_attributes(self.attributes)
    }

    /// Whose times the records carry.
    pub const fn timestamp_type(&self) -> TimestampType {
        if self.attributes & TIMESTAMP_TYPE_BIT == 0 { TimestampType::Create } else { TimestampType::LogAppend }
    }

    /// Whether the batch is part of a transaction.
    pub const fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch is a marker and not data.
    pub const fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }
}
