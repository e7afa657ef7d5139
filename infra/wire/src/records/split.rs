//! Batches one after the other, as Produce and Fetch carry them.

use super::{BatchError, BatchHeader, header::BATCH_HEADER_BYTES};
use bytes::Bytes;

/// One batch, its header read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchView {
    /// The header.
    pub header: BatchHeader,
    /// The whole batch, a slice of what it came in.
    pub bytes: Bytes,
}

/// All batches in `records`, each a slice of it. Nothing in them is checked but format and length.
///
/// # Errors
/// Another format, or a length that does not fit: also a last batch that is cut off.
pub fn split_batches(records: Bytes) -> Result<Vec<BatchView>, BatchError> {
    let mut records = records;
    let mut batches = Vec::new();
    while !records.is_empty() {
        let (header, bytes) = BatchHeader::parse_whole(&records)?;
        batches.push(BatchView { header, bytes: records.split_to(bytes) });
    }
    Ok(batches)
}

/// Like [`split_batches`], but leaves out a last batch that is cut off, as a Fetch answer may end.
///
/// # Errors
/// Another format, or a length that no batch has.
pub fn split_whole_batches(records: Bytes) -> Result<Vec<BatchView>, BatchError> {
    let mut whole = 0;
    while let Some(prefix) = records.get(whole..whole + 12) {
        let length = i32::from_be_bytes([prefix[8], prefix[9], prefix[10], prefix[11]]);
        let bytes = i64::from(length) + 12;
        if bytes < BATCH_HEADER_BYTES as i64 {
            return Err(BatchError::Length { expected: BATCH_HEADER_BYTES as i64, actual: records.len() - whole });
        }
        if bytes as usize > records.len() - whole {
            break;
        }
        whole += bytes as usize;
    }
    split_batches(records.slice(..whole))
}
