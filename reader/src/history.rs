//! History: Parquet becomes batches again, chunk by chunk, each rebuilt once however many wait, and kept in the cache.

use crate::chunks::{Chunk, ChunkMap};
use crate::error::SourceError;
use crate::footers::{Footers, OpenedSegment};
use crate::pages::Pages;
use crate::plan::Segment;
use crate::rebuild::Rebuilder;
use crate::rope::Rope;
use bytes::Bytes;
use std::ops::ControlFlow;
use std::sync::Arc;
use strandline_bronze::{ReadError, SegmentFooter, plan_timestamp, read, read_timestamp};
use strandline_runtime::Spawner;
use strandline_types::limits;
use strandline_types::mutations::{Rule, holds};
use strandline_wire::records::{BatchError, BatchHeader};

/// Reads Parquet. Cheap to clone.
#[derive(Clone)]
pub(crate) struct History {
    footers: Arc<Footers>,
    pages: Pages,
    spawner: Spawner,
}

/// What a file has at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Batches, the first of which may end before the offset. They cover up to `end`.
    Chunk { batches: Bytes, end: i64 },
    /// No record at or after the offset: up to here all is a hole.
    Hole { end: i64 },
}

impl History {
    pub(crate) fn new(footers: Arc<Footers>, pages: Pages, spawner: Spawner) -> Self {
        Self { footers, pages, spawner }
    }

    /// The chunk with the first record of the partition at or after `offset`, which the segment covers.
    pub(crate) async fn find(&self, segment: &Segment, partition: i32, offset: i64) -> Result<Found, SourceError> {
        let (opened, map) = self.open(segment, partition, offset).await?;
        let Some(position) = map.find(offset) else {
            return Ok(Found::Hole { end: segment.end });
        };
        let chunk = map.chunks[position];
        let (this, path, size) = (self.clone(), segment.path.clone(), segment.size);
        let build = async move { this.rebuild(opened, &path, size, partition, chunk).await };
        let batches = self.pages.chunk(&segment.path, partition, chunk.start, build).await?;
        Ok(Found::Chunk { batches, end: chunk.last + 1 })
    }

    async fn open(
        &self,
        segment: &Segment,
        partition: i32,
        offset: i64,
    ) -> Result<(Arc<OpenedSegment>, Arc<ChunkMap>), SourceError> {
        let opened = self.footers.open(&segment.path, segment.size).await?;
        let map = opened
            .chunks(partition)
            .filter(|map| (map.start <= offset || !holds(Rule::C6)) && offset < map.end && segment.end <= map.end);
        let map = map.ok_or_else(|| {
            self.footers.forget(&segment.path);
            let reason = format!("its footer does not cover offsets {offset} to {} of partition {partition}", segment.end);
            SourceError::damaged(&segment.path, reason)
        })?;
        Ok((opened, map))
    }

