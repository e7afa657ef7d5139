//! One partition: which of extents, fresh segments and sealed segments answers for each offset (I5).

use super::ProducerPartition;
use std::collections::{BTreeMap, VecDeque};
use strandline_types::{ObjectName, ProducerId, Seq};

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkerKind {
    /// Its records count.
    Commit,
    /// They do not.
    Abort,
}

/// Where an extent's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentPlace {
    /// In an entry of the commit log.
    Inline {
        /// The entry.
        seq: Seq,
        /// Where in its payload.
        position: u64,
    },
    /// In a WAL segment.
    Object {
        /// Its name under `wal/`.
        name: ObjectName,
        /// Where in it.
        position: u64,
    },
    /// A transaction's end; no bytes, the reader makes the control batch.
    Marker {
        /// Whose.
        producer_id: ProducerId,
        /// Its epoch.
        producer_epoch: i32,
        /// How it ended.
        kind: MarkerKind,
    },
    /// Nothing is there and never will be; the reader makes a control batch.
    Hole,
}

/// A run of batches (or one marker, or a hole) of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First offset.
    pub start: i64,
    /// First offset after it. The batches' own offsets follow from `last_offset_delta` of each, in order.
    pub end: i64,
    /// Where the bytes are.
    pub place: ExtentPlace,
    /// How many; 0 for markers and holes.
    pub length: u64,
    /// `now` of its entry: `ingest_timestamp`, and LogAppendTime where the topic had that when it was written.
    pub ingest_ms: i64,
    /// The topic had `message.timestamp.type=LogAppendTime`.
    pub log_append_time: bool,
    /// The largest timestamp (before LogAppendTime); -1 for none.
    pub max_timestamp_ms: i64,
    /// The first offset with it.
    pub max_timestamp_offset: i64,
}

impl Extent {
    /// The largest timestamp as consumers see it.
    pub fn visible_max_timestamp_ms(&self) -> i64 {
        if self.log_append_time && self.length > 0 { self.ingest_ms } else { self.max_timestamp_ms }
    }

    /// The first offset with the largest timestamp as consumers see it.
    pub fn visible_max_timestamp_offset(&self) -> i64 {
        if self.log_append_time { self.start } else { self.max_timestamp_offset }
    }
}

/// What a fresh segment covers of this partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshRange {
    /// First offset covered.
    pub start: i64,
    /// First offset not covered.
    pub end: i64,
    /// Which fresh segment of the topic.
    pub segment: ObjectName,
    /// The largest timestamp; -1 for none.
    pub max_timestamp_ms: i64,
    /// The first offset with it; -1 for none.
    pub max_timestamp_offset: i64,
}

/// An aborted transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: ProducerId,
    /// Its first offset.
    pub first_offset: i64,
    /// Its marker's offset.
    pub last_offset: i64,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Partition {
    /// The high watermark: the next offset to give out.
    pub next_offset: i64,
    /// The first offset that can be read; moves only by command.
    pub log_start: i64,
    /// Below it, and from the log start on, Parquet is the truth; from it on, extents are.
    pub frontier: i64,
    /// Below it sealed segments are the truth (an open plan that says so, else the segment index); from it to the
    /// frontier, fresh ones.
    pub sealed_end: i64,
    /// From the frontier to the next offset, without a gap.
    pub extents: VecDeque<Extent>,
    /// Extents below it are pinned: an open plan seals them as they are. It is an extent's end.
    pub planned_end: Option<i64>,
    /// From `sealed_end` to the frontier, without a gap.
    pub fresh: VecDeque<FreshRange>,
    /// Recent batches of idempotent producers.
    pub producers: BTreeMap<ProducerId, ProducerPartition>,
    /// Aborted transactions that overlap what extents hold, oldest first.
    pub aborted: VecDeque<AbortedTransaction>,
    /// First offsets of open transactions, with their producers.
    pub open_transactions: BTreeMap<i64, ProducerId>,
}

impl Partition {
    /// The first offset that may still turn out aborted; `read_committed` stops here.
    pub fn last_stable_offset(&self) -> i64 {
        self.open_transactions.keys().next().copied().unwrap_or(self.next_offset)
    }

    /// The position in `extents` of the extent that holds `offset`.
    pub fn extent_at(&self, offset: i64) -> Option<usize> {
        let at = self.extents.partition_point(|extent| extent.end <= offset);
        (self.extents.get(at)?.start <= offset).then_some(at)
    }

    /// Whether this very extent is one of its extents: the same offsets, at the same place.
    pub fn has_extent(&self, extent: &Extent) -> bool {
        self.extent_at(extent.start).and_then(|at| self.extents.get(at)) == Some(extent)
    }

    /// The fresh range that covers `offset`.
    pub fn fresh_at(&self, offset: i64) -> Option<&FreshRange> {
        let at = self.fresh.partition_point(|range| range.end <= offset);
        self.fresh.get(at).filter(|range| range.start <= offset)
    }
}
