//! The checksum that a file carries of itself, so that one of which nothing else is known can be told to be whole (I10).
//!
//! It is the CRC-32C of all of the file's bytes but its own eight digits, which stand as the last of the footer's keys. What lies
//! under no digest of records is under it: statistics, columns that only engines read, Parquet's own footer.

use crate::fetched::Fetched;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use parquet::file::reader::Length;
use std::ops::Range;

/// The footer's key; from format version 2 on.
pub(crate) const FILE_CRC32C: &str = "strandline.file_crc32c";
/// What stands there until the file is written.
pub(crate) const NO_DIGITS: &str = "00000000";

/// What a file's checksum of itself says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileCheck {
    /// Every byte is as it was written.
    Sound,
    /// At least one byte is not.
    Differs,
    /// It carries none: it is of format version 1.
    None,
}

/// Eight digits, and in one way only: a changed case is a changed byte.
pub(crate) fn digits_of(crc32c: u32) -> String {
    format!("{crc32c:08x}")
}

/// Where the digits stand in a file's end. The last place is meant: what comes before may hold bytes of anybody's.
pub(crate) fn find_digits(tail: &[u8]) -> Option<Range<usize>> {
    // As Thrift's compact protocol writes a pair: the key's bytes, the header of the next field, its length, its bytes.
    let mut pattern = FILE_CRC32C.as_bytes().to_vec();
    pattern.extend_from_slice(&[0x18, NO_DIGITS.len() as u8]);
    let start = tail.windows(pattern.len()).rposition(|window| window == pattern)? + pattern.len();
    let digits = start..start + NO_DIGITS.len();
    (digits.end <= tail.len()).then_some(digits)
}

/// Compares the file, of which these are all bytes, with the digits that its footer has.
pub(crate) fn check(expected: Option<&str>, pieces: &[Bytes]) -> FileCheck {
    let Some(expected) = expected else { return FileCheck::None };
    let fetched = Fetched::whole_in_pieces(pieces);
    let Some(digits) = place_of_digits(&fetched) else { return FileCheck::Differs };
    let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
    let mut at = 0;
    for piece in pieces {
        let place = |offset: u64| usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX).min(piece.len());
        crc.update(&piece[..place(digits.start)]);
        crc.update(&piece[place(digits.end)..]);
        at += piece.len() as u64;
    }
    if digits_of(crc.finalize() as u32) == expected { FileCheck::Sound } else { FileCheck::Differs }
}

fn place_of_digits(fetched: &Fetched) -> Option<Range<u64>> {
    /// The footer's length and the magic.
    const END_BYTES: u64 = 8;
    let file_bytes = fetched.len();
    let end = fetched.get(file_bytes.checked_sub(END_BYTES)?..file_bytes)?;
    let footer_bytes = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
    let start = (file_bytes - END_BYTES).checked_sub(footer_bytes)?;
    let digits = find_digits(&fetched.get(start..file_bytes)?)?;
    Some(start + digits.start as u64..start + digits.end as u64)
}
