//! Whatever bytes come as a snapshot or as an entry: refused, or an index that encodes canonically. A fold never panics (I3).

#![allow(clippy::unwrap_used, reason = "a test may")]

use bytes::Bytes;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use strandline_index::{Index, decode_snapshot, encode_snapshot};

fn golden() -> Vec<u8> {
    include_bytes!("golden/snapshot-v1.bin").to_vec()
}

/// The digest at the end made right, so that what it guards is reached.
fn sealed(mut bytes: Vec<u8>) -> Bytes {
    if let Some(at) = bytes.len().checked_sub(32) {
        let digest = Sha256::digest(&bytes[..at]);
        bytes[at..].copy_from_slice(&digest);
    }
    bytes.into()
}

fn check(bytes: &Bytes) {
    if let Ok(index) = decode_snapshot(bytes) {
        let once = encode_snapshot(&index);
        assert_eq!(encode_snapshot(&decode_snapshot(&once).unwrap()), once);
    }
}

proptest! {
    #[test]
    fn noise(noise in proptest::collection::vec(any::<u8>(), 0..300), with_magic: bool) {
        let mut bytes = if with_magic { golden()[..14].to_vec() } else { Vec::new() };
        bytes.extend_from_slice(&noise);
        check(&bytes.clone().into());
        check(&sealed(bytes));
    }

    #[test]
    fn a_snapshot_with_bytes_changed(at in any::<prop::sample::Index>(), byte in any::<u8>(), second in any::<prop::sample::Index>(), other in any::<u8>()) {
        let mut bytes = golden();
        let length = bytes.len();
        bytes[at.index(length)] = byte;
        let changed = bytes != golden();
        prop_assert_eq!(decode_snapshot(&bytes.clone().into()).is_err(), changed, "its digest guards every byte");
        bytes[second.index(length)] = other;
        check(&sealed(bytes));
    }

    #[test]
    fn noise_as_an_entry(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![0, 1];
        bytes.extend_from_slice(&noise);
        for mut index in [Index::default(), decode_snapshot(&golden().into()).unwrap()] {
            let seq = index.cell.seq.next();
            let _ = index.fold(seq, &bytes.clone().into());
        }
    }
}
