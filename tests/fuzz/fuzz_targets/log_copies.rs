//! Copies of the commit log in the bucket.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strandline_compactor::{LogCopy, LogCopyName, SnapshotName};
use strandline_fuzz::{decoding, with_crc32c_at_end, within};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(name) = text.parse::<LogCopyName>() {
            assert_eq!(name.to_string().parse::<LogCopyName>().unwrap(), name);
        }
        if let Ok(name) = text.parse::<SnapshotName>() {
            assert_eq!(name.to_string().parse::<SnapshotName>().unwrap(), name);
        }
    }
    for bytes in with_crc32c_at_end(data) {
        within(decoding(data, 128), || {
            let Ok(copy) = LogCopy::decode(&bytes) else { return };
            let again = LogCopy::decode(&copy.encode()).unwrap();
            assert_eq!(again, copy);
            let _ = copy.name();
        });
    }
});
