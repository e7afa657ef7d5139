//! Entries: decoded or malformed, never in between; and folded by an index that has seen things. A fold never panics (I3).
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use strandline_commands::{DecodedEntry, chain_hash, decode, encode};
use strandline_fuzz::{decoding, within};
use strandline_index::{Index, decode_snapshot, encode_snapshot};

/// Of `tests/fuzz/seed`: a snapshot with topics, groups, files, producers.
const SNAPSHOT: &[u8] = include_bytes!("../corpus/snapshots/sample");

thread_local! {
    static INDEX: Index = decode_snapshot(&Bytes::from_static(SNAPSHOT)).unwrap();
}

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let decoded = within(decoding(data, 256), || decode(&bytes));
    let Ok(decoded) = decoded else { return };
    let DecodedEntry::Body(mut body) = decoded else { return };
    assert_eq!(encode(&body).unwrap(), bytes);
    for mut index in [Index::default(), INDEX.with(Clone::clone)] {
        // An entry of this cell, in its place.
        body.hash_before = index.cell.hash.0.to_vec();
        body.cell_epoch = index.cell.cell_epoch;
        let Ok(bytes) = encode(&body) else { return };
        let seq = index.cell.seq.next();
        let before = index.cell.hash;
        if index.fold(seq, &bytes).is_ok() {
            assert_eq!((index.cell.seq, index.cell.hash), (seq, chain_hash(before, &bytes)));
            let snapshot = encode_snapshot(&index);
            let back = decode_snapshot(&snapshot).unwrap();
            assert_eq!(encode_snapshot(&back), snapshot);
        }
    }
});
