//! The embedded log keeps the promises of a commit log: on a simulated disk with tiny files, and on a real folder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that fails says so by panicking

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use strandline_commit_log::conformance;
use strandline_commit_log::disk::SimulatedDisk;
use strandline_commit_log::embedded::{EmbeddedCommitLog, Options};
use strandline_runtime::Runtime;
use support::{block_on, open, small};

#[test]
fn it_keeps_the_promises_on_a_simulated_disk() {
    block_on(async {
        let new = async || open(&SimulatedDisk::new(), &small()).await.unwrap();
        conformance::run(new).await.unwrap();
        let in_bits = async || {
            let disk = SimulatedDisk::new();
            disk.set_longest_write(Some(61));
            let options = Options { preallocate_bytes: 0, file_bytes: 1 << 20, ..small() };
            open(&disk, &options).await.unwrap()
        };
        conformance::run(in_bits).await.unwrap();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_promises_on_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let logs = AtomicU64::new(0);
    for options in [small(), Options { reserve_bytes: 1 << 20, ..Options::default() }] {
        let new = async || {
            let nth = logs.fetch_add(1, Ordering::Relaxed);
            let dir = dir.path().join(format!("a/{nth}/log"));
            EmbeddedCommitLog::open(&dir, options.clone(), Runtime::system()).await.unwrap()
        };
        conformance::run(new).await.unwrap();
    }
}
