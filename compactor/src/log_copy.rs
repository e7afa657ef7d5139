//! The format of the log's copies in the bucket: what a rebuild reads when the commit log is lost (I10).
//!
//! ```text
//! version     u16, big-endian
//! body        Protobuf: cell epoch, first seq, rows (hash before, entry, length of the payload left out)
//! checksum    CRC-32C over all before it, u32, big-endian
//! ```
//!
//! Payloads are left out: an entry holds their length and CRC, so the copy still proves the hash chain. The format is frozen
//! in `tests/golden/`; a version that was ever written stays readable.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use std::str::FromStr;
use strandline_commit_log::Row;
use strandline_types::{ChainHash, Seq};

/// The version that this build writes.
pub const LOG_COPY_VERSION: u16 = 1;

/// The folder of the copies.
pub const LOG_COPY_PREFIX: &str = "log/";

/// A run of the log's rows, without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCopy {
    /// The cell's epoch when they were written.
    pub cell_epoch: u32,
    /// The rows, in order.
    pub rows: Vec<Row>,
}

/// The name of a copy: `log/<cell epoch>-<from>-<to>`, both seqs inclusive, padded so that a listing is in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogCopyName {
    /// The cell's epoch.
    pub cell_epoch: u32,
    /// The first seq in it.
    pub from: Seq,
    /// The last seq in it.
    pub to: Seq,
}

/// Why a copy cannot be read. Trying again with the same bytes never helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogCopyError {
    /// It was cut.
    #[error("the copy of the log is cut off after {bytes} bytes")]
    Short {
        /// Its length.
        bytes: usize,
    },
    /// Written by a newer build.
    #[error("the copy of the log has format {found}, this version reads up to {LOG_COPY_VERSION}: run a newer version")]
    Version {
        /// What it says.
        found: u16,
    },
    /// Its bytes were changed.
    #[error("the copy of the log is damaged: {reason}")]
    Damaged {
        /// How that showed.
        reason: &'static str,
    },
    /// Not the name of a copy.
    #[error("`{name}` is not a name of the form log/EPOCH-FROM-TO")]
    Name {
        /// The name.
        name: String,
    },
}

#[derive(Clone, PartialEq, Message)]
struct Body {
    #[prost(uint32, tag = "1")]
    cell_epoch: u32,
    #[prost(uint64, tag = "2")]
    from: u64,
    #[prost(message, repeated, tag = "3")]
    rows: Vec<RowMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct RowMessage {
    #[prost(bytes = "bytes", tag = "1")]
    hash_before: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    entry: Bytes,
    #[prost(uint64, tag = "3")]
    payload_length: u64,
}

impl std::fmt::Display for LogCopyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{LOG_COPY_PREFIX}{:010}-{:020}-{:020}", self.cell_epoch, self.from.0, self.to.0)
    }
}

impl FromStr for LogCopyName {
    type Err = LogCopyError;

    fn from_str(name: &str) -> Result<Self, LogCopyError> {
        let error = || LogCopyError::Name { name: name.to_owned() };
        let mut parts = name.strip_prefix(LOG_COPY_PREFIX).ok_or_else(error)?.split('-').map(str::parse::<u64>);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(epoch)), Some(Ok(from)), Some(Ok(to)), None) => {
                Ok(Self { cell_epoch: u32::try_from(epoch).map_err(|_| error())?, from: Seq(from), to: Seq(to) })
            }
            _ => Err(error()),
        }
    }
}

impl LogCopy {
    /// Its name, if it holds anything.
    pub fn name(&self) -> Option<LogCopyName> {
        let (first, last) = (self.rows.first()?, self.rows.last()?);
        Some(LogCopyName { cell_epoch: self.cell_epoch, from: first.seq, to: last.seq })
    }

    /// The object's bytes. The same rows give the same bytes, so that a PUT may be repeated.
    pub fn encode(&self) -> Bytes {
        let body = Body {
            cell_epoch: self.cell_epoch,
            from: self.rows.first().map_or(0, |row| row.seq.0),
            rows: self.rows.iter().map(row_message).collect(),
        };
        let mut bytes = BytesMut::with_capacity(body.encoded_len() + 6);
        bytes.put_u16(LOG_COPY_VERSION);
        body.encode_raw(&mut bytes);
        let crc = crc_fast::crc32_iscsi(&bytes);
        bytes.put_u32(crc);
        bytes.freeze()
    }

    /// Reads a copy. The hash chain is for the fold to check.
    ///
    /// # Errors
    /// The bytes are cut, damaged or of a newer version.
    pub fn decode(bytes: &Bytes) -> Result<Self, LogCopyError> {
        let Some((content, crc)) = bytes.split_last_chunk::<4>() else {
            return Err(LogCopyError::Short { bytes: bytes.len() });
        };
        let Some((version, _)) = content.split_first_chunk::<2>() else {
            return Err(LogCopyError::Short { bytes: bytes.len() });
        };
        if crc_fast::crc32_iscsi(content) != u32::from_be_bytes(*crc) {
            return Err(LogCopyError::Damaged { reason: "its checksum differs" });
        }
        let version = u16::from_be_bytes(*version);
        if version == 0 || version > LOG_COPY_VERSION {
            return Err(LogCopyError::Version { found: version });
        }
        let body = Body::decode(bytes.slice(2..content.len())).map_err(|_| LogCopyError::Damaged { reason: "it is no copy" })?;
        if body.from.checked_add(body.rows.len() as u64).is_none() {
            return Err(LogCopyError::Damaged { reason: "its seqs are beyond any" });
        }
        // Rows first: a range of seqs that is asked once more than there are rows may step beyond the last number.
        let rows = body.rows.into_iter().zip(body.from..).map(|(row, seq)| {
            let hash: [u8; 16] = row
                .hash_before
                .as_ref()
                .try_into()
                .map_err(|_| LogCopyError::Damaged { reason: "a hash is not 16 bytes long" })?;
            Ok(Row { seq: Seq(seq), hash_before: ChainHash(hash), bytes: row.entry, payload_length: row.payload_length })
        });
        Ok(Self { cell_epoch: body.cell_epoch, rows: rows.collect::<Result<_, LogCopyError>>()? })
    }
}

