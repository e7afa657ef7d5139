//! Whatever bytes come as a manifest: refused, or what is written again says the same.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use strandline_bronze::manifest::{DayManifest, RootManifest, applied_seq};

const DAY: &str = r#"{"format":1,"topic":"rides","topic_id":"53c70f99-f658-4d45-9e44-6ae0b74a07cb","day":"2026-11-24","applied_seq":5,"files":[{"path":"fresh/rides/53c70f99/00000000000000000004-1-1.parquet","size":4833,"rows":3,"crc32c":3368176560,"covered":[[0,0,3]]}]}"#;
const ROOT: &str = r#"{"format":1,"topic":"rides","topic_id":"53c70f99-f658-4d45-9e44-6ae0b74a07cb","applied_seq":5,"days":[{"day":"2026-11-24","path":"manifest/rides/53c70f99/2026-11-24.json","files":1,"rows":3,"bytes":4833}],"partitions":[{"partition":0,"log_start":0,"watermark":3}]}"#;

fn check(bytes: &[u8]) {
    if let Ok(day) = DayManifest::parse(bytes) {
        assert_eq!(applied_seq(bytes).unwrap(), day.applied_seq);
        assert_eq!(DayManifest::parse(&day.encode().unwrap()).unwrap(), day);
    }
    if let Ok(root) = RootManifest::parse(bytes) {
        assert_eq!(RootManifest::parse(&root.encode().unwrap()).unwrap(), root);
    }
}

proptest! {
    #[test]
    fn noise(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&noise);
    }

    #[test]
    fn a_manifest_with_a_byte_changed(day: bool, at in any::<prop::sample::Index>(), byte in any::<u8>(), length in any::<prop::sample::Index>()) {
        let mut bytes = if day { DAY } else { ROOT }.as_bytes().to_vec();
        check(&bytes);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        check(&bytes);
        bytes.truncate(length.index(bytes.len()));
        check(&bytes);
        prop_assert!(DayManifest::parse(&bytes).is_err() && RootManifest::parse(&bytes).is_err(), "a cut manifest is none");
    }
}
