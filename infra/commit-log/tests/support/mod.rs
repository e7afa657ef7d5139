//! What the tests of the embedded log share.
#![allow(dead_code)] // each test uses a part

use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_commit_log::disk::SimulatedDisk;
use strandline_commit_log::embedded::{EmbeddedCommitLog, OpenError, Options};
use strandline_commit_log::{CommitLog, Entry, ReadError, Row, Tail};
use strandline_runtime::Runtime;
use strandline_types::Seq;

pub const DIR: &str = "/log";

/// Files of a few entries each, read for every row, payloads stepped over from 100 bytes on, no reserve.
pub fn small() -> Options {
    Options {
        file_bytes: 2_000,
        preallocate_bytes: 700,
        min_free_bytes: 0,
        reserve_bytes: 0,
        page_cache_bytes: 1 << 20,
        direct_bytes: u64::MAX,
        direct_read_bytes: 300,
        zeroed_below_bytes: 0,
        recent_row_bytes: 0,
        skipped_payload_bytes: 100,
    }
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

pub async fn open(disk: &SimulatedDisk, options: &Options) -> Result<EmbeddedCommitLog, OpenError> {
    let runtime = Runtime::simulated(11, 0);
    EmbeddedCommitLog::open_on(Arc::new(disk.clone()), Path::new(DIR), options.clone(), runtime).await
}

/// All rows and payloads from `from` on.
pub async fn read_all(log: &impl CommitLog, from: u64) -> Result<Vec<(Row, Vec<u8>)>, ReadError> {
    let (mut found, mut next) = (Vec::new(), from);
    loop {
        let rows = match log.read(Seq(next), 700).await? {
            Tail::Rows { rows, .. } => rows,
            Tail::Trimmed { floor } => panic!("a read from {next}: trimmed up to {}", floor.seq),
        };
        if rows.is_empty() {
            return Ok(found);
        }
        for row in rows {
            assert_eq!(row.seq, Seq(next));
            let payload = log.read_payload(row.seq, 0..row.payload_length).await?;
            found.push((row, payload.to_vec()));
            next += 1;
        }
    }
}

/// What `read_all` gives for these entries, the first at `from`.
pub fn expected(entries: &[Entry], from: u64) -> Vec<(Row, Vec<u8>)> {
    let rows = entries.iter().zip(from..).map(|(entry, seq)| entry.row(Seq(seq)));
    let payloads = entries.iter().map(|entry| entry.payload.chunks.concat());
    rows.zip(payloads).collect()
}

pub fn log_paths(disk: &SimulatedDisk) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| path.extension().is_some_and(|end| end == "log")).collect()
}
