//! An entry in the log that does not continue it, or that this build does not understand: a node that meets it stops serving
//! there. It skips nothing, whichever way it meets the entry, and whatever comes after it.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may, as tests do

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use strandline_cell::{BarrierError, Cell, CellOptions, JoinAs, StartError, Submission, SubmitError};
use strandline_commands::{Commit, CreateTopic, DecodeError, EntryBody, FORMAT_VERSION, Role, chain_hash, encode};
use strandline_commit_log::memory::AppendFault;
use strandline_commit_log::{CommitLog, Entry, MemoryCommitLog, Payload};
use strandline_index::{FoldError, Index, Outcome};
use strandline_runtime::Runtime;
use strandline_types::{ChainHash, Seq, limits};

const START_MS: i64 = 1_790_000_000_000;
const POLL: Duration = Duration::from_secs(1);

fn options(sole: bool) -> CellOptions {
    let join = JoinAs { host: "127.0.0.1".to_owned(), port: 9092, zone: String::new(), roles: vec![Role::Ingest], sole };
    CellOptions { join, accept_clock: false, poll: POLL }
}

async fn start(runtime: &Runtime, log: &MemoryCommitLog, sole: bool) -> Result<Cell, StartError> {
    let log: Arc<dyn CommitLog> = Arc::new(log.clone());
    Cell::start(runtime.clone(), log, Index::default(), options(sole)).await
}

fn topic(id: u8) -> CreateTopic {
    CreateTopic { topic_id: vec![id; 16], name: format!("t{id}"), partitions: 1, replication_factor: 1, configs: Vec::new() }
}

/// An entry of the node's next commit, which makes topic 9: nothing is wrong with it but where it is said to be.
fn body(hash: ChainHash, incarnation: u64, n: u64) -> EntryBody {
    let commit = Commit { incarnation, n, commands: vec![topic(9).into()], ..Commit::default() };
    EntryBody { time_ms: START_MS, hash_before: hash.0.to_vec(), cell_epoch: 1, commits: vec![commit], ..EntryBody::default() }
}

fn entry(hash_before: ChainHash, bytes: Bytes) -> Entry {
    Entry { hash_before, bytes, payload: Payload::default() }
}

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    Chain,
    Format(u16),
    Short,
    CellEpoch,
}

const ALL: [Wrong; 5] =
    [Wrong::Chain, Wrong::Format(FORMAT_VERSION + 1), Wrong::Format(u16::MAX), Wrong::Short, Wrong::CellEpoch];

impl Wrong {
    /// After the entry with that hash, so that the log itself takes it.
    fn entry(self, hash: ChainHash, incarnation: u64, n: u64) -> Entry {
        let good = body(hash, incarnation, n);
        let bytes = match self {
            Self::Chain => encode(&EntryBody { hash_before: vec![7; 16], ..good }).unwrap(),
            Self::Format(version) => Bytes::from([&version.to_be_bytes()[..], &encode(&good).unwrap()[2..]].concat()),
            Self::Short => Bytes::from_static(b"\x00"),
            Self::CellEpoch => encode(&EntryBody { cell_epoch: 2, ..good }).unwrap(),
        };
        entry(hash, bytes)
    }

    fn error(self, seq: Seq) -> FoldError {
        match self {
            Self::Chain => FoldError::Chain { seq },
            Self::Format(found) => FoldError::Decode { seq, source: DecodeError::UnknownVersion { found } },
            Self::Short => FoldError::Decode { seq, source: DecodeError::Short },
            Self::CellEpoch => FoldError::CellEpoch { seq, found: 2, expected: 1 },
        }
    }
}

/// A node that has made topic 1, the log, and what the node held then.
struct Living {
    runtime: Runtime,
    log: MemoryCommitLog,
    /// The node's own handle of the log.
    own: MemoryCommitLog,
    cell: Cell,
    before: Index,
}

impl Living {
    async fn new(sole: bool) -> Self {
        let runtime = Runtime::simulated(1, START_MS);
        let log = MemoryCommitLog::new(runtime.clone());
        let own = log.for_node();
        let cell = start(&runtime, &own, sole).await.unwrap();
        assert_eq!(cell.submit(Submission::one(topic(1))).await.unwrap().outcomes, vec![Outcome::Done]);
        let before = cell.view().clone();
        Self { runtime, log, own, cell, before }
    }

