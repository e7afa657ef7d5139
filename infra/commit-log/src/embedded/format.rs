//! The format of a log file, version 1. All numbers are little-endian.
//!
//! ```text
//! file    64-byte header, then frames without a gap, then (in the newest file only) zeros taken ahead
//! header  magic "STRNDLOG" · version u32 · 0 u32 · first seq u64 · hash before [16] · nonce [16] · 0 u32 · CRC u32
//! frame   56-byte header, entry bytes, payload bytes
//!         magic u32 · kind u8 · 0 [3] · seq u64 · hash before [16] · entry length u32 · payload CRC u32 ·
//!         payload length u64 · entry CRC u32 · header CRC u32
//! end     a frame of kind 2: seq = the next entry's; its entry bytes are the index of the file (see `end_frame`)
//! ```
//! Every CRC is CRC-32C. That of a frame header also covers the file's nonce and the frame's position: a producer's
//! bytes can hold a copy of a log, and after a torn write such a copy must not pass for a frame of this one.

use crc_fast::{CrcAlgorithm, checksum};
use strandline_types::{ChainHash, Seq};

/// What this code writes, and the newest that it reads.
pub(super) const VERSION: u32 = 1;
const FILE_MAGIC: [u8; 8] = *b"STRNDLOG";
pub(super) const FRAME_MAGIC: [u8; 4] = *b"sLfR";
/// Bytes of a file header.
pub(super) const FILE_HEADER: u64 = 64;
/// Bytes of a frame header.
pub(super) const FRAME_HEADER: usize = 56;

/// CRC-32C.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// A fixed-width field; the callers' offsets lie inside their arrays.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

/// A log file's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) first: Seq,
    pub(super) hash_before: ChainHash,
    pub(super) nonce: [u8; 16],
}

/// Why a file header was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Not what was written.
    Damaged,
    /// Of a version that this code does not know.
    Newer(u32),
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; FILE_HEADER as usize] {
        let mut bytes = [0; FILE_HEADER as usize];
        bytes[0..8].copy_from_slice(&FILE_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.hash_before.0);
        bytes[40..56].copy_from_slice(&self.nonce);
        let crc = crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; FILE_HEADER as usize]) -> Result<Self, BadHeader> {
        let sound = bytes[0..8] == FILE_MAGIC && crc32c(&bytes[..60]).to_le_bytes() == bytes[60..64];
        if !sound {
            return Err(BadHeader::Damaged);
        }
        // Every version keeps magic, version and CRC where they are.
        match u32::from_le_bytes(field(bytes, 8)) {
            VERSION => Ok(Self {
                first: Seq(u64::from_le_bytes(field(bytes, 16))),
                hash_before: ChainHash(field(bytes, 24)),
                nonce: field(bytes, 40),
            }),
            version => Err(BadHeader::Newer(version)),
        }
    }
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One entry.
    Entry,
    /// The end of a file that was closed, with its index.
    End,
}

/// A frame's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: Kind,
    pub(super) seq: Seq,
    pub(super) hash_before: ChainHash,
    pub(super) entry_length: u32,
    pub(super) entry_crc: u32,
    pub(super) payload_length: u64,
    pub(super) payload_crc: u32,
}

impl FrameHeader {
    /// Bytes of the whole frame.
    pub(super) fn frame_length(&self) -> u64 {
        (FRAME_HEADER as u64 + u64::from(self.entry_length)).saturating_add(self.payload_length)
    }

