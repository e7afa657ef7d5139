//! What is left of an extent of which some batches are damaged.

use crate::check::{LAST_OFFSET_DELTA, LENGTH, MAGIC, MAGIC_AT, batch_bytes, number};
use bytes::{Bytes, BytesMut};
use std::ops::Range;
use strandline_index::Extent;
use strandline_wal::{BATCH_HEADER_BYTES, verify_batches};

/// An extent without its damaged batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// Its batches in order, the sound ones as they were sent. In the place of a damaged one is a control batch without records, which
    /// takes the same offsets: for converting alone, it has no checksum.
    pub bytes: Bytes,
    /// Those that were damaged. Never all of them.
    pub damaged: Vec<DamagedBatch>,
}

/// A batch that is not what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedBatch {
    /// Its offsets.
    pub offsets: Range<i64>,
    /// What there is of it.
    pub bytes: Bytes,
}

const ATTRIBUTES: Range<usize> = 21..23;
const CONTROL: u16 = 0x20;

/// Tells the damaged batches of these bytes, the extent's own, from the sound ones. None if nothing is sound, or if it cannot be told which
/// offsets are whose: the lengths must lead from batch to batch up to the end, and the offsets come to the extent's. One damaged batch has
/// those that the others leave; several have to say so themselves.
pub(crate) fn salvage(extent: &Extent, bytes: &Bytes) -> Option<Salvaged> {
    let mut batches = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let header = bytes[at..].get(..BATCH_HEADER_BYTES)?;
        let end = at.checked_add(batch_bytes(header))?;
        let batch = bytes.get(at..end).filter(|batch| batch.len() >= BATCH_HEADER_BYTES)?;
        let is_sound = batch[MAGIC_AT] == MAGIC && verify_batches(batch).is_ok();
        batches.push((at..end, i64::from(number(header, LAST_OFFSET_DELTA)) + 1, is_sound));
        at = end;
    }
    let damaged = batches.iter().filter(|(.., is_sound)| !is_sound).count();
    if damaged == 0 || damaged == batches.len() {
        return None;
    }
    let all = extent.end.checked_sub(extent.start)?;
    let sum_where = |wanted: bool| {
        let offsets = batches.iter().filter(|(.., is_sound)| *is_sound == wanted).map(|(_, offsets, _)| *offsets);
        offsets.sum::<i64>()
    };
    if damaged == 1 {
        let left = all.checked_sub(sum_where(true))?;
        batches.iter_mut().filter(|(.., is_sound)| !is_sound).for_each(|(_, offsets, _)| *offsets = left);
    } else if sum_where(true).checked_add(sum_where(false))? != all {
        return None;
    }
    let mut salvaged = Salvaged { bytes: Bytes::new(), damaged: Vec::new() };
    let mut whole = BytesMut::with_capacity(bytes.len());
    let mut start = extent.start;
    for (range, offsets, is_sound) in batches {
        let delta = i32::try_from(offsets.checked_sub(1)?).ok().filter(|delta| *delta >= 0)?;
        let end = start.checked_add(offsets)?;
        if is_sound {
            whole.extend_from_slice(&bytes[range]);
        } else {
            whole.extend_from_slice(&placeholder(delta));
            // A copy: it must not keep the whole extent.
            let bytes = Bytes::copy_from_slice(&bytes[range]);
            salvaged.damaged.push(DamagedBatch { offsets: start..end, bytes });
        }
        start = end;
    }
    salvaged.bytes = whole.freeze();
    Some(salvaged)
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
    use strandline_index::ExtentPlace;
    use strandline_wire::records::{BatchBuilder, BatchOptions, split_batches};

    const START: i64 = 1_000;

    fn batches(records: &[u32]) -> Vec<Bytes> {
        let batch = |(at, records): (usize, &u32)| {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            (0..*records).for_each(|_| builder.push_next(5, None, Some(&[at as u8; 40]), &[]).unwrap());
            builder.finish(None).unwrap()
        };
        records.iter().enumerate().map(batch).collect()
    }

    fn extent(records: &[u32]) -> Extent {
        Extent {
            start: START,
            end: START + i64::from(records.iter().sum::<u32>()),
            place: ExtentPlace::Hole,
            length: 0,
            ingest_ms: 0,
            log_append_time: false,
            max_timestamp_ms: -1,
            max_timestamp_offset: 0,
        }
    }

    #[test]
    fn one_wrong_byte_costs_its_batch_and_no_other() {
        let records = [3, 1, 4, 2];
        let sent = batches(&records);
        let whole = sent.concat();
        let mut given_up = Vec::new();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            let Some(salvaged) = salvage(&extent(&records), &damaged.into()) else {
                given_up.push(at);
                continue;
            };
            let (mut start, mut from) = (START, 0);
            let found = split_batches(salvaged.bytes).unwrap();
            assert_eq!((found.len(), salvaged.damaged.len()), (4, 1), "byte {at}");
            for ((batch, records), sent) in found.iter().zip(records).zip(&sent) {
                let end = start + i64::from(records);
                assert_eq!(batch.header.last_offset_delta + 1, records as i32, "byte {at}");
                if (from..from + sent.len()).contains(&at) {
                    assert!(batch.header.is_control() && batch.header.record_count == 0);
                    assert_eq!((&salvaged.damaged[0].offsets, salvaged.damaged[0].bytes.len()), (&(start..end), sent.len()));
                } else {
                    assert_eq!(batch.bytes, sent, "byte {at}");
                }
                (start, from) = (end, from + sent.len());
            }
        }
        // What the checksum does not cover and nobody looks at does no harm; only where a batch ends cannot be made good.
        let place = |at: &usize| {
            let mut left = *at;
            for batch in &sent {
                if left < batch.len() {
                    break;
                }
                left -= batch.len();
            }
            left
        };
        assert!(given_up.iter().map(place).all(|at| at < LENGTH.end || (12..16).contains(&at)), "{given_up:?}");
    }

    #[test]
    fn several_are_told_apart_where_their_offsets_come_to_all() {
        let records = [3, 1, 4, 2];
        let sent = batches(&records);
        let damaged = |which: &[usize], at: usize| {
            let mut batches: Vec<Vec<u8>> = sent.iter().map(|batch| batch.to_vec()).collect();
            which.iter().for_each(|batch| batches[*batch][at] ^= 1);
            salvage(&extent(&records), &batches.concat().into())
        };
        let offsets = |salvaged: Salvaged| {
            let ranges = salvaged.damaged.into_iter().map(|batch| (batch.offsets.start - START, batch.offsets.end - START));
            ranges.collect::<Vec<_>>()
        };
        assert_eq!(damaged(&[0, 2], 70).map(offsets), Some(vec![(0, 3), (4, 8)]));
        assert_eq!(damaged(&[1], 26).map(offsets), Some(vec![(3, 4)]), "its own offsets");
        assert_eq!(damaged(&[0, 3], 24), None, "which are whose is not known");
        assert_eq!(damaged(&[0, 1, 2, 3], 70), None, "nothing is sound");
        assert_eq!(damaged(&[], 0), None, "everything is");
        let cut = Bytes::from(sent.concat()).slice(..sent.concat().len() - 1);
        assert_eq!(salvage(&extent(&records), &cut), None);
        let other = [3, 1, 4, 3];
        let mut wrong = sent.concat();
        let end = wrong.len();
        wrong[end - 1] ^= 1;
        assert_eq!(salvage(&extent(&other), &wrong.into()).map(offsets), Some(vec![(8, 11)]), "what the others leave");
    }
}
