//! What is read is held against what it says of itself and what the index says of it.

use crate::ExtentError;
use crate::span::Home;
use std::ops::Range;
use strandline_index::Extent;
use strandline_wal::{BATCH_HEADER_BYTES, verify_batches};

/// Where a batch's length lies, of what follows it.
pub(crate) const LENGTH: Range<usize> = 8..12;
/// Where its format lies, and which it is.
pub(crate) const MAGIC_AT: usize = 16;
pub(crate) const MAGIC: u8 = 2;
/// Where its last offset delta lies.
pub(crate) const LAST_OFFSET_DELTA: Range<usize> = 23..27;

/// Holds the bytes against the batches' own CRCs, and the offsets that they take against the extent's.
pub(crate) fn check(home: Home, extent: &Extent, bytes: &[u8]) -> Result<(), ExtentError> {
    let damaged = |reason: String| ExtentError::Damaged { place: home.place(), reason };
    verify_batches(bytes).map_err(|error| damaged(error.to_string()))?;
    let mut rest = bytes;
    let mut offsets: i64 = 0;
    while let Some(header) = rest.get(..BATCH_HEADER_BYTES) {
        // Its own checksum does not cover it.
        if header[MAGIC_AT] != MAGIC {
            return Err(damaged(format!("a batch has the format {}", header[MAGIC_AT])));
        }
        offsets += i64::from(number(header, LAST_OFFSET_DELTA)) + 1;
        rest = rest.get(batch_bytes(header)..).unwrap_or_default();
    }
    if offsets == extent.end - extent.start {
        return Ok(());
    }
    Err(damaged(format!("its batches take {offsets} offsets where the index has {} to {}", extent.start, extent.end)))
}

/// Whether these bytes, which were checked, are whole batches.
pub(crate) fn ends_with_a_batch(bytes: &[u8]) -> bool {
    let mut at = 0_usize;
    while let Some(header) = bytes.get(at..).and_then(|rest| rest.get(..BATCH_HEADER_BYTES)) {
        at = at.saturating_add(batch_bytes(header));
    }
    at == bytes.len()
}

pub(crate) fn number(header: &[u8], range: Range<usize>) -> i32 {
    header[range].try_into().map(i32::from_be_bytes).unwrap_or(-1)
}

/// The length of the batch that begins so.
pub(crate) fn batch_bytes(header: &[u8]) -> usize {
    usize::try_from(i64::from(number(header, LENGTH)) + LENGTH.end as i64).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_whole_batches_or_not() {
        let batch = |length: i32| {
            let mut batch = vec![0; usize::try_from(length).unwrap_or_default() + 12];
            batch[8..12].copy_from_slice(&length.to_be_bytes());
            batch
        };
        let batches = [batch(60), batch(200)].concat();
        assert!(ends_with_a_batch(&[]) && ends_with_a_batch(&batches) && ends_with_a_batch(&batches[..72]));
        for cut in [1, 11, 60, 71, 73, 140, batches.len() - 1] {
            assert!(!ends_with_a_batch(&batches[..cut]), "{cut}");
        }
        assert!(!ends_with_a_batch(&[&batches[..], &[0]].concat()));
    }
}