    fn next_n(&self) -> u64 {
        self.before.nodes[&self.cell.incarnation()].last_n + 1
    }

    /// The node's next commit, after the entry with that hash.
    fn good(&self, hash: ChainHash) -> Entry {
        entry(hash, encode(&body(hash, self.cell.incarnation().0, self.next_n())).unwrap())
    }

    fn wrong(&self, wrong: Wrong) -> Entry {
        wrong.entry(self.before.cell.hash, self.cell.incarnation().0, self.next_n())
    }

    /// Puts it into the log by hand, and one after it that would be right if it were skipped or taken.
    async fn put(&self, wrong: Wrong) {
        let (at, entry) = (self.before.cell.seq.next(), self.wrong(wrong));
        let hash = chain_hash(self.before.cell.hash, &entry.bytes);
        self.log.append(at, entry).await.unwrap();
        for (at, hash) in [(at.next(), hash), (at.next().next(), self.before.cell.hash)] {
            self.log.append(at, self.good(hash)).await.unwrap();
        }
    }

    /// The node has ended where the wrong entry is: it holds what it held, and takes and tells nothing more.
    async fn assert_ended(&self, wrong: Wrong) {
        let waited = tokio::time::timeout(POLL * 60, self.cell.stopped()).await;
        assert!(waited.is_ok() && self.cell.is_stopped(), "{wrong:?}: the node goes on");
        assert_eq!(*self.cell.view(), self.before, "{wrong:?}");
        let head = self.log.head();
        for _ in 0..2 {
            let submitted = self.cell.submit(Submission::one(topic(2))).await;
            assert!(matches!(submitted, Err(SubmitError::Stopped)), "{wrong:?}: {submitted:?}");
            assert!(matches!(self.cell.barrier().await, Err(BarrierError::Stopped)), "{wrong:?}");
        }
        tokio::time::sleep(POLL * 3).await;
        assert_eq!(*self.cell.view(), self.before, "{wrong:?}: not later either");
        assert_eq!(self.log.head(), head, "{wrong:?}: nothing is appended behind it");
    }
}

/// That the entry would be folded if nothing were wrong with it: else the tests below say nothing.
#[tokio::test(start_paused = true)]
async fn the_same_entry_without_a_fault_is_folded() {
    let living = Living::new(false).await;
    let at = living.before.cell.seq.next();
    living.log.append(at, living.good(living.before.cell.hash)).await.unwrap();
    living.cell.barrier().await.unwrap();
    assert_eq!((living.cell.seq(), living.cell.view().topics.len()), (at, 2));
    assert!(!living.cell.is_stopped());
}

