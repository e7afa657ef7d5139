//! Logs of every format version ever written stay readable; and this version is still written byte for byte.
//!
//! To make the files of a new version: `STRANDLINE_WRITE_GOLDEN=1 cargo test -p strandline-commit-log --test golden`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that fails says so by panicking

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use strandline_commit_log::conformance::{entry, floor_at};
use strandline_commit_log::disk::SimulatedDisk;
use strandline_commit_log::{CommitLog, Entry, Floor};
use strandline_types::Seq;
use support::{DIR, block_on, expected, open, read_all, small};

/// What the golden logs hold. Never change it: a new version gets a function of its own.
fn version_1() -> Vec<Entry> {
    let sizes = [(30, 0), (50, 90), (0, 300), (64, 10), (9, 900), (20, 0), (40, 40), (33, 350), (5, 5)];
    sizes.into_iter().zip(1..).map(|((bytes, payload), number)| entry(number, bytes, payload)).collect()
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Two files, a floor, an end frame inside the newest file, one entry behind it; closed or not.
async fn write(closed: bool) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let mut log = open(&disk, &small()).await.unwrap();
    for (entry, seq) in version_1().into_iter().zip(1..) {
        if seq == 9 {
            log.close().await.unwrap();
            log = open(&disk, &small()).await.unwrap();
        }
        log.append(Seq(seq), entry).await.unwrap();
    }
    log.raise_floor(Floor::default(), floor_at(3)).await.unwrap();
    if closed {
        log.close().await.unwrap();
    }
    disk
}

#[test]
fn logs_of_version_1_are_read_and_still_written() {
    block_on(async {
        for (name, closed) in [("v1-closed", true), ("v1-killed", false)] {
            let written = write(closed).await;
            if std::env::var_os("STRANDLINE_WRITE_GOLDEN").is_some() {
                fs::create_dir_all(golden(name)).unwrap();
                for path in written.paths() {
                    fs::write(golden(name).join(path.file_name().unwrap()), written.contents(&path).unwrap()).unwrap();
                }
            }
            let disk = SimulatedDisk::new();
            for found in fs::read_dir(golden(name)).unwrap() {
                let path = found.unwrap().path();
                disk.put(&Path::new(DIR).join(path.file_name().unwrap()), fs::read(&path).unwrap());
            }
            assert_eq!(disk.paths().len(), 3, "{name}: two files and a floor");
            for path in written.paths() {
                assert!(written.contents(&path) == disk.contents(&path), "{name}: {} differs", path.display());
            }
            let log = open(&disk, &small()).await.unwrap();
            assert_eq!(log.recovery().clean, closed);
            assert_eq!(log.floor().await.unwrap(), floor_at(3));
            assert_eq!(read_all(&log, 3).await.unwrap(), expected(&version_1()[2..], 3));
            log.append(Seq(10), entry(10, 10, 10)).await.unwrap();
        }
    });
}
