//! Why a batch is refused, and what the client is told.

use crate::ErrorCode;
use thiserror::Error;

/// A batch that is refused. The same bytes are refused again, whatever the code says about retries.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    /// Fewer bytes than the header says, or than a header has.
    #[error("the batch has {actual} bytes where {expected} are needed")]
    Length {
        /// Bytes needed.
        expected: i64,
        /// Bytes there.
        actual: usize,
    },
    /// A format other than 2.
    #[error("the batch has format {0}; only 2 is accepted")]
    Magic(i8),
    /// The checksum does not match.
    #[error("the batch's checksum is {computed:#010x}, its header says {stored:#010x}")]
    Checksum {
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// Larger than the topic allows.
    #[error("the batch has {bytes} bytes, {max} are allowed (max.message.bytes)")]
    TooLarge {
        /// Bytes of the batch.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Compressed data that does not decompress.
    #[error("the batch's {0} data is damaged")]
    Compression(&'static str),
    /// More data after decompression than is allowed.
    #[error("the batch has more than {max} bytes after decompression")]
    Bomb {
        /// Bytes allowed.
        max: usize,
    },
    /// A codec that is not known, or not allowed in the version of the request.
    #[error("the batch's compression {0} is not supported here")]
    Codec(i16),
    /// A header that contradicts itself or is not allowed from a client.
    #[error("the batch {0}")]
    Header(&'static str),
    /// The count in the header is not the number of records inside, or does not fit the offsets.
    #[error("the batch says {stated} records and has {actual}")]
    Count {
        /// What the header says.
        stated: i32,
        /// What is inside, as far as was read.
        actual: i64,
    },
    /// A record that breaks a rule.
    #[error("record {index}: {rule}")]
    Record {
        /// Its place in the batch, from 0.
        index: i32,
        /// What is wrong.
        rule: RecordRule,
    },
    /// A timestamp out of bounds.
    #[error("record {index}: timestamp {timestamp_ms} is outside of what the topic allows")]
    Timestamp {
        /// Its place in the batch, from 0.
        index: i32,
        /// The timestamp, if it can be represented.
        timestamp_ms: i64,
    },
    /// A batch that says that it carries append times.
    #[error("the batch says that its timestamps are append times, which only a broker may")]
    TimestampType,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordRule {
    /// It ends too early, is longer than it says, or has a malformed number.
    #[error("malformed")]
    Malformed,
    /// Its offset does not follow the one before.
    #[error("its offset is not the next one")]
    Offset,
    /// The topic is compacted, and it has no key.
    #[error("it has no key, which a compacted topic requires")]
    Key,
    /// A header's key is not UTF-8.
    #[error("a header's key is not UTF-8")]
    HeaderKey,
    /// More headers than are held in memory together.
    #[error("it has more than {max} headers")]
    Headers {
        /// Headers allowed.
        max: usize,
    },
}

impl BatchError {
    /// What Kafka answers.
    pub const fn error_code(&self) -> ErrorCode {
        match self {
            Self::Length { .. } | Self::Checksum { .. } | Self::Compression(_) => ErrorCode::CorruptMessage,
            // Not CORRUPT_MESSAGE, which clients try again with the same bytes. Java's producer splits what is too large.
            Self::TooLarge { .. } | Self::Bomb { .. } => ErrorCode::MessageTooLarge,
            Self::Codec(_) => ErrorCode::UnsupportedCompressionType,
            Self::Magic(_) | Self::Header(_) | Self::Count { .. } | Self::Record { .. } => ErrorCode::InvalidRecord,
            Self::Timestamp { .. } | Self::TimestampType => ErrorCode::InvalidTimestamp,
        }
    }

    /// The record that is to blame, for the `record_errors` of a Produce answer.
    pub const fn record_index(&self) -> Option<i32> {
        match self {
            Self::Record { index, .. } | Self::Timestamp { index, .. } => Some(*index),
            _ => None,
        }
    }
}
