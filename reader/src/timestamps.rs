//! Offsets for timestamps, over everything that a partition has: sealed, fresh, hot. Exact.

use crate::error::{ServeError, SourceError};
use crate::plan::{Isolation, Segment, Watermarks, fresh, planned};
use crate::reader::Shared;
use crate::serve::segment_of;
use bytes::Bytes;
use std::ops::{ControlFlow, Range};
use strandline_index::{Extent, Partition, Topic};
use strandline_runtime::Held;
use strandline_types::{TopicPartition, limits};
use strandline_wire::ErrorCode;
use strandline_wire::records::{BatchError, BatchHeader, BatchPlace, Compression, RecordScratch, for_each_record, split_batches};

/// Rows of the segment index that are looked at together.
const SCAN_ROWS: usize = 256;

/// An offset and its timestamp.
type Found = Option<(i64, i64)>;

/// Where a search goes on.
enum Next {
    /// This extent may hold it.
    Extent(Extent),
    /// All extents: the best of those that lie wholly in the range, and those that do not.
    Hot(Found, Vec<Extent>),
    /// These files may, one after the other.
    Segments(Vec<Segment>),
    /// The segment index knows.
    SegmentIndex,
    /// There is nothing more.
    End,
}

impl Shared {
    /// The first record at or after the log start whose timestamp is at least `target_ms`.
    pub(crate) async fn first_at(&self, at: TopicPartition, isolation: Isolation, target_ms: i64) -> Result<Found, ServeError> {
        let mut offset = 0;
        let mut plans = 0;
        loop {
            let (next, range) = self.next_source(at, isolation, offset, Wanted::FirstAtLeast(target_ms))?;
            offset = range.start;
            match self.search(at, next, &range, target_ms).await {
                Ok(Search::Found(offset, timestamp)) if offset < range.end => return Ok(Some((offset, timestamp))),
                Ok(Search::Found(..) | Search::End) => return Ok(None),
                Ok(Search::Behind(next)) => offset = next,
                Err(SourceError::Missing { .. }) if plans < limits::FETCH_PLANS => {
                    plans += 1;
                    self.barrier().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What answers for `offset` (or for the log start, if that is higher), and from where to where.
    fn next_source(
        &self,
        at: TopicPartition,
        isolation: Isolation,
        offset: i64,
        wanted: Wanted,
    ) -> Result<(Next, Range<i64>), ServeError> {
        let index = self.cell.view();
        let topic = index.topics.get(&at.topic_id);
        let (topic, partition) = topic.and_then(|topic| Some((topic, topic.partition(at.partition)?))).ok_or(GONE)?;
        let watermarks = Watermarks::of(partition);
        let range = offset.max(watermarks.log_start)..watermarks.served_end(isolation);
        let next = if range.is_empty() {
            Next::End
        } else if range.start >= partition.frontier {
            let first =
                partition.extent_at(range.start).ok_or(ServeError::Broken("no extent covers an offset above the frontier"))?;
            let mut extents =
                partition.extents.range(first..).take_while(|extent| extent.start < range.end).filter(|extent| extent.length > 0);
            match wanted {
                Wanted::FirstAtLeast(target_ms) => {
                    let found = extents.find(|extent| extent.visible_max_timestamp_ms() >= target_ms);
                    found.map_or(Next::End, |extent| Next::Extent(*extent))
                }
                Wanted::Largest => largest_hot(extents, &range),
            }
        } else if range.start >= partition.sealed_end {
            Next::Segments(fresh_from(topic, partition, range.start)?)
        } else {
            match topic.sealed_plan_at(at.partition, range.start) {
                Some((file, range)) => Next::Segments(vec![planned(file, range)]),
                None => Next::SegmentIndex,
            }
        };
        Ok((next, range))
    }

    async fn search(&self, at: TopicPartition, next: Next, range: &Range<i64>, target_ms: i64) -> Result<Search, SourceError> {
        let segments = match next {
            Next::End => return Ok(Search::End),
            Next::Extent(extent) => {
                let found = self.extent_times(extent, range.clone(), Wanted::FirstAtLeast(target_ms)).await?;
                return Ok(found.map_or(Search::Behind(extent.end), |(offset, timestamp)| Search::Found(offset, timestamp)));
            }
            Next::Segments(segments) => segments,
            Next::SegmentIndex => self.sealed_from(at, range.start).await?,
            Next::Hot(..) => return Ok(Search::End),
        };
        let mut behind = range.start;
        for segment in segments {
            if segment.max_timestamp_ms >= target_ms {
                let from = range.start.max(segment.start);
                if let Some((offset, timestamp)) = self.history.find_timestamp(&segment, at.partition, from, target_ms).await? {
                    return Ok(Search::Found(offset, timestamp));
                }
            }
            behind = segment.end;
        }
        Ok(Search::Behind(behind))
    }

    /// Sealed segments from the one that holds `offset` on, without a gap.
    async fn sealed_from(&self, at: TopicPartition, offset: i64) -> Result<Vec<Segment>, SourceError> {
        let rows = self.segment_index.scan(at, offset, SCAN_ROWS).await.map_err(|error| SourceError::of_segment_index(&error))?;
        let mut end = offset;
        let mut segments = Vec::with_capacity(rows.len());
        for row in rows {
            if row.start_offset > end {
                break;
            }
            end = row.end_offset;
            segments.push(segment_of(row));
        }
        if segments.is_empty() {
            let object =
                format!("the segment index's row for offset {offset} of partition {} of topic {}", at.partition, at.topic_id);
            return Err(SourceError::Missing { object });
        }
        Ok(segments)
    }

    /// The first offset with the largest timestamp.
    pub(crate) async fn max_timestamp(&self, at: TopicPartition, isolation: Isolation) -> Result<Found, ServeError> {
        let mut best: Found = None;
        let mut offset = 0;
        let mut plans = 0;
        loop {
            // Whatever holds the offset, its largest timestamp counts if it beats what was found below.
            let at_least = best.map_or(0, |(_, timestamp)| timestamp + 1);
            let (next, range) = self.next_source(at, isolation, offset, Wanted::Largest)?;
            offset = range.start;
            match self.largest(at, next, &range, at_least).await {
                Ok((found, behind)) => {
                    best = found.or(best);
                    match behind {
                        Some(behind) => offset = behind,
                        None => return Ok(best),
                    }
                }
                Err(SourceError::Missing { .. }) if plans < limits::FETCH_PLANS => {
                    plans += 1;
                    self.barrier().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The largest timestamp of at least `at_least` in this source, and where to go on.
    async fn largest(
        &self,
        at: TopicPartition,
        next: Next,
        range: &Range<i64>,
        at_least: i64,
    ) -> Result<(Found, Option<i64>), SourceError> {
        let segments = match next {
            Next::End => return Ok((None, None)),
            Next::Hot(mut best, partial) => {
                for extent in partial {
                    best = better(best, self.extent_times(extent, range.clone(), Wanted::Largest).await?);
                }
                return Ok((best.filter(|(_, timestamp)| *timestamp >= at_least), None));
            }
            Next::Extent(_) => return Ok((None, None)),
            Next::Segments(segments) => segments,
            Next::SegmentIndex => self.sealed_from(at, range.start).await?,
        };
        let (mut best, mut bound, mut behind) = (None, at_least, range.start);
        for segment in segments {
            if segment.max_timestamp_ms >= bound {
                let from = range.start.max(segment.start);
                if let Some((offset, timestamp)) = self.largest_in(&segment, at, from, bound).await? {
                    (best, bound) = (Some((offset, timestamp)), timestamp + 1);
                }
            }
            behind = segment.end;
        }
        Ok((best, Some(behind)))
    }

    /// The largest timestamp, of at least `at_least`, of a file's records at or after `from`.
    async fn largest_in(&self, segment: &Segment, at: TopicPartition, from: i64, at_least: i64) -> Result<Found, SourceError> {
        if segment.max_timestamp_offset >= from {
            return Ok(Some((segment.max_timestamp_offset, segment.max_timestamp_ms)));
        }
        // The record that has it lies below the log start. Whether some record reaches a time is quickly found; so the largest
        // time is searched for by halves.
        let Some(mut found) = self.history.find_timestamp(segment, at.partition, from, at_least).await? else {
            return Ok(None);
        };
        let (mut low, mut high) = (found.1, segment.max_timestamp_ms);
        while low < high {
            let middle = low + (high - low + 1) / 2;
            match self.history.find_timestamp(segment, at.partition, from, middle).await? {
                Some(later) => {
                    found = later;
                    low = later.1;
                }
                None => high = middle - 1,
            }
        }
        Ok(Some(found))
    }

    async fn extent_times(&self, extent: Extent, range: Range<i64>, wanted: Wanted) -> Result<Found, SourceError> {
        let range = range.start.max(extent.start)..range.end.min(extent.end);
        if range.is_empty() || extent.length == 0 {
            return Ok(None);
        }
        if extent.log_append_time {
            // All records of an extent have one append time, and what was produced has no gaps.
            return Ok(Some((range.start, extent.ingest_ms)));
        }
        let (bytes, room) = self.bytes_to_search(&extent).await?;
        let work = move || {
            // Held by the work, also when nobody waits for it any more.
            let _room = room;
            search_batches(bytes, extent.start, &range, wanted)
        };
        let found = self.cell.runtime().spawner.blocking("search timestamps", work).await;
        let found = found.map_err(|error| SourceError::of_blocking("an extent", &error))?;
        found.map_err(|error| SourceError::of_batch("an extent", &error))
    }

    /// The bytes of an extent, with room for them and for what comes out of one of its batches, which are looked into one by one. Who needs more
    /// than was taken gets it at once or gives all of it back first: nobody waits while holding some, so nobody waits for ever.
    async fn bytes_to_search(&self, extent: &Extent) -> Result<(Bytes, Held), SourceError> {
        let no_room = || {
            let reason = "others were looked into all the time".to_owned();
            SourceError::Unavailable { object: "an extent".to_owned(), reason }
        };
        let length = usize::try_from(extent.length).unwrap_or(usize::MAX);
        let mut room = self.time_searches.take(length, limits::REQUEST_WAIT).await.ok_or_else(no_room)?;
        let bytes = self.extents.bytes(extent).await?;
        // Whether more comes out of them shows only now. Were the most taken before, an extent that is slow to read would keep all others
        // waiting.
        let decompresses = is_compressed(&bytes).map_err(|error| SourceError::of_batch("an extent", &error))?;
        let most = length.saturating_add(limits::DECOMPRESSED_BATCH_BYTES);
        if !decompresses || self.time_searches.grow(&mut room, most) {
            return Ok((bytes, room));
        }
        drop((bytes, room));
        let room = self.time_searches.take(most, limits::REQUEST_WAIT).await.ok_or_else(no_room)?;
        Ok((self.extents.bytes(extent).await?, room))
    }
}

/// How a search ended.
enum Search {
    Found(i64, i64),
    /// Not below this offset.
    Behind(i64),
    End,
}

#[derive(Debug, Clone, Copy)]
enum Wanted {
    FirstAtLeast(i64),
    Largest,
}

const GONE: ServeError = ServeError::Refused(ErrorCode::UnknownTopicOrPartition);

/// Fresh segments from the one that holds `offset` on.
fn fresh_from(topic: &Topic, partition: &Partition, offset: i64) -> Result<Vec<Segment>, ServeError> {
    let first = partition.fresh.partition_point(|range| range.end <= offset);
    let segments: Option<Vec<Segment>> = partition.fresh.range(first..).map(|range| fresh(topic, range)).collect();
    match segments {
        Some(segments) if segments.first().is_some_and(|segment| segment.start <= offset) => Ok(segments),
        _ => Err(ServeError::Broken("no fresh segment covers an offset below the frontier")),
    }
}

/// The one with the larger timestamp, of equal ones the first.
fn better(one: Found, other: Found) -> Found {
    match (one, other) {
        (Some(a), Some(b)) => Some(if (b.1, a.0) > (a.1, b.0) { b } else { a }),
        (one, other) => one.or(other),
    }
}

fn largest_hot<'a>(extents: impl Iterator<Item = &'a Extent>, range: &Range<i64>) -> Next {
    let (mut best, mut partial) = (None, Vec::new());
    for extent in extents {
        if extent.start < range.start || extent.end > range.end {
            partial.push(*extent);
        } else if extent.visible_max_timestamp_ms() >= 0 {
            best = better(best, Some((extent.visible_max_timestamp_offset(), extent.visible_max_timestamp_ms())));
        }
    }
    Next::Hot(best, partial)
}

// There is room for the largest extent, of one batch.
const _: () = assert!(limits::TIME_SEARCH_BYTES >= limits::BATCH_BYTES + limits::DECOMPRESSED_BATCH_BYTES);

/// Whether more may come out of one of these batches than it has.
fn is_compressed(batches: &[u8]) -> Result<bool, BatchError> {
    let mut rest = batches;
    while !rest.is_empty() {
        let (header, length) = BatchHeader::parse_whole(rest)?;
        if header.compression()? != Compression::None {
            return Ok(true);
        }
        rest = &rest[length..];
    }
    Ok(false)
}

fn search_batches(bytes: Bytes, start: i64, range: &Range<i64>, wanted: Wanted) -> Result<Found, BatchError> {
    let mut found: Found = None;
    let mut base_offset = start;
    let mut scratch = RecordScratch::default();
    for batch in split_batches(bytes)? {
        let place = BatchPlace { base_offset, log_append_time_ms: None };
        for_each_record(&batch.bytes, place, &mut scratch, |record| {
            if record.offset < range.start {
                return ControlFlow::Continue(());
            }
            if record.offset >= range.end {
                return ControlFlow::Break(());
            }
            let better = match wanted {
                Wanted::FirstAtLeast(target_ms) => record.timestamp_ms >= target_ms,
                Wanted::Largest => record.timestamp_ms >= 0 && found.is_none_or(|(_, timestamp)| record.timestamp_ms > timestamp),
            };
            if better {
                found = Some((record.offset, record.timestamp_ms));
            }
            match wanted {
                Wanted::FirstAtLeast(_) if better => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })?;
        base_offset += i64::from(batch.header.last_offset_delta) + 1;
        if base_offset >= range.end || (found.is_some() && matches!(wanted, Wanted::FirstAtLeast(_))) {
            break;
        }
    }
    Ok(found)
}
