//! What is read is held against what it says of itself and what the index says of it.

use crate::ExtentError;
use crate::span::Home;
use std::ops::Range;
use strandline_index::Extent;
use strandline_wal::{BATCH_HEADER_BYTES, verify_batches};

/// Where a batch's last offset delta lies.
const LAST_OFFSET_DELTA: Range<usize> = 23..27;

/// Holds the bytes against the batches' own CRCs, and the offsets that they take against the extent's.
pub(crate) fn check(home: Home, extent: &Extent, bytes: &[u8]) -> Result<(), ExtentError> {
    let damaged = |reason: String| ExtentError::Damaged { place: home.place(), reason };
    verify_batches(bytes).map_err(|error| damaged(error.to_string()))?;
    let mut rest = bytes;
    let mut offsets: i64 = 0;
    while let Some(header) = rest.get(..BATCH_HEADER_BYTES) {
        let number = |range: Range<usize>| header[range].try_into().map(i32::from_be_bytes).unwrap_or(-1);
        let length = usize::try_from(i64::from(number(8..12)) + 12).unwrap_or(usize::MAX);
        offsets += i64::from(number(LAST_OFFSET_DELTA)) + 1;
        rest = rest.get(length..).unwrap_or_default();
    }
    if offsets == extent.end - extent.start {
        return Ok(());
    }
    Err(damaged(format!("its batches take {offsets} offsets where the index has {} to {}", extent.start, extent.end)))
}
