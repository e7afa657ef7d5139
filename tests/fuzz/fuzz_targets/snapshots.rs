//! Snapshots of the index: what decodes encodes to the same bytes, or its digest would mean nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strandline_fuzz::{decoding, with_sha256_at_end, within};
use strandline_index::{decode_snapshot, digest, digest_of, encode_snapshot};

fuzz_target!(|data: &[u8]| {
    for bytes in with_sha256_at_end(data) {
        within(decoding(data, 512), || {
            let Ok(index) = decode_snapshot(&bytes) else { return };
            // Fields in another order are the same index; encoded once, it stays the same.
            let once = encode_snapshot(&index);
            assert_eq!(digest(&index), digest_of(&once));
            let again = decode_snapshot(&once).unwrap();
            assert_eq!(encode_snapshot(&again), once);
            let _ = again.violations();
        });
    }
});
