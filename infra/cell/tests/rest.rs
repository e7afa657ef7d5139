//! A node to which nothing comes keeps nothing in memory only to have it at hand.

use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strandline_cell::{Cell, CellOptions, JoinAs, Submission};
use strandline_commands::{CreateTopic, Role};
use strandline_commit_log::{AppendError, CommitLog, Entry, Floor, FloorError, MemoryCommitLog, ReadError, Tail, TrimError};
use strandline_index::Index;
use strandline_runtime::Runtime;
use strandline_types::{Seq, limits};

/// A log that counts how often it was told to let go.
struct Counting {
    inner: MemoryCommitLog,
    told: Arc<AtomicUsize>,
}

#[async_trait]
impl CommitLog for Counting {
    async fn append(&self, at: Seq, entry: Entry) -> Result<(), AppendError> {
        self.inner.append(at, entry).await
    }

    async fn read(&self, from: Seq, max_bytes: usize) -> Result<Tail, ReadError> {
        self.inner.read(from, max_bytes).await
    }

    async fn read_payload(&self, at: Seq, range: Range<u64>) -> Result<Bytes, ReadError> {
        self.inner.read_payload(at, range).await
    }

    async fn floor(&self) -> Result<Floor, ReadError> {
        self.inner.floor().await
    }

    async fn raise_floor(&self, expected: Floor, to: Floor) -> Result<(), FloorError> {
        self.inner.raise_floor(expected, to).await
    }

    async fn trim(&self, below: Seq) -> Result<(), TrimError> {
        self.inner.trim(below).await
    }

    fn takes_any_payload(&self) -> bool {
        self.inner.takes_any_payload()
    }

    fn let_go(&self) {
        self.told.fetch_add(1, Ordering::Relaxed);
    }

    async fn close(&self) -> Result<(), AppendError> {
        self.inner.close().await
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_lets_go_once_nothing_was_appended_for_a_while() {
    let runtime = Runtime::simulated(1, 1_790_000_000_000);
    let told = Arc::new(AtomicUsize::new(0));
    let log = Counting { inner: MemoryCommitLog::new(runtime.clone()), told: told.clone() };
    let join = JoinAs { host: "127.0.0.1".to_owned(), port: 9092, zone: String::new(), roles: vec![Role::Ingest], sole: true };
    let options = CellOptions { join, accept_clock: false, poll: Duration::from_secs(1) };
    let cell = Cell::start(runtime.clone(), Arc::new(log), Index::default(), options).await.unwrap();
    let told = || told.load(Ordering::Relaxed);
    let (almost, rest) = (limits::RECENT_PAYLOAD_IDLE - Duration::from_secs(1), Duration::from_secs(2));
    // Its own first entry has no payload, nor have these: rows are kept of them all the same.
    for id in 1..4 {
        tokio::time::sleep(almost).await;
        let name = format!("t{id}");
        let topic = CreateTopic { topic_id: vec![id; 16], name, partitions: 1, replication_factor: 1, configs: Vec::new() };
        cell.submit(Submission::one(topic)).await.unwrap();
        assert_eq!(told(), 0, "{id}: an entry a minute is work");
    }
    tokio::time::sleep(almost).await;
    cell.barrier().await.unwrap();
    assert_eq!(told(), 0);
    tokio::time::sleep(rest).await;
    assert_eq!(told(), 1);
    tokio::time::sleep(limits::RECENT_PAYLOAD_IDLE * 3).await;
    assert_eq!(told(), 1, "once");
}
