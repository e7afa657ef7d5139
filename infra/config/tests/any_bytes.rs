//! Whatever stands in a settings file: refused in words, or settings that are printed and taken again.

#![allow(clippy::unwrap_used, reason = "a test may")]

use proptest::prelude::*;
use strandline_config::{SETTINGS, load};

fn check(folder: &std::path::Path, bytes: &[u8]) {
    let file = folder.join("config.toml");
    std::fs::write(&file, bytes).unwrap();
    match load(Some(&file), std::iter::empty(), &[]) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(loaded) => {
            std::fs::write(&file, loaded.print()).unwrap();
            let again = load(Some(&file), std::iter::empty(), &[]).unwrap();
            assert_eq!(format!("{:?}", again.settings), format!("{:?}", loaded.settings));
        }
    }
}

proptest! {
    #[test]
    fn noise(noise in proptest::collection::vec(any::<u8>(), 0..200), text in "[a-z_ =\"'0-9\\[\\]{}.\n-]{0,200}") {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path(), &noise);
        check(folder.path(), text.as_bytes());
    }

    #[test]
    fn any_value_of_any_setting(setting in any::<prop::sample::Index>(), value in "\\PC{0,40}", number in any::<i64>()) {
        let folder = tempfile::tempdir().unwrap();
        let key = SETTINGS[setting.index(SETTINGS.len())].key;
        check(folder.path(), format!("{key} = {value:?}\n").as_bytes());
        check(folder.path(), format!("{key} = '{}'\n", value.replace('\'', "")).as_bytes());
        check(folder.path(), format!("{key} = {number}\n").as_bytes());
    }
}
