//! Which source answers for an offset: pure, from the index's view (I5).

use strandline_commands::{FileRange, NewFile};
use strandline_index::{AbortedTransaction, Extent, FreshRange, Index, Partition, Topic};
use strandline_types::{TopicPartition, limits};

/// What a consumer may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset, with the list of aborted transactions.
    ReadCommitted,
}

impl Isolation {
    /// From the wire: 1 is `read_committed`.
    pub(crate) fn from_wire(level: i8) -> Self {
        if level == 1 { Self::ReadCommitted } else { Self::ReadUncommitted }
    }
}

/// The ends of a partition, all from one view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watermarks {
    pub(crate) high_watermark: i64,
    pub(crate) last_stable_offset: i64,
    pub(crate) log_start: i64,
}

impl Watermarks {
    pub(crate) fn of(partition: &Partition) -> Self {
        Self {
            high_watermark: partition.next_offset,
            last_stable_offset: partition.last_stable_offset(),
            log_start: partition.log_start,
        }
    }

    /// The first offset that this reader may not see yet.
    pub(crate) fn served_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.last_stable_offset,
        }
    }
}

/// One Parquet file, as far as one partition is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) tier: Tier,
    /// What it covers of the partition.
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// The largest timestamp in that range; -1 for none.
    pub(crate) max_timestamp_ms: i64,
    /// The first offset with it; -1 for none.
    pub(crate) max_timestamp_offset: i64,
}

/// Whether a Parquet file is fresh or sealed; a label in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    Fresh,
    Sealed,
}

impl Tier {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Tier::Fresh => "fresh",
            Tier::Sealed => "sealed",
        }
    }
}

/// What answers for an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nothing yet: the offset is the served end, or between it and the high watermark.
    Nothing,
    /// These extents, without a gap, the first of which holds the offset.
    Hot(Vec<Extent>),
    /// This file.
    Segment(Segment),
    /// The file that the segment index names.
    SegmentIndex,
}

/// A plan for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) watermarks: Watermarks,
    pub(crate) source: Source,
    /// Bytes that are surely there, for `min_bytes`; history counts as enough.
    pub(crate) available: u64,
    /// Aborted transactions that overlap what the source holds.
    pub(crate) aborted: Vec<AbortedTransaction>,
}

/// Why there is no plan. All but `Broken` are 'no' to a client, so they need a barrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoPlan {
    UnknownPartition,
    OutOfRange,
    /// The index contradicts itself: a bug, or damage that the digest missed.
    Broken(&'static str),
}

/// Plans a read of at most `limit` bytes from `offset` on. The first extent is taken whatever its size, and one more where there would be
/// less than half of them.
pub(crate) fn plan(index: &Index, at: TopicPartition, offset: i64, isolation: Isolation, limit: u64) -> Result<Plan, NoPlan> {
    let topic = index.topics.get(&at.topic_id).ok_or(NoPlan::UnknownPartition)?;
    let partition = topic.partition(at.partition).ok_or(NoPlan::UnknownPartition)?;
    let watermarks = Watermarks::of(partition);
    if offset < watermarks.log_start || offset > watermarks.high_watermark {
        return Err(NoPlan::OutOfRange);
    }
    let end = watermarks.served_end(isolation);
    let mut aborted = Vec::new();
    let (source, available) = if offset >= end {
        (Source::Nothing, 0)
    } else if offset >= partition.frontier {
        let (extents, available) = hot(partition, offset, end, limit)?;
        if isolation == Isolation::ReadCommitted {
            let last = extents.last().map_or(offset, |extent| extent.end);
            aborted = aborted_between(partition, offset, last);
        }
        (Source::Hot(extents), available)
    } else {
        (history(topic, partition, at.partition, offset)?, u64::MAX)
    };
    Ok(Plan { watermarks, source, available, aborted })
}

fn hot(partition: &Partition, offset: i64, end: i64, limit: u64) -> Result<(Vec<Extent>, u64), NoPlan> {
    let first = partition.extent_at(offset).ok_or(NoPlan::Broken("no extent covers an offset above the frontier"))?;
    let mut extents = Vec::new();
    let mut bytes = 0;
    for extent in partition.extents.range(first..) {
        // What does not go into the answer would be read again for the next one.
        let too_much = bytes >= limit / 2 && bytes.saturating_add(extent.length) > limit;
        let full = bytes >= limit || too_much || extents.len() == limits::FETCH_EXTENTS;
        if extent.start >= end || (full && !extents.is_empty()) {
            break;
        }
        // A marker or a hole becomes a control batch of about a header's size.
        bytes += extent.length.max(64);
        extents.push(*extent);
    }
    Ok((extents, bytes))
}

fn history(topic: &Topic, partition: &Partition, number: i32, offset: i64) -> Result<Source, NoPlan> {
    if offset >= partition.sealed_end {
        let range = partition.fresh_at(offset).ok_or(NoPlan::Broken("no fresh segment covers an offset below the frontier"))?;
        return fresh(topic, range)
            .map(Source::Segment)
            .ok_or(NoPlan::Broken("a fresh range names a segment that the topic does not have"));
    }
    Ok(topic.sealed_plan_at(number, offset).map_or(Source::SegmentIndex, |(file, range)| Source::Segment(planned(file, range))))
}