    async fn rebuild(
        &self,
        opened: Arc<OpenedSegment>,
        path: &str,
        size: u64,
        partition: i32,
        chunk: Chunk,
    ) -> Result<Bytes, SourceError> {
        let missing = || SourceError::damaged(path, "its digest runs changed while it was read");
        let plan = opened.footer.plan(partition, chunk.start, limits::HISTORY_CHUNK_BYTES as u64).ok_or_else(missing)?;
        let spans = opened.footer.spans(&plan, span_bytes(&opened.footer), SPAN_GAP_BYTES);
        let fetched = self.pages.fetch_spans(path, size, spans.clone()).await?;
        let work = move || {
            let mut rebuilder = Rebuilder::new(chunk.start, plan.record_bytes());
            let mut failed = None;
            let mut last = chunk.start - 1;
            read(&opened.footer, &plan, &fetched, |record, _| {
                last = record.offset;
                match rebuilder.push(record) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        failed = Some(error);
                        ControlFlow::Break(())
                    }
                }
            })
            .map_err(RebuildError::Read)?;
            match failed {
                Some(error) => Err(RebuildError::Batch(error)),
                None if last != chunk.last => Err(RebuildError::Cut { last, expected: chunk.last }),
                None => rebuilder.finish().map_err(RebuildError::Batch),
            }
        };
        let rebuilt =
            self.spawner.blocking("rebuild batches", work).await.map_err(|error| SourceError::of_blocking(path, &error))?;
        rebuilt.map_err(|error| {
            self.pages.forget_spans(path, &spans);
            self.distrust(path, &error)
        })
    }

    /// The first record at or after `offset` whose timestamp is at least `target_ms`: its offset and timestamp.
    pub(crate) async fn find_timestamp(
        &self,
        segment: &Segment,
        partition: i32,
        offset: i64,
        target_ms: i64,
    ) -> Result<Option<(i64, i64)>, SourceError> {
        let path = &segment.path;
        let (opened, _) = self.open(segment, partition, offset).await?;
        let Some(plan) = plan_timestamp(&opened.footer, partition, offset, target_ms) else {
            return Ok(None);
        };
        let ranges = plan.ranges().to_vec();
        let fetched = self.pages.fetch(path, segment.size, &ranges).await?;
        let work = move || read_timestamp(&opened.footer, &plan, &fetched);
        let found =
            self.spawner.blocking("find timestamp", work).await.map_err(|error| SourceError::of_blocking(path, &error))?;
        found.map_err(|error| {
            self.pages.forget(path, &ranges);
            self.distrust(path, &RebuildError::Read(error))
        })
    }

    /// A damaged file: its footer goes, too, so that a repaired one is read anew.
    fn distrust(&self, path: &str, error: &RebuildError) -> SourceError {
        self.footers.forget(path);
        SourceError::damaged(path, error)
    }
}

/// Pages that lie this close are read in one request.
const SPAN_GAP_BYTES: u64 = 64 << 10;

/// How large spans of a file may be, so that those that its partitions' readers are at fit into the cache together. The same for every
/// reader: a span is cached by its range.
fn span_bytes(footer: &SegmentFooter) -> u64 {
    if footer.file_bytes() <= limits::SPANS_BYTES as u64 {
        return limits::BLOCK_BYTES as u64;
    }
    let share = limits::SPANS_BYTES / footer.partitions().len().max(1);
    share.clamp(limits::SPAN_LEAST_BYTES, limits::SPAN_BYTES) as u64
}

#[derive(Debug, thiserror::Error)]
enum RebuildError {
    #[error(transparent)]
    Read(ReadError),
    #[error(transparent)]
    Batch(BatchError),
    #[error("its records end at offset {last} where the footer says {expected}")]
    Cut { last: i64, expected: i64 },
}

/// Bytes of the batches of a chunk that end at or after `offset` and begin below `end`.
fn bytes_between(batches: &Bytes, offset: i64, end: i64) -> Result<usize, BatchError> {
    let (mut at, mut bytes) = (0, 0);
    while at < batches.len() {
        let (header, length) = BatchHeader::parse_whole(&batches[at..])?;
        bytes += if header.last_offset() >= offset && header.base_offset < end { length } else { 0 };
        at += length;
    }
    Ok(bytes)
}

/// Adds the batches of a chunk that end at or after `offset` and begin below `end`, until the rope is full. Gives the first
/// offset that was not served, and how many bytes of those batches are left.
pub(crate) fn serve_chunk(batches: &Bytes, offset: i64, end: i64, rope: &mut Rope) -> Result<(i64, usize), BatchError> {
    let (mut at, mut next) = (0, offset);
    let mut wanted: Option<usize> = None;
    let mut taken = 0;
    let together = bytes_between(batches, offset, end)?;
    if !rope.begins(together) {
        return Ok((next, together));
    }
    while at < batches.len() {
        let (header, length) = BatchHeader::parse_whole(&batches[at..])?;
        let batch_end = at + length;
        if header.last_offset() >= offset {
            // A batch whose first records are in the answer already goes whole, first in the next one.
            let goes_back = header.base_offset < offset && rope.bytes() > 0;
            // What is taken already counts, though it goes in as one piece at the end.
            if goes_back || header.base_offset >= end || !rope.admits_after(taken, length, header.compression()?) {
                break;
            }
            wanted.get_or_insert(at);
            taken += length;
            next = header.last_offset() + 1;
        }
        at = batch_end;
    }
    if let Some(from) = wanted {
        rope.push_part(batches, from..from + taken);
    }
    Ok((next, together - taken))
}
