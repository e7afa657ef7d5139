//! The hot tail: extents and their bytes become batches with offsets.

use crate::hole::serve_hole;
use crate::rope::Rope;
use bytes::Bytes;
use strandline_index::{Extent, ExtentPlace, MarkerKind};
use strandline_wire::records::{BatchError, BatchHeader, ControlKind, control_batch};

/// Adds the batches of `extents` that hold `offset` or come after it and begin below `end`, until the rope is full. `bytes`
/// are the extents' own, already checked. Gives the first offset that was not served.
///
/// A batch that holds `offset` in its middle goes whole, as Kafka does.
pub(crate) fn serve(extents: &[Extent], bytes: &[Bytes], offset: i64, end: i64, rope: &mut Rope) -> Result<i64, BatchError> {
    let mut next = offset;
    for (extent, bytes) in extents.iter().zip(bytes) {
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
                let (reached, whole) = serve_batches(extent, bytes, offset, end, rope)?;
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

fn serve_batches(extent: &Extent, bytes: &Bytes, offset: i64, end: i64, rope: &mut Rope) -> Result<(i64, bool), BatchError> {
    let append_ms = extent.log_append_time.then_some(extent.ingest_ms);
    let mut base = extent.start;
    let mut at = 0;
    while at < bytes.len() {
        let header = BatchHeader::parse(&bytes[at..])?;
        let length = usize::try_from(header.total_bytes()).unwrap_or(usize::MAX);
        let batch_end = at.checked_add(length).filter(|batch_end| *batch_end <= bytes.len());
        let batch_end = batch_end.ok_or(BatchError::Length { expected: header.total_bytes(), actual: bytes.len() - at })?;
        let next = base + i64::from(header.last_offset_delta) + 1;
        if next > offset {
            if base >= end || !rope.admits(length, header.compression()?) {
                return Ok((base, false));
            }
            rope.push_stored(&bytes.slice(at..batch_end), base, append_ms)?;
        }
        (base, at) = (next, batch_end);
    }
    Ok((base, true))
}