/// The fresh segment of this range.
pub(crate) fn fresh(topic: &Topic, range: &FreshRange) -> Option<Segment> {
    let file = &topic.fresh.get(&range.segment)?.file;
    Some(Segment {
        path: file.path.clone(),
        size: file.size,
        tier: Tier::Fresh,
        start: range.start,
        end: range.end,
        max_timestamp_ms: range.max_timestamp_ms,
        max_timestamp_offset: range.max_timestamp_offset,
    })
}

/// The sealed file of an open plan.
pub(crate) fn planned(file: &NewFile, range: &FileRange) -> Segment {
    Segment {
        path: file.path.clone(),
        size: file.size,
        tier: Tier::Sealed,
        start: range.start,
        end: range.end,
        max_timestamp_ms: range.max_timestamp_ms,
        max_timestamp_offset: range.max_timestamp_offset,
    }
}

/// Aborted transactions that overlap `[from, to)`. One that ended before `from` must not be named: its marker is not
/// served, so a client would never take its producer off the list and drop committed records that follow.
fn aborted_between(partition: &Partition, from: i64, to: i64) -> Vec<AbortedTransaction> {
    let overlapping = partition.aborted.iter().filter(|aborted| aborted.last_offset >= from && aborted.first_offset < to);
    overlapping.copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use strandline_index::ExtentPlace;
    use strandline_types::{Seq, TopicId};

    const AT: TopicPartition = TopicPartition { topic_id: TopicId([1; 16]), partition: 0 };

    fn extent(start: i64, end: i64, length: u64) -> Extent {
        let place = ExtentPlace::Inline { seq: Seq(start.unsigned_abs()), position: 0 };
        Extent {
            start,
            end,
            place,
            length,
            ingest_ms: 1,
            log_append_time: false,
            max_timestamp_ms: 1,
            max_timestamp_offset: start,
        }
    }

    /// Extents of ten offsets and 100 bytes from 20 to 60; a transaction is open from 50 on; two were aborted.
    fn index() -> Index {
        let aborted = |producer_id, first_offset, last_offset| AbortedTransaction { producer_id, first_offset, last_offset };
        let partition = Partition {
            next_offset: 60,
            log_start: 5,
            frontier: 20,
            sealed_end: 20,
            extents: (2..6).map(|n| extent(n * 10, n * 10 + 10, 100)).collect(),
            aborted: [aborted(7, 12, 29), aborted(8, 35, 45)].into(),
            open_transactions: [(50, 9)].into(),
            ..Partition::default()
        };
        let topic = Topic { id: AT.topic_id, partitions: vec![partition], ..Topic::default() };
        Index { topics: [(AT.topic_id, Arc::new(topic))].into(), ..Index::default() }
    }

    fn hot_starts(plan: &Plan) -> Vec<i64> {
        match &plan.source {
            Source::Hot(extents) => extents.iter().map(|extent| extent.start).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn isolation_decides_the_end_and_the_list_of_aborted() {
        let index = index();
        let open = plan(&index, AT, 25, Isolation::ReadUncommitted, 1_000).unwrap();
        assert_eq!((hot_starts(&open), open.aborted.len(), open.available), (vec![20, 30, 40, 50], 0, 400));
        let committed = plan(&index, AT, 25, Isolation::ReadCommitted, 1_000).unwrap();
        assert_eq!(hot_starts(&committed), [20, 30, 40]);
        assert_eq!(committed.aborted.iter().map(|one| one.producer_id).collect::<Vec<_>>(), [7, 8]);
        // One that ended before the offset is not named: its marker is not served.
        let later = plan(&index, AT, 30, Isolation::ReadCommitted, 100).unwrap();
        assert_eq!(later.aborted.iter().map(|one| one.producer_id).collect::<Vec<_>>(), [8]);
        let latest = plan(&index, AT, 46, Isolation::ReadCommitted, 100).unwrap();
        assert!(latest.aborted.is_empty());
        for offset in [50, 55, 60] {
            let waiting = plan(&index, AT, offset, Isolation::ReadCommitted, 100).unwrap();
            assert_eq!((waiting.source, waiting.available), (Source::Nothing, 0));
        }
    }

    #[test]
    fn limits_take_whole_extents_and_at_least_one() {
        let index = index();
        for (limit, starts) in [
            (0, vec![20]),
            (1, vec![20]),
            (100, vec![20]),
            (199, vec![20]),
            (200, vec![20, 30]),
            (201, vec![20, 30]),
            (u64::MAX, vec![20, 30, 40, 50]),
        ] {
            assert_eq!(hot_starts(&plan(&index, AT, 20, Isolation::ReadUncommitted, limit).unwrap()), starts, "{limit}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        let index = index();
        let refused = |at, offset| plan(&index, at, offset, Isolation::ReadUncommitted, 1).unwrap_err();
        assert_eq!(refused(AT, 4), NoPlan::OutOfRange);
        assert_eq!(refused(AT, 61), NoPlan::OutOfRange);
        assert_eq!(refused(TopicPartition { partition: 1, ..AT }, 5), NoPlan::UnknownPartition);
        assert_eq!(refused(TopicPartition { topic_id: TopicId([2; 16]), ..AT }, 5), NoPlan::UnknownPartition);
        assert_eq!(plan(&index, AT, 5, Isolation::ReadCommitted, 1).unwrap().source, Source::SegmentIndex);
    }
}
