//! Holes: offsets that hold nothing and are covered all the same.

use crate::rope::Rope;
use bytes::Bytes;
use strandline_wire::records::{BatchError, hole_batch};

/// Control batches that cover `[start, end)`, each with the first offset behind it: several where the hole is wider than one can say.
pub(crate) fn hole_batches(start: i64, end: i64, time_ms: i64) -> Result<Vec<(Bytes, i64)>, BatchError> {
    let mut batches = Vec::new();
    let mut at = start;
    while at < end {
        let last = (end - 1).min(at.saturating_add(i64::from(i32::MAX)));
        batches.push((hole_batch(at, last, time_ms)?, last + 1));
        at = last + 1;
    }
    Ok(batches)
}

/// Covers `[start, end)` as far as there is room. Gives the first offset that is not covered, and whether all was.
pub(crate) fn serve_hole(start: i64, end: i64, time_ms: i64, rope: &mut Rope) -> Result<(i64, bool), BatchError> {
    let mut next = start;
    for (batch, behind) in hole_batches(start, end, time_ms)? {
        if !rope.push_control(&batch) {
            return Ok((next, false));
        }
        next = behind;
    }
    Ok((next, true))
}
