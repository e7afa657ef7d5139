//! The digest of a run of records, as consumers must see them: CRC-32C over [`RecordRef::digest_into`].

use crc_fast::{CrcAlgorithm, Digest};
use strandline_types::{RecordRef, TimestampType};

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

    /// Takes in a record of so many [`record_bytes`].
    pub fn update(&mut self, ingest_ms: i64, bytes: usize, record: &RecordRef<'_>) {
        let Self { gathered, crc, ingest } = self;
        ingest.extend_from_slice(&ingest_ms.to_be_bytes());
        if record_weight(record, bytes) < GATHER_BYTES {
            gather(record, bytes, gathered);
        } else {
            crc.update(gathered);
            gathered.clear();
            record.digest_into(|piece| crc.update(piece));
        }
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

/// The bytes of [`RecordRef::digest_into`], appended in one go: this is on the path of every record that is written or read.
fn gather(record: &RecordRef<'_>, bytes: usize, to: &mut Vec<u8>) {
    to.reserve(64 + bytes + 16 * record.headers.len());
    to.extend_from_slice(&record.offset.to_be_bytes());
    to.extend_from_slice(&record.timestamp_ms.to_be_bytes());
    to.push(u8::from(record.timestamp_type == TimestampType::LogAppend));
    gather_optional(record.key, to);
    gather_optional(record.value, to);
    to.extend_from_slice(&(record.headers.len() as u32).to_be_bytes());
    for header in record.headers {
        gather_optional(Some(header.key.as_bytes()), to);
        gather_optional(header.value, to);
    }
}

#[inline]
fn gather_optional(bytes: Option<&[u8]>, to: &mut Vec<u8>) {
    let length = bytes.map_or(-1, |bytes| bytes.len() as i64);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(bytes.unwrap_or_default());
}

/// Key, value and header bytes of a record: what 'record bytes' means everywhere in this crate.
pub(crate) fn record_bytes(record: &RecordRef<'_>) -> usize {
    let headers: usize = record.headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum();
    record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers
}

/// What a record with `bytes` of [`record_bytes`] weighs in memory: something comes on top for the row and for each header, which
/// may have no bytes at all.
pub(crate) fn record_weight(record: &RecordRef<'_>, bytes: usize) -> usize {
    bytes + 32 + 16 * record.headers.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_counting_allocator::allocated;
    use strandline_types::HeaderRef;

    #[test]
    fn a_million_headers_without_bytes_are_not_gathered() {
        let headers = vec![HeaderRef { key: "", value: None }; 1 << 20];
        let record = RecordRef {
            offset: 0,
            timestamp_ms: 0,
            timestamp_type: TimestampType::Create,
            key: None,
            value: None,
            headers: &headers,
        };
        let mut digest = RunDigest::new();
        let ((), bytes) = allocated(|| digest.update(0, record_bytes(&record), &record));
        assert!(bytes < 2 * GATHER_BYTES, "{bytes}");
    }

    #[test]
    fn a_digest_is_of_the_bytes_that_the_format_names() {
        let large = vec![7; 3 * GATHER_BYTES];
        let headers = [
            HeaderRef { key: "a", value: None },
            HeaderRef { key: "", value: Some(b"") },
            HeaderRef { key: "a", value: Some(&large) },
        ];
        let mut records = Vec::new();
        for (timestamp_type, key, value, count) in [
            (TimestampType::Create, None, Some(&b""[..]), 0),
            (TimestampType::LogAppend, Some(&b"key"[..]), None, 2),
            (TimestampType::Create, Some(&large[..]), Some(&large[..5]), 1),
            (TimestampType::Create, Some(&b"key"[..]), Some(&large[..GATHER_BYTES - 10]), 0),
            (TimestampType::Create, None, None, 3),
            (TimestampType::Create, None, Some(&b"last"[..]), 1),
        ] {
            records.push(RecordRef {
                offset: records.len() as i64,
                timestamp_ms: -1,
                timestamp_type,
                key,
                value,
                headers: &headers[..count],
            });
        }
        for _ in 0..40 {
            records.push(records[5]);
        }
        let mut digest = RunDigest::new();
        for turn in 0..2 {
            let mut expected = Vec::new();
            let mut ingest = Vec::new();
            for (record, at) in records.iter().zip(turn..) {
                record.digest_into(|piece| expected.extend_from_slice(piece));
                ingest.extend_from_slice(&i64::to_be_bytes(at));
                digest.update(at, record_bytes(record), record);
            }
            assert_eq!(digest.finish(), (crc_fast::crc32_iscsi(&expected), crc_fast::crc32_iscsi(&ingest)));
        }
    }
}
