//! Bytes of a file that a caller has fetched: any set of ranges, or all of it.

use bytes::{Buf, Bytes};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};
use std::ops::Range;
use std::sync::Arc;

/// Ranges of one file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetched {
    file_bytes: u64,
    /// Ascending by start.
    pieces: Arc<[(u64, Bytes)]>,
}

impl Fetched {
    /// The ranges at hand, each with its first byte's place in the file of `file_bytes`. They may overlap and hold more than
    /// was asked for, such as whole cache blocks; a range that crosses two neighbouring pieces is joined.
    pub fn new(file_bytes: u64, mut pieces: Vec<(u64, Bytes)>) -> Self {
        pieces.sort_by_key(|(start, _)| *start);
        Self { file_bytes, pieces: pieces.into() }
    }

    /// The whole file in one piece.
    pub fn whole(bytes: Bytes) -> Self {
        Self::new(bytes.len() as u64, vec![(0, bytes)])
    }

    /// The whole file in the pieces that a writer made.
    pub fn whole_in_pieces(pieces: &[Bytes]) -> Self {
        let mut at = 0;
        let placed = pieces.iter().map(|piece| {
            let start = at;
            at += piece.len() as u64;
            (start, piece.clone())
        });
        let placed = placed.collect();
        Self::new(at, placed)
    }

    /// How many bytes are at hand.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.pieces.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// The bytes of `range`, if they are all here. Copies only where the range crosses pieces.
    pub fn get(&self, range: Range<u64>) -> Option<Bytes> {
        let length = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
        let first = self.from(range.start)?;
        if length <= first.len() {
            return Some(first.slice(..length));
        }
        // What is asked for is not always there, so memory grows with what is found.
        let mut joined = first.to_vec();
        while joined.len() < length {
            let next = self.from(range.start + joined.len() as u64)?;
            joined.extend_from_slice(&next[..next.len().min(length - joined.len())]);
        }
        Some(joined.into())
    }

    /// The longest stretch at hand that begins at `start`; it is not empty.
    fn from(&self, start: u64) -> Option<Bytes> {
        let before = self.pieces.partition_point(|(at, _)| *at <= start);
        let covering = self.pieces[..before].iter().rev().find(|(at, bytes)| start - at < bytes.len() as u64);
        covering.map(|(at, bytes)| bytes.slice((start - at) as usize..))
    }
}

impl Length for Fetched {
    fn len(&self) -> u64 {
        self.file_bytes
    }
}

/// What the Parquet reader asks for.
impl ChunkReader for Fetched {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        self.from(start).map(Bytes::reader).ok_or_else(|| missing(start, 1))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.checked_add(length as u64);
        end.and_then(|end| self.get(start..end)).ok_or_else(|| missing(start, length))
    }
}

/// How a missing range is told from a damaged file in the Parquet library's errors.
pub(crate) const NOT_FETCHED: &str = "are not among those that were fetched";

fn missing(start: u64, length: usize) -> ParquetError {
    ParquetError::EOF(format!("{length} bytes at {start} {NOT_FETCHED}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_and_joined() {
        let file: Vec<u8> = (0..100).collect();
        let piece = |range: Range<usize>| (range.start as u64, Bytes::copy_from_slice(&file[range]));
        let fetched = Fetched::new(100, vec![piece(50..60), piece(0..20), piece(20..40), piece(52..55)]);
        for range in [0..20, 5..7, 15..40, 20..20, 50..60, 51..59, 53..60, 0..40, 54..58] {
            let found = fetched.get(range.start as u64..range.end as u64).unwrap();
            assert_eq!(found, file[range.clone()], "{range:?}");
        }
        for range in [39..41, 40..41, 45..55, 59..61, 99..100] {
            assert_eq!(fetched.get(range.clone()), None, "{range:?}");
        }
        assert!(fetched.get_bytes(u64::MAX, 2).is_err());
        let whole = Fetched::whole_in_pieces(&[piece(0..33).1, piece(33..100).1]);
        assert_eq!(whole.get(0..100).unwrap(), file);
    }
}
