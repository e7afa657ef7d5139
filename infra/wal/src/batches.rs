//! A walk over record batches by their lengths: no decoding, no copying.

use crc_fast::{CrcAlgorithm, Digest};

/// Length of a v2 record batch's header, which the headers' digest covers.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Base offset (8) and length (4) come before the bytes that the length counts.
const LENGTH_END: usize = 12;
/// The batch's own CRC-32C lies here and covers what follows it.
const CRC_AT: usize = 17;
const CRC_END: usize = 21;

/// Bytes that are not a run of whole record batches. Never worth a retry: the same bytes give the same answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchWalkError {
    /// A batch does not end within the bytes.
    #[error("the batch at byte {at} does not end within the {bytes} bytes of its run: the run was cut or its length is damaged")]
    Cut {
        /// Where the batch begins.
        at: usize,
        /// Length of the run.
        bytes: usize,
    },
    /// A batch is shorter than its header.
    #[error("the batch at byte {at} says it has {length} bytes, less than a batch header: its length is damaged")]
    TooShort {
        /// Where the batch begins.
        at: usize,
        /// The length it claims, counted from its first byte.
        length: i64,
    },
    /// The bytes of a batch do not match the CRC that its producer computed.
    #[error("the batch at byte {at} fails its own CRC-32C: its records are damaged")]
    Crc {
        /// Where the batch begins.
        at: usize,
    },
}

/// Calls `visit` with the place and the bytes of each batch.
fn walk(run: &[u8], mut visit: impl FnMut(usize, &[u8]) -> Result<(), BatchWalkError>) -> Result<u32, BatchWalkError> {
    let mut at = 0;
    let mut batches = 0;
    while at < run.len() {
        let rest = &run[at..];
        let Some(length) = rest.get(8..LENGTH_END).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes) else {
            return Err(BatchWalkError::Cut { at, bytes: run.len() });
        };
        let length = i64::from(length) + LENGTH_END as i64;
        let whole = match usize::try_from(length) {
            Ok(whole) if whole >= BATCH_HEADER_BYTES => whole,
            _ => return Err(BatchWalkError::TooShort { at, length }),
        };
        let Some(batch) = rest.get(..whole) else {
            return Err(BatchWalkError::Cut { at, bytes: run.len() });
        };
        visit(at, batch)?;
        at += whole;
        batches += 1;
    }
    Ok(batches)
}

/// Feeds the header of every batch of `run` to `digest`; the number of batches.
pub(crate) fn digest_headers(digest: &mut Digest, run: &[u8]) -> Result<u32, BatchWalkError> {
    walk(run, |_, batch| {
        digest.update(&batch[..BATCH_HEADER_BYTES]);
        Ok(())
    })
}

pub(crate) fn new_digest() -> Digest {
    Digest::new(CrcAlgorithm::Crc32Iscsi)
}

pub(crate) fn finish(digest: &Digest) -> u32 {
    digest.finalize() as u32
}

/// CRC-32C over the first 61 bytes of every batch of `run`, in order.
///
/// # Errors
/// `run` is not a run of whole batches.
pub fn headers_digest(run: &[u8]) -> Result<u32, BatchWalkError> {
    let mut digest = new_digest();
    digest_headers(&mut digest, run)?;
    Ok(finish(&digest))
}

/// Checks every batch of `run` against its own CRC-32C, for a rebuild; the number of batches.
///
/// # Errors
/// `run` is not a run of whole batches, or a batch fails its CRC.
pub fn verify_batches(run: &[u8]) -> Result<u32, BatchWalkError> {
    walk(run, |at, batch| {
        let stored = batch[CRC_AT..CRC_END].try_into().map(u32::from_be_bytes).unwrap_or_default();
        if crc_fast::crc32_iscsi(&batch[CRC_END..]) == stored { Ok(()) } else { Err(BatchWalkError::Crc { at }) }
    })
}
