//! A stored batch with what the fold decided: its base offset, and its append time. The records are not touched.

use super::header::{BATCH_HEADER_BYTES, CHECKED_FROM, TIMESTAMP_TYPE_BIT};
use super::validate::checksum;
use super::{BatchError, BatchHeader};
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use strandline_types::TimestampType;

/// Base offset, length and leader epoch, all before what the checksum covers.
const PATCHED_BYTES: usize = 16;
/// Served as leader epoch always: no log here is truncated.
const LEADER_EPOCH: i32 = -1;

/// The batch at another base offset, with leader epoch -1: 16 new bytes, and the rest as a slice.
///
/// # Errors
/// A batch shorter than its header.
pub fn rebase(batch: &Bytes, base_offset: i64) -> Result<[Bytes; 2], BatchError> {
    let Some(header) = batch.first_chunk::<BATCH_HEADER_BYTES>() else { return Err(too_short(batch)) };
    let mut patched = [0; PATCHED_BYTES];
    patched.copy_from_slice(&header[..PATCHED_BYTES]);
    patch(&mut patched, base_offset);
    Ok([Bytes::copy_from_slice(&patched), batch.slice(PATCHED_BYTES..)])
}

/// The same in a buffer that one owns.
///
/// # Errors
/// A batch shorter than its header.
pub fn rebase_in_place(batch: &mut [u8], base_offset: i64) -> Result<(), BatchError> {
    let actual = batch.len();
    let Some(header) = batch.first_chunk_mut::<BATCH_HEADER_BYTES>() else {
        return Err(BatchError::Length { expected: BATCH_HEADER_BYTES as i64, actual });
    };
    if let Some(patched) = header.first_chunk_mut() {
        patch(patched, base_offset);
    }
    Ok(())
}

fn patch(header: &mut [u8; PATCHED_BYTES], base_offset: i64) {
    header[..8].copy_from_slice(&base_offset.to_be_bytes());
    header[12..].copy_from_slice(&LEADER_EPOCH.to_be_bytes());
}

/// Below this, reading the records is quicker than the 7 us that combining checksums takes.
const COMBINED_FROM_BYTES: usize = 64 << 10;

fn too_short(batch: &[u8]) -> BatchError {
    BatchError::Length { expected: BATCH_HEADER_BYTES as i64, actual: batch.len() }
}

/// The batch at another base offset with another timestamp type and largest timestamp: a new header, and the records as a
/// slice. With [`TimestampType::LogAppend`] the largest timestamp is every record's.
///
/// The checksum of a large batch follows from the old one and the two headers, so its records are not read: the old one must
/// be right, as validation has seen to.
///
/// # Errors
/// A batch shorter than its header.
pub fn restamp(
    batch: &Bytes,
    base_offset: i64,
    timestamp_type: TimestampType,
    max_timestamp: i64,
) -> Result<[Bytes; 2], BatchError> {
    let mut header = BatchHeader::parse(batch)?;
    let records = batch.slice(BATCH_HEADER_BYTES..);
    let old = checksum(&batch[CHECKED_FROM..BATCH_HEADER_BYTES]);
    header.base_offset = base_offset;
    header.partition_leader_epoch = LEADER_EPOCH;
    header.max_timestamp = max_timestamp;
    match timestamp_type {
        TimestampType::LogAppend => header.attributes |= TIMESTAMP_TYPE_BIT,
        TimestampType::Create => header.attributes &= !TIMESTAMP_TYPE_BIT,
    }
    if records.len() < COMBINED_FROM_BYTES {
        let mut digest = crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi);
        digest.update(&header.to_bytes()[CHECKED_FROM..]);
        digest.update(&records);
        header.crc = digest.finalize() as u32;
    } else {
        // A CRC is linear: the difference of two headers, carried over the records, is the difference of the checksums.
        let new = checksum(&header.to_bytes()[CHECKED_FROM..]);
        let difference = u64::from(old ^ new);
        let length = records.len() as u64;
        header.crc = crc_fast::checksum_combine(CrcAlgorithm::Crc32Iscsi, difference, u64::from(header.crc), length) as u32;
    }
    Ok([Bytes::copy_from_slice(&header.to_bytes()), records])
}
