//! How one partition of a file is cut into chunks: the unit in which history is decoded, rebuilt and cached.

use strandline_bronze::SegmentFooter;
use strandline_types::limits;

/// Whole digest runs that are rebuilt together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// First offset that its batches cover: the one after the last record before it.
    pub(crate) start: i64,
    /// Its last record.
    pub(crate) last: i64,
}

/// The chunks of one partition of one file. The same for every reader, whatever offset it starts at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkMap {
    pub(crate) chunks: Vec<Chunk>,
    /// What the file covers of the partition.
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl ChunkMap {
    /// None if the file does not cover the partition.
    pub(crate) fn of(footer: &SegmentFooter, partition: i32) -> Option<Self> {
        let summary = footer.partition(partition)?;
        let mut chunks = Vec::new();
        let mut start = summary.start;
        let mut at = summary.start;
        while let Some(plan) = footer.plan(partition, at, limits::HISTORY_CHUNK_BYTES as u64) {
            let next = plan.next_offset();
            let last = last_record_below(footer, partition, at, next);
            chunks.push(Chunk { start, last });
            (start, at) = (last + 1, next);
            if next >= summary.end {
                break;
            }
        }
        Some(Self { chunks, start: summary.start, end: summary.end })
    }

    /// The position of the chunk with the first record at or after `offset`; none if what follows is a hole.
    pub(crate) fn find(&self, offset: i64) -> Option<usize> {
        let at = self.chunks.partition_point(|chunk| chunk.last < offset);
        (at < self.chunks.len()).then_some(at)
    }
}

/// The last record in `[at, next)`, of which `next` is where a read goes on and `at` has a record at or after it. The footer
/// tells where a read from an offset ends, and that changes behind the last record.
fn last_record_below(footer: &SegmentFooter, partition: i32, at: i64, next: i64) -> i64 {
    // True for offsets up to the last record: some run before `next` still holds them.
    let reaches = |offset: i64| footer.plan(partition, offset, 0).is_some_and(|plan| plan.next_offset() <= next);
    if reaches(next - 1) {
        return next - 1;
    }
    let (mut low, mut high) = (at, next - 1);
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if reaches(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}
