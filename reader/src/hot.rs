//! The hot tail: extents and their bytes become batches with offsets.

use crate::hole::serve_hole;
use crate::rope::Rope;
use bytes::Bytes;
use strandline_extents::Pieces;
use strandline_index::{Extent, ExtentPlace, MarkerKind};
use strandline_wire::records::{BatchError, BatchHeader, ControlKind, control_batch};

/// Adds the batches of `extents` that hold `offset` or come after it and begin below `end`, until the rope is full. `pieces`
/// are the extents' own bytes, already checked, of whole batches each. Gives the first offset that was not served.
///
/// A batch that holds `offset` in its middle goes whole, as Kafka does.
pub(crate) fn serve(extents: &[Extent], pieces: &[Pieces], offset: i64, end: i64, rope: &mut Rope) -> Result<i64, BatchError> {
    let mut next = offset;
    for (extent, pieces) in extents.iter().zip(pieces) {
        if extent.end <= offset {
            continue;
        }
        if extent.start >= end || rope.is_full() {
            break;
        }
        match extent.place {
            ExtentPlace::Marker { producer_id, producer_epoch, kind } => {
                let kind = match kind {
                    MarkerKind::Commit => ControlKind::Commit,
                    MarkerKind::Abort => ControlKind::Abort,
                };
                let epoch = i16::try_from(producer_epoch).unwrap_or(i16::MAX);
                let batch = control_batch(extent.start, producer_id, epoch, kind, extent.ingest_ms, COORDINATOR_EPOCH)?;
                if !rope.push_control(&batch) {
                    break;
                }
                next = extent.end;
            }
            ExtentPlace::Hole => {
                let (reached, whole) = serve_hole(extent.start.max(offset), extent.end, extent.ingest_ms, rope)?;
                next = reached;
                if !whole {
                    break;
                }
            }
            ExtentPlace::Inline { .. } | ExtentPlace::Object { .. } => {
                let (reached, whole) = serve_batches(extent, pieces, offset, end, rope)?;
                next = next.max(reached);
                if !whole {
                    break;
                }
            }
        }
    }
    Ok(next)
}

/// There is no coordinator whose epoch a client could compare.
const COORDINATOR_EPOCH: i32 = 0;

