//! What a row says.

use strandline_types::{Seq, TopicPartition};

/// A row's place: the order is that of partitions, and within one of end offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// One past the last offset that the segment covers.
    pub end_offset: i64,
}

/// One partition's part of one sealed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The first offset covered; holes count as covered (I5).
    pub start_offset: i64,
    /// One past the last offset covered.
    pub end_offset: i64,
    /// The object, relative to the store's root.
    pub path: String,
    /// 0 as sealed; each rewrite (erasure, compaction) raises it. A row gives way only to a higher one.
    pub generation: u32,
    /// Bytes of the whole object.
    pub size: u64,
    /// CRC-32C of the whole object.
    pub crc32c: u32,
    /// This partition's rows in the object; fewer than the offsets covered where there are gaps.
    pub rows: u64,
    /// The position in the object of this partition's first row, from 0.
    pub first_row: u64,
    /// The row group that holds the first row, from 0.
    pub row_group: u32,
    /// The lowest timestamp, milliseconds; -1 without rows.
    pub min_timestamp_ms: i64,
    /// The highest timestamp, milliseconds; -1 without rows. Retention by time goes by it.
    pub max_timestamp_ms: i64,
    /// The first offset that has the highest timestamp; -1 without rows.
    pub max_timestamp_offset: i64,
    /// Bytes of this partition's records as their producers sent them; retention by size goes by it.
    pub sent_bytes: u64,
    /// The seq of the entry whose `Sealed` introduced the object.
    pub sealed_seq: Seq,
}

impl SealedRow {
    /// The row's place.
    pub const fn key(&self) -> RowKey {
        RowKey { topic_partition: self.topic_partition, end_offset: self.end_offset }
    }

    /// Whether the offset is covered.
    pub const fn covers(&self, offset: i64) -> bool {
        self.start_offset <= offset && offset < self.end_offset
    }
}
