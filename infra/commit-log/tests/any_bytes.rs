//! Whatever bytes a log file or the floor has: the log is refused, or it opens, reads, and goes on. Nothing panics.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that fails says so by panicking

mod support;

use proptest::prelude::*;
use std::path::Path;
use strandline_commit_log::CommitLog;
use strandline_commit_log::conformance::entry;
use strandline_commit_log::disk::SimulatedDisk;
use support::{block_on, open, read_all, small};

const FILE: &[u8] = include_bytes!("golden/v1-killed/00000000000000000001.log");
const FLOOR: &[u8] = include_bytes!("golden/v1-closed/floor");

fn check(log: &[u8], floor: Option<&[u8]>) {
    let disk = SimulatedDisk::new();
    disk.put(Path::new("/log/00000000000000000001.log"), log.to_vec());
    if let Some(floor) = floor {
        disk.put(Path::new("/log/floor"), floor.to_vec());
    }
    block_on(async {
        let Ok(log) = open(&disk, &small()).await else { return };
        let from = log.floor().await.unwrap().seq;
        let _ = read_all(&log, from.0).await;
        let next = log.head().next();
        if log.append(next, entry(next.0, 20, 30)).await.is_ok() {
            drop(log);
            assert_eq!(open(&disk, &small()).await.unwrap().head(), next);
        }
    });
}

proptest! {
    #[test]
    fn noise(noise in proptest::collection::vec(any::<u8>(), 0..400), kept in 0..200_usize) {
        check(&noise, None);
        let mut bytes = FILE[..kept].to_vec();
        bytes.extend_from_slice(&noise);
        check(&bytes, None);
    }

    #[test]
    fn a_file_and_a_floor_with_bytes_changed(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), floor: bool, length in any::<prop::sample::Index>()) {
        let (mut log, mut low) = (FILE.to_vec(), FLOOR.to_vec());
        for (at, byte) in changes {
            let changed = if floor { &mut low } else { &mut log };
            let at = at.index(changed.len());
            changed[at] = byte;
        }
        check(&log, floor.then_some(&low[..]));
        log.truncate(length.index(log.len() + 1));
        check(&log, None);
        low.truncate(length.index(low.len() + 1));
        check(FILE, Some(&low));
    }
}