fn row_message(row: &Row) -> RowMessage {
    RowMessage {
        hash_before: Bytes::copy_from_slice(&row.hash_before.0),
        entry: row.bytes.clone(),
        payload_length: row.payload_length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn copy() -> LogCopy {
        let row = |seq: u64, entry: &'static [u8]| Row {
            seq: Seq(seq),
            hash_before: ChainHash([seq as u8; 16]),
            bytes: Bytes::from_static(entry),
            payload_length: seq * 10,
        };
        LogCopy { cell_epoch: 3, rows: vec![row(7, b"\x00\x01one"), row(8, b"\x00\x01two")] }
    }

    #[test]
    fn the_first_version_is_frozen() {
        let golden = include_str!("../tests/golden/log_copy_1.hex");
        let hex: String = copy().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.trim());
    }

    #[test]
    fn names_round_trip_and_sort() {
        let name = copy().name().unwrap();
        assert_eq!(name.to_string(), "log/0000000003-00000000000000000007-00000000000000000008");
        assert_eq!(name.to_string().parse(), Ok(name));
        for wrong in ["log/1-2", "log/1-2-3-4", "wal/1-2-3", "log/99999999999-1-2"] {
            assert!(wrong.parse::<LogCopyName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn damage_and_newer_versions_are_told_apart() {
        let bytes = copy().encode();
        assert_eq!(LogCopy::decode(&bytes), Ok(copy()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x40;
            assert!(LogCopy::decode(&damaged.into()).is_err(), "byte {at}");
            assert!(LogCopy::decode(&bytes.slice(..at)).is_err(), "cut at {at}");
        }
        let mut newer = bytes[..bytes.len() - 4].to_vec();
        newer[1] = 9;
        let crc = crc_fast::crc32_iscsi(&newer);
        newer.extend_from_slice(&crc.to_be_bytes());
        assert_eq!(LogCopy::decode(&newer.into()), Err(LogCopyError::Version { found: 9 }));
    }

    #[test]
    fn a_first_seq_at_the_end_of_all_numbers_is_refused() {
        let row = Row { seq: Seq(u64::MAX), hash_before: ChainHash([1; 16]), bytes: Bytes::from_static(b"e"), payload_length: 0 };
        let bytes = LogCopy { cell_epoch: 1, rows: vec![row] }.encode();
        assert!(matches!(LogCopy::decode(&bytes), Err(LogCopyError::Damaged { .. })));
        // Without a row it is of no use, and no harm. Found by fuzzing: it overflowed.
        let mut bytes = [&[0, 1, 0x10][..], &[0xff; 9], &[1]].concat();
        let crc = crc_fast::crc32_iscsi(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        assert_eq!(LogCopy::decode(&bytes.into()), Ok(LogCopy { cell_epoch: 0, rows: Vec::new() }));
    }

    proptest! {
        #[test]
        fn any_rows_round_trip(from in 1_u64..1 << 40, epoch: u32, rows in prop::collection::vec((any::<[u8; 16]>(), prop::collection::vec(any::<u8>(), 0..64), any::<u64>()), 1..20)) {
            let rows = (from..).zip(rows).map(|(seq, (hash, entry, payload_length))| Row {
                seq: Seq(seq), hash_before: ChainHash(hash), bytes: entry.into(), payload_length,
            }).collect();
            let copy = LogCopy { cell_epoch: epoch, rows };
            prop_assert_eq!(LogCopy::decode(&copy.encode()), Ok(copy));
        }

        #[test]
        fn any_bytes_are_refused_or_are_a_copy(noise in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), byte: u8) {
            let row = Row { seq: Seq(7), hash_before: ChainHash([3; 16]), bytes: noise.clone().into(), payload_length: 9 };
            let sound = LogCopy { cell_epoch: 1, rows: vec![row] }.encode();
            let mut changed = sound.to_vec();
            let at = at.index(changed.len());
            changed[at] = byte;
            prop_assert_eq!(LogCopy::decode(&changed.clone().into()).is_ok(), changed == sound, "its checksum guards every byte");
            for mut bytes in [changed, [&[0, 1][..], &noise, &[0; 4]].concat()] {
                let end = bytes.len() - 4;
                let crc = crc_fast::crc32_iscsi(&bytes[..end]);
                bytes[end..].copy_from_slice(&crc.to_be_bytes());
                if let Ok(copy) = LogCopy::decode(&bytes.into()) {
                    prop_assert_eq!(LogCopy::decode(&copy.encode()), Ok(copy));
                }
            }
        }
    }
}