#[tokio::test(start_paused = true)]
async fn a_barrier_meets_it() {
    for wrong in ALL {
        let living = Living::new(false).await;
        living.put(wrong).await;
        assert!(matches!(living.cell.barrier().await, Err(BarrierError::Stopped)), "{wrong:?}");
        living.assert_ended(wrong).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_nobody_asks_meets_it_when_it_polls() {
    for wrong in ALL {
        let living = Living::new(false).await;
        living.put(wrong).await;
        living.assert_ended(wrong).await;
    }
}

/// As the winner of the seq to which it appends.
#[tokio::test(start_paused = true)]
async fn an_append_meets_it() {
    for wrong in ALL {
        let living = Living::new(false).await;
        living.put(wrong).await;
        let waiting = [
            living.cell.enqueue(Submission::one(topic(2))).await.unwrap(),
            living.cell.enqueue(Submission::one(topic(3))).await.unwrap(),
        ];
        for reply in waiting {
            let told = reply.await.unwrap();
            assert!(matches!(told, Err(SubmitError::Stopped)), "{wrong:?}: {told:?}");
        }
        living.assert_ended(wrong).await;
    }
}

/// While it looks for the outcome of an append in doubt: who waits is not told any.
#[tokio::test(start_paused = true)]
async fn a_read_after_a_doubtful_append_meets_it() {
    for wrong in ALL {
        let living = Living::new(false).await;
        living.put(wrong).await;
        living.own.faults().on_append(1, AppendFault::AmbiguousBefore);
        let told = living.cell.submit(Submission::one(topic(2))).await;
        assert!(matches!(told, Err(SubmitError::Stopped)), "{wrong:?}: {told:?}");
        living.assert_ended(wrong).await;
    }
}

/// A sole node does not read its log while it runs; an entry of another's at its seq is none of its own all the same.
#[tokio::test(start_paused = true)]
async fn a_sole_node_meets_it() {
    for wrong in ALL {
        let living = Living::new(true).await;
        living.put(wrong).await;
        let told = living.cell.submit(Submission::one(topic(2))).await;
        assert!(matches!(told, Err(SubmitError::Stopped)), "{wrong:?}: {told:?}");
        living.assert_ended(wrong).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_meets_it() {
    for wrong in ALL {
        for sole in [false, true] {
            let living = Living::new(false).await;
            living.put(wrong).await;
            let head = living.log.head();
            let seq = living.before.cell.seq.next();
            let started = start(&living.runtime, &living.log.for_node(), sole).await;
            let error = started.err();
            assert!(matches!(&error, Some(StartError::Fold(found)) if *found == wrong.error(seq)), "{wrong:?}: {error:?}");
            assert_eq!(living.log.head(), head, "{wrong:?}: it did not join");
        }
    }
}

/// It comes between a node's look at the log and its join.
#[tokio::test(start_paused = true)]
async fn a_node_that_joins_meets_it() {
    for wrong in ALL {
        let living = Living::new(false).await;
        let (seq, entry) = (living.before.cell.seq.next(), living.wrong(wrong));
        let log = living.log.for_node();
        log.faults().on_append(1, AppendFault::Rival(Arc::new(move |_, _| entry.clone())));
        let error = start(&living.runtime, &log, false).await.err();
        assert!(matches!(&error, Some(StartError::Fold(found)) if *found == wrong.error(seq)), "{wrong:?}: {error:?}");
        assert_eq!(living.log.head(), seq, "{wrong:?}: it did not join");
    }
}

/// Whoever goes by the cell hears that its driver is gone, also if it went in a panic.
#[tokio::test(start_paused = true)]
async fn a_driver_that_panics_ends_the_cell() {
    let living = Living::new(true).await;
    living.own.faults().on_append(1, AppendFault::Rival(Arc::new(|_, _| panic!("ordered by the test"))));
    let told = living.cell.submit(Submission::one(topic(2))).await;
    assert!(matches!(told, Err(SubmitError::Stopped)), "{told:?}");
    tokio::time::timeout(POLL, living.cell.stopped()).await.unwrap();
    assert!(living.cell.is_stopped());
    assert!(matches!(living.cell.barrier().await, Err(BarrierError::Stopped)));
}

/// The snapshot reaches further than the log: nothing can be appended where the index wants it, however often it is tried.
#[tokio::test(start_paused = true)]
async fn a_log_that_lost_its_end_is_not_joined() {
    let living = Living::new(false).await;
    let cut: Arc<dyn CommitLog> = Arc::new(MemoryCommitLog::new(living.runtime.clone()));
    let started = Cell::start(living.runtime.clone(), cut, living.before.clone(), options(true));
    let error = tokio::time::timeout(Duration::from_secs(60), started).await.unwrap().err();
    let index = living.before.cell.seq;
    assert!(matches!(error, Some(StartError::Cut { next: Seq(1), index: at }) if at == index), "{error:?}");
}

/// It would append joins for ever, and say nothing.
#[tokio::test(start_paused = true)]
async fn a_join_that_the_fold_refuses_ends() {
    let runtime = Runtime::simulated(7, START_MS);
    let log: Arc<dyn CommitLog> = Arc::new(MemoryCommitLog::new(runtime.clone()));
    let mut options = options(true);
    options.join.zone = "z".repeat(limits::NODE_ZONE_BYTES + 1);
    let started = Cell::start(runtime, log, Index::default(), options);
    let error = tokio::time::timeout(Duration::from_secs(60), started).await.unwrap().err();
    assert!(matches!(error, Some(StartError::Refused { .. })), "{error:?}");
}
