//! The index as bytes: canonical, so that two equal indexes have equal bytes and one digest (I2).
//!
//! A snapshot is four bytes of magic, two of format version, the length of the body, its CRC-less Protobuf body and the SHA-256
//! of all of that at the end: a cut or changed snapshot is found before anything of it is believed.

mod convert;
mod messages;

use crate::state::Index;
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 4] = b"SLIX";
/// The newest version that this build reads and writes. A snapshot has the version that goes with the index's fold version, so
/// that every build that folds by those rules gives the same bytes.
pub const SNAPSHOT_VERSION: u16 = 2;
const HEAD: usize = 4 + 2 + 8;
const DIGEST: usize = 32;

/// Why a snapshot cannot be used. Look for an older one, or rebuild.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not a snapshot at all.
    #[error("this is not a snapshot of an index")]
    NotASnapshot,
    /// Made by a newer build.
    #[error("the snapshot has format version {found}, this strandline knows up to {SNAPSHOT_VERSION}: use a newer one")]
    UnknownVersion {
        /// What it says.
        found: u16,
    },
    /// Cut or changed.
    #[error("the snapshot is damaged: {0}")]
    Damaged(&'static str),
}

/// Encodes the index. The same index always gives the same bytes.
pub fn encode_snapshot(index: &Index) -> Bytes {
    let body = messages::Snapshot::from(index);
    let length = body.encoded_len();
    let mut bytes = BytesMut::with_capacity(HEAD + length + DIGEST);
    bytes.put_slice(MAGIC);
    bytes.put_u16(version_of(index));
    bytes.put_u64(length as u64);
    body.encode_raw(&mut bytes);
    let digest = Sha256::digest(&bytes);
    bytes.put_slice(&digest);
    bytes.freeze()
}

/// Version 2 has the same fields as version 1, and plans over extents, which an older build would take for something else.
fn version_of(index: &Index) -> u16 {
    if index.has_version_2() { 2 } else { 1 }
}

/// Decodes a snapshot, and believes it only if it is whole.
pub fn decode_snapshot(bytes: &Bytes) -> Result<Index, SnapshotError> {
    if bytes.len() < HEAD + DIGEST || &bytes[..4] != MAGIC {
        return Err(SnapshotError::NotASnapshot);
    }
    let version = u16::from_be_bytes([bytes[4], bytes[5]]);
    if version == 0 || version > SNAPSHOT_VERSION {
        return Err(SnapshotError::UnknownVersion { found: version });
    }
    let (content, digest) = bytes.split_at(bytes.len() - DIGEST);
    if Sha256::digest(content).as_slice() != digest {
        return Err(SnapshotError::Damaged("its digest does not match"));
    }
    let body = messages::Snapshot::decode(bytes.slice(HEAD..bytes.len() - DIGEST))
        .map_err(|_| SnapshotError::Damaged("it does not decode"))?;
    let index = convert::index(body).ok_or(SnapshotError::Damaged("a value in it is impossible"))?;
    if version_of(&index) == version { Ok(index) } else { Err(SnapshotError::Damaged("its version is not that of its rules")) }
}

/// SHA-256 of the canonical encoding: what nodes compare.
pub fn digest(index: &Index) -> [u8; 32] {
    digest_of(&encode_snapshot(index))
}

/// The digest of an encoded snapshot (its last bytes), without encoding again.
pub fn digest_of(snapshot: &Bytes) -> [u8; 32] {
    let mut digest = [0; DIGEST];
    if let Some(tail) = snapshot.len().checked_sub(DIGEST).and_then(|at| snapshot.get(at..)) {
        digest.copy_from_slice(tail);
    }
    digest
}
