//! An entry as bytes, and back.

use crate::{Command, EntryBody};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use sha2::{Digest, Sha256};
use strandline_types::{ChainHash, limits};

/// The newest version that this build reads and writes. Raised with every new command or field; an entry is written in the
/// lowest version that has all that is in it, so that a cell under older rules goes on being read by older builds.
pub const FORMAT_VERSION: u16 = 2;

/// An entry could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Split the commit.
    #[error("an entry of {bytes} bytes is larger than the limit of {}", limits::ENTRY_BYTES)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// An entry could not be read.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Written by a newer build: stop folding and serving; never skip.
    #[error("the entry has format version {found}, this strandline knows up to {FORMAT_VERSION}: use a newer one")]
    UnknownVersion {
        /// What it says.
        found: u16,
    },
    /// Shorter than a version.
    #[error("the entry is cut off")]
    Short,
}

/// What an entry's bytes hold.
#[derive(Debug, Clone, PartialEq)]
pub enum DecodedEntry {
    /// Its body.
    Body(EntryBody),
    /// Under a known version, but it does not decode and encode again to the same bytes: it folds to nothing,
    /// the same on every node.
    Malformed,
}

/// How many bytes a command takes in an entry.
pub fn command_bytes(command: &Command) -> usize {
    command.encoded_len()
}

/// Encodes an entry.
pub fn encode(body: &EntryBody) -> Result<Bytes, EncodeError> {
    let length = 2 + body.encoded_len();
    if length > limits::ENTRY_BYTES {
        return Err(EncodeError::TooLarge { bytes: length });
    }
    let mut bytes = BytesMut::with_capacity(length);
    bytes.put_u16(body.format_version());
    body.encode_raw(&mut bytes);
    Ok(bytes.freeze())
}

/// Decodes an entry.
pub fn decode(bytes: &Bytes) -> Result<DecodedEntry, DecodeError> {
    let Some((version, rest)) = bytes.split_first_chunk::<2>() else { return Err(DecodeError::Short) };
    let version = u16::from_be_bytes(*version);
    if version == 0 || version > FORMAT_VERSION {
        return Err(DecodeError::UnknownVersion { found: version });
    }
    match EntryBody::decode(bytes.slice(2..)) {
        Ok(body) if body.format_version() == version && body.encoded_len() == rest.len() && body.encode_to_vec() == rest => {
            Ok(DecodedEntry::Body(body))
        }
        _ => Ok(DecodedEntry::Malformed),
    }
}

/// The hash of an entry: over the hash before it and its bytes (in which the payload stands as length and CRC, so that a
/// copy without payloads still proves the chain).
pub fn chain_hash(before: ChainHash, bytes: &[u8]) -> ChainHash {
    let digest = Sha256::new().chain_update(before.0).chain_update(bytes).finalize();
    let mut hash = [0; 16];
    hash.copy_from_slice(&digest[..16]);
    ChainHash(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Commit, Report};

    fn body() -> EntryBody {
        EntryBody {
            time_ms: 1_700_000_000_000,
            hash_before: vec![7; 16],
            commits: vec![Commit { incarnation: 3, n: 4, commands: vec![Report { folded: 9 }.into()], ..Commit::default() }],
            ..EntryBody::default()
        }
    }

    #[test]
    fn an_entry_round_trips() {
        let bytes = encode(&body()).unwrap();
        assert_eq!(decode(&bytes), Ok(DecodedEntry::Body(body())));
    }

    #[test]
    fn the_first_version_is_frozen() {
        let hex: String = encode(&body()).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "00010880d095ffbc31121007070707070707070707070707070707320a0803100432042a020809");
    }

    #[test]
    fn what_is_unknown_stops_and_what_is_malformed_folds_to_nothing() {
        assert_eq!(decode(&Bytes::from_static(b"\x7f\xff")), Err(DecodeError::UnknownVersion { found: 0x7fff }));
        assert_eq!(decode(&Bytes::from_static(b"\x00")), Err(DecodeError::Short));
        assert_eq!(decode(&Bytes::from_static(b"\x00\x01\xff\xff")), Ok(DecodedEntry::Malformed));
        // A field that this version does not have is dropped by prost: not the same bytes, so malformed.
        let mut bytes = BytesMut::from(&encode(&body()).unwrap()[..]);
        bytes.put_slice(&[0xf8, 0x07, 0x01]);
        assert_eq!(decode(&bytes.freeze()), Ok(DecodedEntry::Malformed));
    }

    #[test]
    fn an_entry_is_of_the_lowest_version_that_has_all_of_it() {
        let mut newer = body();
        newer.commits[0].commands.push(crate::ClearDisagreement { seq: 9 }.into());
        let bytes = encode(&newer).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "00020880d095ffbc3112100707070707070707070707070707070732100803100432042a02080932046a020809");
        assert_eq!(decode(&bytes), Ok(DecodedEntry::Body(newer)));
        // To a build of version 1 the command would be a field that it does not know, and version 2 without one is not canonical.
        let mut older = BytesMut::from(&bytes[..]);
        older[1] = 1;
        assert_eq!(decode(&older.freeze()), Ok(DecodedEntry::Malformed));
        let mut newer = BytesMut::from(&encode(&body()).unwrap()[..]);
        newer[1] = 2;
        assert_eq!(decode(&newer.freeze()), Ok(DecodedEntry::Malformed));
    }

    #[test]
    fn the_chain_covers_what_came_before() {
        assert_ne!(chain_hash(ChainHash([0; 16]), b"a"), chain_hash(ChainHash([1; 16]), b"a"));
        assert_ne!(chain_hash(ChainHash([0; 16]), b"a"), chain_hash(ChainHash([0; 16]), b"b"));
    }
}
