//! How keys and rows are stored. A format: every version ever written stays readable (tests/golden).
//!
//! Key: topic id (16 bytes), partition (4) and end offset (8), big-endian with the sign bit flipped, so that
//! bytes sort as numbers do. Row: one byte of format version, Protobuf, and from version 2 on CRC-32C (big-endian) over
//! the key and all of the row before it: the table's own checksums are not looked at when a row is read. The key's fields are
//! not repeated in the row.

use crate::row::{RowKey, SealedRow};
use prost::Message;
use strandline_types::{Seq, TopicId, TopicPartition};

/// Length of an encoded key.
pub(crate) const KEY_BYTES: usize = 28;

/// The version that is written.
const ROW_VERSION: u8 = 2;
/// Without a checksum; still read.
const ROW_VERSION_1: u8 = 1;

/// A stored row cannot be read. The table is derived: delete it and let it be rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowEncodingError {
    /// A newer Strandline wrote it.
    #[error("a row of the segment index has format {found}, this version of Strandline knows up to {ROW_VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// It is damaged.
    #[error("a row of the segment index is damaged: {what}")]
    Damaged {
        /// What does not fit.
        what: String,
    },
}

#[derive(Clone, PartialEq, prost::Message)]
struct RowMessage {
    #[prost(int64, tag = "1")]
    start_offset: i64,
    #[prost(string, tag = "2")]
    path: String,
    #[prost(uint32, tag = "3")]
    generation: u32,
    #[prost(uint64, tag = "4")]
    size: u64,
    #[prost(fixed32, tag = "5")]
    crc32c: u32,
    #[prost(uint64, tag = "6")]
    rows: u64,
    #[prost(uint64, tag = "7")]
    first_row: u64,
    #[prost(uint32, tag = "8")]
    row_group: u32,
    #[prost(sint64, tag = "9")]
    min_timestamp_ms: i64,
    #[prost(sint64, tag = "10")]
    max_timestamp_ms: i64,
    #[prost(sint64, tag = "11")]
    max_timestamp_offset: i64,
    #[prost(uint64, tag = "12")]
    sent_bytes: u64,
    #[prost(uint64, tag = "13")]
    sealed_seq: u64,
}

pub(crate) fn encode_key(key: RowKey) -> [u8; KEY_BYTES] {
    let mut bytes = [0; KEY_BYTES];
    bytes[..16].copy_from_slice(&key.topic_partition.topic_id.0);
    bytes[16..20].copy_from_slice(&(key.topic_partition.partition ^ i32::MIN).to_be_bytes());
    bytes[20..].copy_from_slice(&(key.end_offset ^ i64::MIN).to_be_bytes());
    bytes
}

