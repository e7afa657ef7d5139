//! What one append writes.

use crate::AppendError;
use bytes::{Bytes, BytesMut};
use std::ops::Range;
use strandline_types::{ChainHash, Seq, limits};

/// Bytes that ride inline in an entry: batches as producers sent them. Kept as the chunks they came in, so
/// that nothing is copied on the way to the disk.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    /// The chunks, in order.
    pub chunks: Vec<Bytes>,
    /// Their length together.
    pub length: u64,
    /// CRC-32C over all of them.
    pub crc32c: u32,
}

impl Payload {
    /// A payload of these chunks, with its length and CRC.
    pub fn new(chunks: Vec<Bytes>) -> Self {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        let mut length = 0;
        for chunk in &chunks {
            digest.update(chunk);
            length += chunk.len() as u64;
        }
        Self { chunks, length, crc32c: digest.finalize() as u32 }
    }

    /// Bytes that one may have: a log that is not a local file takes small ones only.
    pub const fn most_bytes(takes_any_payload: bool) -> usize {
        if takes_any_payload { limits::ENTRY_PAYLOAD_BYTES } else { limits::ENTRY_INLINE_BYTES }
    }

    /// The bytes at `range`, or none if it reaches past the end. Copies only where the range spans chunks.
    pub fn slice(&self, range: Range<u64>) -> Option<Bytes> {
        if range.start > range.end || range.end > self.length {
            return None;
        }
        let mut parts = parts(&self.chunks, 0, range);
        let first = parts.next().unwrap_or_default();
        let Some(second) = parts.next() else { return Some(first) };
        let mut found = BytesMut::from(first);
        std::iter::once(second).chain(parts).for_each(|part| found.extend_from_slice(&part));
        Some(found.freeze())
    }
}

/// What the chunks, of which the first one begins at `start`, have of a range: slices, none of them empty.
pub fn parts(chunks: &[Bytes], start: u64, range: Range<u64>) -> impl Iterator<Item = Bytes> {
    let placed = chunks.iter().scan(start, |at, chunk| {
        let from = *at;
        *at += chunk.len() as u64;
        Some((from..*at, chunk))
    });
    let end = range.end;
    let reached = placed.take_while(move |(place, _)| place.start < end);
    reached.filter_map(move |(place, chunk)| {
        let (from, to) = (range.start.max(place.start), range.end.min(place.end));
        (from < to).then(|| chunk.slice((from - place.start) as usize..(to - place.start) as usize))
    })
}

/// One entry, as it is appended.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The hash of the entry before, so that a log that was put together wrongly is found.
    pub hash_before: ChainHash,
    /// Format version and encoded commits; holds the payload's length and CRC. At most [`strandline_types::limits::ENTRY_BYTES`].
    pub bytes: Bytes,
    /// What rides inline.
    pub payload: Payload,
}

impl Entry {
    /// The entry as a reader sees it at `seq`.
    pub fn row(&self, seq: Seq) -> Row {
        Row { seq, hash_before: self.hash_before, bytes: self.bytes.clone(), payload_length: self.payload.length }
    }

    /// `TooLarge` if the entry breaks a limit; a log that is not a local file takes small payloads only.
    pub fn check_size(&self, takes_any_payload: bool) -> Result<(), AppendError> {
        let payload_limit = Payload::most_bytes(takes_any_payload);
        let sizes = [(self.bytes.len() as u64, limits::ENTRY_BYTES as u64), (self.payload.length, payload_limit as u64)];
        match sizes.into_iter().find(|(bytes, limit)| bytes > limit) {
            Some((bytes, limit)) => Err(AppendError::TooLarge { bytes, limit }),
            None => Ok(()),
        }
    }
}

/// One entry, as it is read: without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its place.
    pub seq: Seq,
    /// The hash of the entry before.
    pub hash_before: ChainHash,
    /// Format version and encoded commits.
    pub bytes: Bytes,
    /// Length of the payload left out.
    pub payload_length: u64,
}
