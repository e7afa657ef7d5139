//! Whatever bytes come as an entry: refused, malformed, or exactly what encodes to them again. Nothing panics.

#![allow(clippy::unwrap_used, reason = "a test may")]

use bytes::Bytes;
use proptest::prelude::*;
use strandline_commands::{Commit, CreateTopic, DecodedEntry, EntryBody, FORMAT_VERSION, Produce, decode, encode};

fn check(bytes: Bytes) {
    match decode(&bytes) {
        Ok(DecodedEntry::Body(body)) => assert_eq!(encode(&body).unwrap(), bytes),
        Ok(DecodedEntry::Malformed) | Err(_) => {}
    }
}

fn entry() -> Bytes {
    let create = CreateTopic { name: "rides".to_owned(), partitions: 3, ..CreateTopic::default() };
    let commit = Commit { incarnation: 4, n: 2, commands: vec![create.into(), Produce::default().into()], ..Commit::default() };
    encode(&EntryBody { time_ms: 1_780_000_000_000, cell_epoch: 1, commits: vec![commit], ..EntryBody::default() }).unwrap()
}

proptest! {
    #[test]
    fn noise(version in 0..=FORMAT_VERSION + 1, noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend_from_slice(&noise);
        check(bytes.into());
        check(noise.into());
    }

    #[test]
    fn an_entry_with_bytes_changed(at in any::<prop::sample::Index>(), byte in any::<u8>(), length in any::<prop::sample::Index>()) {
        let mut bytes = entry().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        check(bytes.clone().into());
        bytes.truncate(length.index(bytes.len() + 1));
        check(bytes.into());
    }
}
