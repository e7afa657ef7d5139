//! What is left of an extent of which some batches are damaged.

use crate::check::{LAST_OFFSET_DELTA, LENGTH, MAGIC, MAGIC_AT, batch_bytes, number};
use bytes::{Bytes, BytesMut};
use std::ops::Range;
use strandline_index::Extent;
use strandline_wal::{BATCH_HEADER_BYTES, verify_batches};

/// An extent without its damaged batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// Its batches in order, the sound ones as they were sent. In the place of what is damaged is a control batch without records, which
    /// takes the same offsets: for converting alone, it has no checksum.
    pub bytes: Bytes,
    /// What was damaged; never all of it. None: everything is sound.
    pub damaged: Option<Damaged>,
}

/// Batches that are not what was sent: from the first such one to the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Their offsets.
    pub offsets: Range<i64>,
    /// What there is of them.
    pub bytes: Bytes,
}

const ATTRIBUTES: Range<usize> = 21..23;
const CONTROL: u16 = 0x20;

/// One batch as it lies there.
struct Laid {
    bytes: Range<usize>,
    /// So many, if it is sound.
    offsets: i64,
    is_sound: bool,
}

/// Cuts out of these bytes, the extent's own, what lies from the first damaged batch to the last one. Its offsets are those that the sound
/// batches before and behind it leave: what a damaged batch says of itself counts for nothing. So sound ones between two that are damaged go
/// with them, and those behind one whose length is wrong. None if nothing is sound, or nothing is damaged and the offsets are wrong all the same.
pub(crate) fn salvage(extent: &Extent, bytes: &Bytes) -> Option<Salvaged> {
    let (batches, end) = lay_out(bytes);
    let is_whole = end == bytes.len() && bytes.len() as u64 >= extent.length;
    let before = batches.iter().take_while(|batch| batch.is_sound).count();
    let behind = if is_whole { batches[before..].iter().rev().take_while(|batch| batch.is_sound).count() } else { 0 };
    if before + behind == 0 || (is_whole && before == batches.len()) {
        return None;
    }
    let sum = |batches: &[Laid]| batches.iter().map(|batch| batch.offsets).sum::<i64>();
    let offsets =
        extent.start.checked_add(sum(&batches[..before]))?..extent.end.checked_sub(sum(&batches[batches.len() - behind..]))?;
    let last_offset_delta = offsets.end.checked_sub(offsets.start)?.checked_sub(1)?;
    let last_offset_delta = i32::try_from(last_offset_delta).ok().filter(|delta| *delta >= 0)?;
    let cut = batches.get(before).map_or(end, |batch| batch.bytes.start)
        ..batches[batches.len() - behind..].first().map_or(bytes.len(), |batch| batch.bytes.start);
    let mut left = BytesMut::with_capacity(bytes.len() - cut.len() + BATCH_HEADER_BYTES);
    left.extend_from_slice(&bytes[..cut.start]);
    left.extend_from_slice(&placeholder(last_offset_delta));
    left.extend_from_slice(&bytes[cut.end..]);
    // A copy: it must not keep the whole extent.
    let damaged = Damaged { offsets, bytes: Bytes::copy_from_slice(&bytes[cut]) };
    Some(Salvaged { bytes: left.freeze(), damaged: Some(damaged) })
}

/// The batches, as far as their lengths lead, and how far that is.
fn lay_out(bytes: &[u8]) -> (Vec<Laid>, usize) {
    let (mut batches, mut at) = (Vec::new(), 0);
    while let Some(header) = bytes.get(at..).and_then(|rest| rest.get(..BATCH_HEADER_BYTES)) {
        let end = at.saturating_add(batch_bytes(header));
        let Some(batch) = bytes.get(at..end).filter(|batch| batch.len() >= BATCH_HEADER_BYTES) else { break };
        let is_sound = batch[MAGIC_AT] == MAGIC && verify_batches(batch).is_ok();
        batches.push(Laid { bytes: at..end, offsets: i64::from(number(header, LAST_OFFSET_DELTA)) + 1, is_sound });
        at = end;
    }
    (batches, at)
}

