//! The settings file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use strandline_config::load;
use strandline_fuzz::{decoding, within};

thread_local! {
    static FILE: PathBuf = {
        let shared = std::path::Path::new("/dev/shm");
        let folder = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
        folder.join(format!("strandline-fuzz-config-{}.toml", std::process::id()))
    };
}

fuzz_target!(|data: &[u8]| {
    FILE.with(|file| {
        std::fs::write(file, data).unwrap();
        let loaded = within(decoding(data, 512), || load(Some(file), std::iter::empty(), &[]));
        if let Ok(loaded) = loaded {
            // What it prints is a file that it takes, and that says the same.
            let printed = loaded.print();
            std::fs::write(file, &printed).unwrap();
            let again = load(Some(file), std::iter::empty(), &[]).unwrap();
            assert_eq!(format!("{:?}", again.settings), format!("{:?}", loaded.settings));
        }
    });
});