    pub(super) fn encode(&self, nonce: &[u8; 16], position: u64) -> [u8; FRAME_HEADER] {
        let mut bytes = [0; FRAME_HEADER];
        bytes[0..4].copy_from_slice(&FRAME_MAGIC);
        bytes[4] = match self.kind {
            Kind::Entry => 1,
            Kind::End => 2,
        };
        bytes[8..16].copy_from_slice(&self.seq.0.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.hash_before.0);
        bytes[32..36].copy_from_slice(&self.entry_length.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.payload_length.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.entry_crc.to_le_bytes());
        let crc = header_crc(&bytes, nonce, position);
        bytes[52..56].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header in the first bytes of `bytes`, if it was written at this position of the file with this nonce.
    pub(super) fn decode(bytes: &[u8], nonce: &[u8; 16], position: u64) -> Option<Self> {
        if bytes.len() < FRAME_HEADER
            || bytes[0..4] != FRAME_MAGIC
            || header_crc(bytes, nonce, position).to_le_bytes() != bytes[52..56]
        {
            return None;
        }
        let kind = match bytes[4..8] {
            [1, 0, 0, 0] => Kind::Entry,
            [2, 0, 0, 0] => Kind::End,
            _ => return None,
        };
        Some(Self {
            kind,
            seq: Seq(u64::from_le_bytes(field(bytes, 8))),
            hash_before: ChainHash(field(bytes, 16)),
            entry_length: u32::from_le_bytes(field(bytes, 32)),
            payload_crc: u32::from_le_bytes(field(bytes, 36)),
            payload_length: u64::from_le_bytes(field(bytes, 40)),
            entry_crc: u32::from_le_bytes(field(bytes, 48)),
        })
    }
}

fn header_crc(header: &[u8], nonce: &[u8; 16], position: u64) -> u32 {
    let mut covered = [0; 16 + 8 + 52];
    covered[..16].copy_from_slice(nonce);
    covered[16..24].copy_from_slice(&position.to_le_bytes());
    covered[24..].copy_from_slice(&header[..52]);
    crc32c(&covered)
}

/// The name of the file whose first entry is `first`.
pub(super) fn file_name(first: Seq) -> String {
    format!("{:020}.log", first.0)
}

/// The first seq of the file of this name; none for other files.
pub(super) fn first_seq(name: &str) -> Option<Seq> {
    let digits = name.strip_suffix(".log")?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok().map(Seq)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_come_back_and_a_copy_elsewhere_does_not(
            (seq, length, crc, payload_length, payload_crc) in any::<(u64, u32, u32, u64, u32)>(),
            (hash, nonce, position, end) in any::<([u8; 16], [u8; 16], u64, bool)>(),
            flip in 0..FRAME_HEADER * 8,
        ) {
            let header = FrameHeader {
                kind: if end { Kind::End } else { Kind::Entry },
                seq: Seq(seq),
                hash_before: ChainHash(hash),
                entry_length: length,
                entry_crc: crc,
                payload_length,
                payload_crc,
            };
            let mut bytes = header.encode(&nonce, position);
            prop_assert_eq!(FrameHeader::decode(&bytes, &nonce, position), Some(header));
            prop_assert_eq!(FrameHeader::decode(&bytes, &nonce, position ^ 1), None);
            prop_assert_eq!(FrameHeader::decode(&bytes, &[!nonce[0]; 16], position), None);
            prop_assert_eq!(FrameHeader::decode(&bytes[..FRAME_HEADER - 1], &nonce, position), None);
            bytes[flip / 8] ^= 1 << (flip % 8);
            prop_assert_eq!(FrameHeader::decode(&bytes, &nonce, position), None);

            let file = FileHeader { first: Seq(seq), hash_before: ChainHash(hash), nonce };
            let mut bytes = file.encode();
            prop_assert_eq!(FileHeader::decode(&bytes), Ok(file));
            bytes[flip / 8] ^= 1 << (flip % 8);
            prop_assert_eq!(FileHeader::decode(&bytes), Err(BadHeader::Damaged));
        }

        #[test]
        fn names_come_back(first in any::<u64>()) {
            prop_assert_eq!(first_seq(&file_name(Seq(first))), Some(Seq(first)));
        }
    }

    #[test]
    fn other_names_are_not_log_files() {
        for name in ["floor", "1.log", "+0000000000000000001.log", "00000000000000000001.log.bak", "reserve"] {
            assert_eq!(first_seq(name), None, "{name}");
        }
    }
}