/// A control batch of no records that takes so many offsets, less one.
fn placeholder(last_offset_delta: i32) -> [u8; BATCH_HEADER_BYTES] {
    let mut header = [0; BATCH_HEADER_BYTES];
    header[LENGTH].copy_from_slice(&((BATCH_HEADER_BYTES - LENGTH.end) as u32).to_be_bytes());
    header[MAGIC_AT] = MAGIC;
    header[ATTRIBUTES].copy_from_slice(&CONTROL.to_be_bytes());
    header[LAST_OFFSET_DELTA].copy_from_slice(&last_offset_delta.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use strandline_index::ExtentPlace;
    use strandline_wire::records::{BatchBuilder, BatchOptions, split_batches};

    const START: i64 = 1_000;
    const RECORDS: [u32; 4] = [3, 1, 4, 2];

    fn batches() -> Vec<Bytes> {
        let batch = |(at, records): (usize, &u32)| {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            (0..*records).for_each(|_| builder.push_next(5, None, Some(&[at as u8; 40]), &[]).unwrap());
            builder.finish(None).unwrap()
        };
        RECORDS.iter().enumerate().map(batch).collect()
    }

    fn extent() -> Extent {
        Extent {
            start: START,
            end: START + i64::from(RECORDS.iter().sum::<u32>()),
            place: ExtentPlace::Hole,
            length: batches().concat().len() as u64,
            ingest_ms: 0,
            log_append_time: false,
            max_timestamp_ms: -1,
            max_timestamp_offset: 0,
        }
    }

    /// The batches that stand there, by number, and the numbers of those that are cut out. Each that stands is what was sent, at its offsets.
    fn look(salvaged: &Salvaged) -> (Vec<usize>, Range<i64>) {
        let sent = batches();
        let starts: Vec<i64> = (0..4).map(|at| START + i64::from(RECORDS[..at].iter().sum::<u32>())).collect();
        let (mut offset, mut standing) = (START, Vec::new());
        for batch in split_batches(salvaged.bytes.clone()).unwrap() {
            if batch.header.is_control() {
                assert_eq!((batch.header.record_count, batch.bytes.len()), (0, BATCH_HEADER_BYTES));
                assert_eq!(offset, salvaged.damaged.as_ref().unwrap().offsets.start);
            } else {
                let number = starts.iter().position(|start| *start == offset).unwrap();
                // What stands before the format its checksum does not cover, and nobody reads it.
                assert_eq!(batch.bytes[16..], sent[number][16..]);
                standing.push(number);
            }
            offset += i64::from(batch.header.last_offset_delta) + 1;
        }
        assert_eq!(offset, extent().end);
        let offsets = salvaged.damaged.as_ref().unwrap().offsets.clone();
        (standing, offsets.start - START..offsets.end - START)
    }

    fn with(changes: &[(usize, usize)]) -> Option<(Vec<usize>, Range<i64>)> {
        let mut batches: Vec<Vec<u8>> = batches().iter().map(|batch| batch.to_vec()).collect();
        changes.iter().for_each(|(batch, at)| batches[*batch][*at] ^= 2);
        salvage(&extent(), &batches.concat().into()).as_ref().map(look)
    }

    #[test]
    fn a_damaged_batch_costs_its_own_records() {
        for at in [16, 18, 22, 26, 40, 60, 70] {
            assert_eq!(with(&[(0, at)]), Some((vec![1, 2, 3], 0..3)), "byte {at}");
            assert_eq!(with(&[(2, at)]), Some((vec![0, 1, 3], 4..8)), "byte {at}");
            assert_eq!(with(&[(3, at)]), Some((vec![0, 1, 2], 8..10)), "byte {at}");
        }
        for length in LENGTH {
            let (standing, offsets) = with(&[(2, length)]).unwrap();
            assert!(standing.starts_with(&[0, 1]) && offsets.start == 4, "{standing:?}");
        }
    }

    #[test]
    fn what_lies_between_two_goes_with_them() {
        assert_eq!(with(&[(0, 70), (2, 24)]), Some((vec![3], 0..8)));
        assert_eq!(with(&[(1, 24), (2, 24)]), Some((vec![0, 3], 3..8)));
        assert_eq!(with(&[(0, 70), (3, 70)]), None, "nothing can be told");
        assert_eq!(with(&[]), None, "nothing is damaged");
    }

    #[test]
    fn of_what_was_cut_stands_what_is_whole() {
        let sent = batches();
        let whole = Bytes::from(sent.concat());
        for end in 1..whole.len() {
            let standing = (1..=4).take_while(|count| sent[..*count].iter().map(Bytes::len).sum::<usize>() <= end).count();
            let found = salvage(&extent(), &whole.slice(..end));
            let offsets = i64::from(RECORDS[..standing].iter().sum::<u32>())..10;
            let expected = (standing > 0).then(|| ((0..standing).collect::<Vec<_>>(), offsets));
            assert_eq!(found.as_ref().map(look), expected, "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_wrong_no_record_stands_at_another_offset(
            changes in prop::collection::vec((0_usize..1_000, any::<u8>()), 1..6),
        ) {
            let mut whole = batches().concat();
            let end = whole.len();
            changes.iter().for_each(|(at, byte)| whole[at % end] = *byte);
            if let Some(salvaged) = salvage(&extent(), &whole.into()) {
                look(&salvaged);
            }
        }
    }
}
