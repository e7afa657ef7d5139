//! The digest of a run of records, as consumers must see them: CRC-32C over [`RecordRef::digest_into`].

use crc_fast::{CrcAlgorithm, Digest};
use strandline_types::RecordRef;

/// Bytes are gathered up to this many, since a checksum is slow on pieces of eight bytes.
const GATHER_BYTES: usize = 32 << 10;

/// The digest of the run that is being written or read; its memory is used again for the next.
pub(crate) struct RunDigest {
    gathered: Vec<u8>,
    crc: Digest,
    ingest: Vec<u8>,
}

impl RunDigest {
    pub fn new() -> Self {
        Self { gathered: Vec::with_capacity(GATHER_BYTES), crc: Digest::new(CrcAlgorithm::Crc32Iscsi), ingest: Vec::new() }
    }

    pub fn update(&mut self, ingest_ms: i64, record: &RecordRef<'_>) {
        let Self { gathered, crc, ingest } = self;
        ingest.extend_from_slice(&ingest_ms.to_be_bytes());
        record.digest_into(|bytes| {
            if bytes.len() >= GATHER_BYTES {
                crc.update(gathered);
                gathered.clear();
                crc.update(bytes);
            } else {
                gathered.extend_from_slice(bytes);
            }
        });
        if gathered.len() >= GATHER_BYTES {
            crc.update(gathered);
            gathered.clear();
        }
    }

    /// The digests of the records and of their times of ingest; ready for the next run.
    pub fn finish(&mut self) -> (u32, u32) {
        self.crc.update(&self.gathered);
        self.gathered.clear();
        let ingest = crc_fast::crc32_iscsi(&self.ingest);
        self.ingest.clear();
        (self.crc.finalize_reset() as u32, ingest)
    }
}

/// Key, value and header bytes of a record: what 'record bytes' means everywhere in this crate.
pub(crate) fn record_bytes(record: &RecordRef<'_>) -> usize {
    let headers: usize = record.headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum();
    record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers
}

/// What a record weighs in memory: its bytes, and something for the row and for each header, which may have no bytes at all.
pub(crate) fn record_weight(record: &RecordRef<'_>) -> usize {
    record_bytes(record) + 32 + 16 * record.headers.len()
}
