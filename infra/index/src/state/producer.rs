//! Idempotent producers.

use std::collections::{BTreeSet, VecDeque};
use strandline_types::{Seq, TopicPartition};

/// One producer id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// The highest epoch seen; the next one that it is given is higher. Each partition fences by what it has seen itself.
    pub epoch: i32,
    /// The seq of its last activity.
    pub last_active: Seq,
    /// `now` at that seq.
    pub last_active_ms: i64,
    /// Partitions that remember batches of it.
    pub partitions: BTreeSet<TopicPartition>,
}

/// What one partition remembers of one producer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProducerPartition {
    /// The epoch of those batches.
    pub epoch: i32,
    /// The last five batches, oldest first.
    pub batches: VecDeque<RecentBatch>,
}

/// One remembered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentBatch {
    /// Its first sequence.
    pub first_sequence: i32,
    /// Its last sequence.
    pub last_sequence: i32,
    /// Its first offset.
    pub base_offset: i64,
    /// Its entry's time, for LogAppendTime.
    pub append_time_ms: i64,
}
