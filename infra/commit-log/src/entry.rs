//! What one append writes.

use bytes::Bytes;
use strandline_types::{ChainHash, Seq};

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