fn serve_batches(extent: &Extent, pieces: &[Bytes], offset: i64, end: i64, rope: &mut Rope) -> Result<(i64, bool), BatchError> {
    let append_ms = extent.log_append_time.then_some(extent.ingest_ms);
    let mut base = extent.start;
    for bytes in pieces {
        let mut at = 0;
        while at < bytes.len() {
            let (header, length) = BatchHeader::parse_whole(&bytes[at..])?;
            let batch_end = at + length;
            let next = base + i64::from(header.last_offset_delta) + 1;
            if next > offset {
                if base < offset && rope.bytes() > 0 {
                    // Its first records are in the answer already: it goes whole, first in the next one.
                    return Ok((offset, false));
                }
                if base >= end || !rope.admits(length, header.compression()?) {
                    return Ok((base, false));
                }
                rope.push_stored(&bytes.slice(at..batch_end), base, append_ms)?;
            }
            (base, at) = (next, batch_end);
        }
    }
    Ok((base, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_wire::records::{BatchBuilder, BatchOptions, ControlRecord, RecordScratch, for_each_record, split_batches};

    fn extent(start: i64, end: i64, place: ExtentPlace) -> Extent {
        Extent {
            start,
            end,
            place,
            length: 0,
            ingest_ms: 77,
            log_append_time: false,
            max_timestamp_ms: -1,
            max_timestamp_offset: -1,
        }
    }

    #[test]
    fn an_answer_never_goes_back() {
        let batch = |base_offset, records: i64| {
            let options = BatchOptions { base_offset, ..BatchOptions::default() };
            let mut builder = BatchBuilder::new(options);
            for _ in 0..records {
                builder.push_next(1, None, Some(b"x"), &[]).unwrap();
            }
            builder.finish(None).unwrap()
        };
        let (first, merged) = (batch(0, 5), batch(0, 10));
        let place = ExtentPlace::Inline { seq: strandline_types::Seq(1), position: 0 };
        // What comes next has been put together anew in the meantime, and begins within what is in the answer.
        for from_parquet in [false, true] {
            let mut rope = Rope::new(10_000, usize::MAX, true);
            assert_eq!(serve(&[extent(0, 5, place)], &[vec![first.clone()]], 0, 10, &mut rope), Ok(5));
            let next = match from_parquet {
                false => serve(&[extent(0, 10, place)], &[vec![merged.clone()]], 5, 10, &mut rope),
                true => crate::history::serve_chunk(&merged, 5, 10, &mut rope).map(|(next, _)| next),
            };
            assert_eq!(next, Ok(5));
            assert_eq!(split_batches(rope.finish().into_bytes()).unwrap().len(), 1);
            // As the first of an answer it goes whole, as in Kafka.
            let mut rope = Rope::new(10_000, usize::MAX, true);
            let next = match from_parquet {
                false => serve(&[extent(0, 10, place)], &[vec![merged.clone()]], 5, 10, &mut rope),
                true => crate::history::serve_chunk(&merged, 5, 10, &mut rope).map(|(next, _)| next),
            };
            assert_eq!(next, Ok(10));
        }
    }

    #[test]
    fn pieces_of_an_extent_are_served_as_one() {
        let batch = |records: i64| {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            for _ in 0..records {
                builder.push_next(1, None, Some(b"x"), &[]).unwrap();
            }
            builder.finish(None).unwrap()
        };
        let pieces = vec![[batch(2), batch(3)].concat().into(), batch(4), Bytes::new(), batch(1)];
        let place = ExtentPlace::Inline { seq: strandline_types::Seq(1), position: 0 };
        for (offset, first) in [(20, 20), (21, 20), (24, 22), (25, 25), (29, 29)] {
            let mut rope = Rope::new(10_000, usize::MAX, true);
            assert_eq!(serve(&[extent(20, 30, place)], std::slice::from_ref(&pieces), offset, 30, &mut rope), Ok(30));
            let batches = split_batches(rope.finish().into_bytes()).unwrap();
            assert_eq!((batches[0].header.base_offset, batches.last().unwrap().header.last_offset()), (first, 29));
            assert!(batches.array_windows().all(|[batch, next]| batch.header.last_offset() + 1 == next.header.base_offset));
        }
    }

    #[test]
    fn markers_and_holes_become_control_batches() {
        let marker = ExtentPlace::Marker { producer_id: 9, producer_epoch: 3, kind: MarkerKind::Abort };
        let extents = [extent(5, 6, marker), extent(6, 16, ExtentPlace::Hole), extent(16, 17, marker)];
        let bytes = vec![vec![Bytes::new()]; 3];
        let mut rope = Rope::new(1_000, usize::MAX, true);
        assert_eq!(serve(&extents, &bytes, 5, 17, &mut rope), Ok(17));
        let batches = split_batches(rope.finish().into_bytes()).unwrap();
        let spans: Vec<_> = batches.iter().map(|batch| (batch.header.base_offset, batch.header.last_offset())).collect();
        assert_eq!(spans, [(5, 5), (6, 15), (16, 16)]);
        let (abort, hole) = (&batches[0], &batches[1]);
        assert!(batches.iter().all(|batch| batch.header.is_control()));
        assert_eq!((abort.header.producer_id, abort.header.producer_epoch, abort.header.is_transactional()), (9, 3, true));
        assert_eq!(hole.header.producer_id, -1);
        let place = strandline_wire::records::BatchPlace::of(&abort.header);
        for_each_record(&abort.bytes, place, &mut RecordScratch::default(), |record| {
            assert_eq!((record.offset, record.timestamp_ms), (5, 77));
            assert_eq!(ControlRecord::parse(record.key, record.value).unwrap().kind, ControlKind::Abort);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        // In the middle of a hole, and up to the last stable offset only.
        let mut rope = Rope::new(1_000, usize::MAX, true);
        assert_eq!(serve(&extents, &bytes, 10, 16, &mut rope), Ok(16));
        let batches = split_batches(rope.finish().into_bytes()).unwrap();
        assert_eq!((batches.len(), batches[0].header.base_offset, batches[0].header.last_offset()), (1, 10, 15));
    }
}
