//! Manifests, and the names that they hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strandline_bronze::manifest::{DayManifest, RootManifest, applied_seq};
use strandline_bronze::{Day, SealedName};
use strandline_fuzz::{decoding, within};
use strandline_types::ObjectName;

fuzz_target!(|data: &[u8]| {
    within(decoding(data, 128), || {
        if let Ok(day) = DayManifest::parse(data) {
            assert_eq!(applied_seq(data).unwrap(), day.applied_seq);
            assert_eq!(DayManifest::parse(&day.encode().unwrap()).unwrap(), day);
        }
        if let Ok(root) = RootManifest::parse(data) {
            assert_eq!(RootManifest::parse(&root.encode().unwrap()).unwrap(), root);
        }
        let Ok(text) = std::str::from_utf8(data) else { return };
        if let Ok(name) = text.parse::<SealedName>() {
            assert_eq!(name.to_string().parse::<SealedName>().unwrap(), name);
        }
        if let Ok(name) = text.parse::<ObjectName>() {
            assert_eq!(name.to_string().parse::<ObjectName>().unwrap(), name);
        }
        if let Ok(day) = text.parse::<Day>() {
            assert_eq!(day.to_string().parse::<Day>().unwrap(), day);
        }
    });
});