pub(crate) fn decode_key(bytes: &[u8]) -> Result<RowKey, RowEncodingError> {
    let damaged = || RowEncodingError::Damaged { what: format!("its key has {} bytes", bytes.len()) };
    let (topic, rest) = bytes.split_first_chunk::<16>().ok_or_else(damaged)?;
    let (partition, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let end: [u8; 8] = rest.try_into().map_err(|_| damaged())?;
    let partition = i32::from_be_bytes(*partition) ^ i32::MIN;
    let topic_partition = TopicPartition { topic_id: TopicId(*topic), partition };
    Ok(RowKey { topic_partition, end_offset: i64::from_be_bytes(end) ^ i64::MIN })
}

/// The stored form of a row, without its key.
pub fn encode_row(row: &SealedRow) -> Vec<u8> {
    let message = RowMessage {
        start_offset: row.start_offset,
        path: row.path.clone(),
        generation: row.generation,
        size: row.size,
        crc32c: row.crc32c,
        rows: row.rows,
        first_row: row.first_row,
        row_group: row.row_group,
        min_timestamp_ms: row.min_timestamp_ms,
        max_timestamp_ms: row.max_timestamp_ms,
        max_timestamp_offset: row.max_timestamp_offset,
        sent_bytes: row.sent_bytes,
        sealed_seq: row.sealed_seq.0,
    };
    let mut bytes = Vec::with_capacity(1 + message.encoded_len() + CRC_BYTES);
    bytes.push(ROW_VERSION);
    bytes.extend_from_slice(&message.encode_to_vec());
    let crc = checksum(row.key(), &bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

const CRC_BYTES: usize = 4;

fn checksum(key: RowKey, row: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&encode_key(key));
    digest.update(row);
    digest.finalize() as u32
}

/// The row that was stored under `key`.
pub fn decode_row(key: RowKey, bytes: &[u8]) -> Result<SealedRow, RowEncodingError> {
    let damaged = |what: &str| RowEncodingError::Damaged { what: what.to_owned() };
    let Some((&found, rest)) = bytes.split_first() else {
        return Err(damaged("it is empty"));
    };
    let body = match found {
        ROW_VERSION_1 => rest,
        ROW_VERSION => {
            let (body, crc) = rest.split_last_chunk::<CRC_BYTES>().ok_or_else(|| damaged("it is cut off"))?;
            if u32::from_be_bytes(*crc) != checksum(key, &bytes[..=body.len()]) {
                return Err(damaged("its checksum differs"));
            }
            body
        }
        found => return Err(RowEncodingError::Version { found }),
    };
    let message = RowMessage::decode(body).map_err(|error| RowEncodingError::Damaged { what: error.to_string() })?;
    if message.start_offset >= key.end_offset {
        return Err(damaged("it covers nothing"));
    }
    Ok(SealedRow {
        topic_partition: key.topic_partition,
        start_offset: message.start_offset,
        end_offset: key.end_offset,
        path: message.path,
        generation: message.generation,
        size: message.size,
        crc32c: message.crc32c,
        rows: message.rows,
        first_row: message.first_row,
        row_group: message.row_group,
        min_timestamp_ms: message.min_timestamp_ms,
        max_timestamp_ms: message.max_timestamp_ms,
        max_timestamp_offset: message.max_timestamp_offset,
        sent_bytes: message.sent_bytes,
        sealed_seq: Seq(message.sealed_seq),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(topic: u8, partition: i32, end_offset: i64) -> RowKey {
        RowKey { topic_partition: TopicPartition { topic_id: TopicId([topic; 16]), partition }, end_offset }
    }

    fn golden_row() -> SealedRow {
        SealedRow {
            topic_partition: key(7, 3, 0).topic_partition,
            start_offset: 1_000,
            end_offset: 2_500,
            path: "bronze/veh.events.raw/07070707/ingest_date=2026-11-23/20261123T141500000Z-p00003-o00000000000000001000-g0.parquet".to_owned(),
            generation: 2,
            size: 134_217_728,
            crc32c: 0xdead_beef,
            rows: 1_400,
            first_row: 20_000,
            row_group: 4,
            min_timestamp_ms: 1_795_443_300_000,
            max_timestamp_ms: 1_795_443_360_000,
            max_timestamp_offset: 2_499,
            sent_bytes: 700_000,
            sealed_seq: Seq(987_654),
        }
    }

    /// Written by version 1 and never changed: if this fails, a new version of the format is due.
    #[test]
    fn rows_of_version_1_stay_readable() {
        let golden: &[u8] = include_bytes!("../tests/golden/row-v1.bin");
        let golden_key: &[u8] = include_bytes!("../tests/golden/key-v1.bin");
        let row = golden_row();
        assert_eq!(decode_key(golden_key).unwrap(), row.key());
        assert_eq!(decode_row(row.key(), golden).unwrap(), row);
        assert_eq!(encode_key(row.key()), golden_key);
    }

    /// Nobody writes such a row, and nobody should have to think of one. Fuzzing found it to be let in.
    #[test]
    fn a_row_that_covers_nothing_is_damaged() {
        let golden: &[u8] = include_bytes!("../tests/golden/row-v1.bin");
        for end in [i64::MIN, 0, 999, 1_000] {
            let found = decode_row(key(7, 3, end), golden);
            assert!(matches!(found, Err(RowEncodingError::Damaged { .. })), "until {end}: {found:?}");
        }
        assert!(decode_row(key(7, 3, 1_001), golden).is_ok());
    }

    /// The same of version 2.
    #[test]
    fn rows_of_version_2_stay_readable() {
        let golden: &[u8] = include_bytes!("../tests/golden/row-v2.bin");
        let row = golden_row();
        assert_eq!(decode_row(row.key(), golden).unwrap(), row);
        assert_eq!(encode_row(&row), golden, "version 2 is written otherwise than it was");
    }

    /// A row says what is kept and what is deleted: a wrong one must not be believed.
    #[test]
    fn every_changed_bit_of_a_row_or_its_key_is_found() {
        let row = golden_row();
        let (key, bytes) = (encode_key(row.key()), encode_row(&row));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            // Bits of the version alone can make it another version: one that is not known, or the one that has no checksum.
            let found = decode_row(row.key(), &changed);
            assert!(found.as_ref().is_err(), "bit {bit}: {found:?}");
        }
        for bit in 0..key.len() * 8 {
            let mut changed = key;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_row(decode_key(&changed).unwrap(), &bytes).is_err(), "bit {bit} of the key");
        }
        for length in 0..bytes.len() {
            assert!(decode_row(row.key(), &bytes[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let key = key(1, 0, 1);
        assert!(matches!(decode_row(key, &[]), Err(RowEncodingError::Damaged { .. })));
        assert_eq!(decode_row(key, &[3, 8, 1]), Err(RowEncodingError::Version { found: 3 }));
        assert!(matches!(decode_row(key, &[1, 0xff, 0xff]), Err(RowEncodingError::Damaged { .. })));
        assert!(decode_key(&[0; 27]).is_err() && decode_key(&[0; 29]).is_err());
    }

    proptest! {
        #[test]
        fn keys_sort_as_numbers_and_come_back(
            a in (0..3_u8, any::<i32>(), any::<i64>()),
            b in (0..3_u8, any::<i32>(), any::<i64>()),
        ) {
            let (a, b) = (key(a.0, a.1, a.2), key(b.0, b.1, b.2));
            prop_assert_eq!(a.cmp(&b), encode_key(a).cmp(&encode_key(b)));
            prop_assert_eq!(decode_key(&encode_key(a)).unwrap(), a);
        }

        #[test]
        fn rows_come_back(
            place in (0..3_u8, any::<i32>(), any::<i64>()),
            offsets in (any::<i64>(), any::<i64>(), any::<i64>(), any::<i64>()),
            counts in (any::<u32>(), any::<u64>(), any::<u32>(), any::<u64>(), any::<u64>(), any::<u32>()),
            sent in (any::<u64>(), any::<u64>()),
            path in ".{0,80}",
        ) {
            let row = SealedRow {
                topic_partition: key(place.0, place.1, 0).topic_partition,
                end_offset: place.2.max(offsets.0.saturating_add(1)),
                start_offset: offsets.0.min(i64::MAX - 1),
                min_timestamp_ms: offsets.1,
                max_timestamp_ms: offsets.2,
                max_timestamp_offset: offsets.3,
                generation: counts.0,
                size: counts.1,
                crc32c: counts.2,
                rows: counts.3,
                first_row: counts.4,
                row_group: counts.5,
                sent_bytes: sent.0,
                sealed_seq: Seq(sent.1),
                path,
            };
            prop_assert_eq!(decode_row(row.key(), &encode_row(&row)).unwrap(), row);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_row(key(1, 0, 1), &bytes);
            let _ = decode_key(&bytes);
        }
    }
}
