//! Several nodes over one log in memory: every commit has one outcome, and all nodes fold the same.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may, as tests do

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use strandline_cell::{BarrierError, Cell, CellOptions, JoinAs, Submission, SubmitError};
use strandline_commands::{
    Batch, CreateTopic, DeclareGone, LeaseKind, NewObject, Produce, RaiseFoldVersion, RaiseHorizon, Role, TakeLease,
};
use strandline_commit_log::memory::{AppendFault, FaultRates};
use strandline_commit_log::{CommitLog, MemoryCommitLog};
use strandline_index::{BatchOutcome, FOLD_VERSION, Index, Outcome, Refusal, digest};
use strandline_runtime::Runtime;
use strandline_types::{Seq, TopicId, limits};

const START_MS: i64 = 1_790_000_000_000;

fn options(sole: bool, port: u16) -> CellOptions {
    CellOptions {
        join: JoinAs { host: "127.0.0.1".to_owned(), port, zone: String::new(), roles: vec![Role::Ingest], sole },
        accept_clock: false,
        poll: Duration::from_secs(1),
    }
}

async fn node(runtime: &Runtime, log: &MemoryCommitLog, sole: bool, port: u16) -> Cell {
    let log: Arc<dyn CommitLog> = Arc::new(log.clone());
    Cell::start(runtime.clone(), log, Index::default(), options(sole, port)).await.unwrap()
}

fn topic(id: u8, name: &str, partitions: i32) -> Submission {
    Submission::one(CreateTopic {
        topic_id: vec![id; 16],
        name: name.to_owned(),
        partitions,
        replication_factor: 1,
        configs: Vec::new(),
    })
}

fn batch(producer_id: i64, base_sequence: i32, records: u32, bytes: &'static [u8]) -> Batch {
    Batch {
        length: bytes.len() as u32,
        last_offset_delta: records - 1,
        producer_id,
        producer_epoch: if producer_id < 0 { -1 } else { 0 },
        base_sequence,
        attributes: 0,
        max_timestamp_ms: START_MS,
        max_timestamp_delta: 0,
        min_timestamp_ms: START_MS,
    }
}

fn produce(id: u8, partition: i32, batches: Vec<Batch>, bytes: &'static [u8]) -> Submission {
    let produce = Produce { topic_id: vec![id; 16], partition, object: 0, position: 0, batches };
    Submission { commands: vec![produce.into()], payload: vec![Bytes::from_static(bytes)], objects: Vec::new() }
}

/// The same in an object, which gets its name now.
fn in_object(cell: &Cell, batch: Batch) -> Submission {
    let produce = Produce { topic_id: vec![1; 16], partition: 0, object: 1, position: 0, batches: vec![batch] };
    let object = NewObject { path: format!("wal/{}", cell.name_object()), size: 100, crc32c: 1 };
    Submission { commands: vec![produce.into()], payload: Vec::new(), objects: vec![object] }
}

fn base_offset(outcome: &Outcome) -> i64 {
    match outcome {
        Outcome::Produced(batches) => match batches.as_slice() {
            [BatchOutcome::Appended { base_offset, .. } | BatchOutcome::Duplicate { base_offset, .. }] => *base_offset,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_sole_node_commits_and_a_new_run_finds_everything() {
    let runtime = Runtime::simulated(1, START_MS);
    let log = MemoryCommitLog::new(runtime.clone());
    let cell = node(&runtime, &log, true, 9092).await;
    assert_eq!(cell.submit(topic(1, "a", 2)).await.unwrap().outcomes, vec![Outcome::Done]);
    let refused = cell.submit(topic(2, "a", 2)).await.unwrap().outcomes;
    assert_eq!(refused, vec![Outcome::Refused(Refusal::TopicExists)]);
    let first = cell.submit(produce(1, 0, vec![batch(-1, -1, 3, b"abcdef")], b"abcdef")).await.unwrap();
    assert_eq!(base_offset(&first.outcomes[0]), 0);
    let second = cell.submit(produce(1, 0, vec![batch(-1, -1, 2, b"gh")], b"gh")).await.unwrap();
    assert_eq!(base_offset(&second.outcomes[0]), 3);
    assert_eq!(cell.recent_payload(first.seq, 0..6).unwrap().concat(), b"abcdef");
    assert_eq!(cell.view().violations(), Vec::<String>::new());
    let before = digest(&cell.view());
    cell.stop().await;
    assert!(matches!(cell.submit(topic(3, "c", 1)).await, Err(SubmitError::Stopped)));

    let again = node(&runtime, &log.for_node(), true, 9092).await;
    assert_ne!(digest(&again.view()), before);
    assert_eq!(again.node_id(), cell.node_id());
    assert_ne!(again.incarnation(), cell.incarnation());
    assert_eq!(again.view().partition(TopicId([1; 16]), 0).unwrap().next_offset, 5);
}

#[tokio::test(start_paused = true)]
async fn an_idle_node_lets_go_of_what_it_appended_last() {
    for sole in [true, false] {
        let runtime = Runtime::simulated(3, START_MS);
        let cell = node(&runtime, &MemoryCommitLog::new(runtime.clone()), sole, 9092).await;
        cell.submit(topic(1, "a", 1)).await.unwrap();
        let first = cell.submit(produce(1, 0, vec![batch(-1, -1, 1, b"abc")], b"abc")).await.unwrap();
        let idle = limits::RECENT_PAYLOAD_IDLE;
        runtime.sleep(idle / 2).await;
        // What carries no records keeps nothing.
        cell.submit(topic(2, "b", 1)).await.unwrap();
        runtime.sleep(idle / 2 - Duration::from_millis(1)).await;
        assert!(cell.recent_payload(first.seq, 0..3).is_some(), "sole: {sole}");
        runtime.sleep(Duration::from_millis(10)).await;
        assert!(cell.recent_payload(first.seq, 0..3).is_none(), "sole: {sole}");
        let second = cell.submit(produce(1, 0, vec![batch(-1, -1, 1, b"de")], b"de")).await.unwrap();
        assert_eq!(cell.recent_payload(second.seq, 0..2).unwrap().concat(), b"de");
    }
}

#[tokio::test(start_paused = true)]
async fn submissions_that_wait_share_one_entry_and_keep_their_places() {
    let runtime = Runtime::simulated(2, START_MS);
    let log = MemoryCommitLog::new(runtime.clone());
    let cell = node(&runtime, &log, true, 9092).await;
    cell.submit(topic(1, "a", 2)).await.unwrap();
    let one = cell.enqueue(produce(1, 0, vec![batch(-1, -1, 1, b"abc")], b"abc")).await.unwrap();
    let two = cell.enqueue(produce(1, 1, vec![batch(-1, -1, 1, b"defg")], b"defg")).await.unwrap();
    let three = cell.enqueue(produce(1, 0, vec![batch(-1, -1, 1, b"hi")], b"hi")).await.unwrap();
    let (one, two, three) = (one.await.unwrap().unwrap(), two.await.unwrap().unwrap(), three.await.unwrap().unwrap());
    assert_eq!((one.seq, one.seq), (two.seq, three.seq));
    assert_eq!(base_offset(&three.outcomes[0]), 1);
    // The bytes of a partition lie side by side, and are one extent.
    assert_eq!(cell.recent_payload(one.seq, 0..9).unwrap().concat(), b"abchidefg");
    let view = cell.view();
    let extents = |partition| {
        view.partition(TopicId([1; 16]), partition)
            .unwrap()
            .extents
            .iter()
            .map(|extent| (extent.start, extent.end, extent.length))
            .collect::<Vec<_>>()
    };
    assert_eq!(extents(0), vec![(0, 2, 5)]);
    assert_eq!(extents(1), vec![(0, 1, 4)]);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_race_agree_and_no_commit_is_lost_or_doubled() {
    for seed in 0..20 {
        let runtime = Runtime::simulated(seed, START_MS);
        let log = MemoryCommitLog::new(runtime.clone());
        let nodes = [node(&runtime, &log.for_node(), false, 1).await, node(&runtime, &log.for_node(), false, 2).await];
        let third_log = log.for_node();
        third_log.faults().set_rates(FaultRates::default());
        let third = node(&runtime, &third_log, false, 3).await;
        third_log.faults().on_append(2, AppendFault::AmbiguousAfter);
        third_log.faults().on_append(4, AppendFault::AmbiguousBefore);
        nodes[0].submit(topic(1, "a", 1)).await.unwrap();
        let all = [&nodes[0], &nodes[1], &third];
        let mut waiting = Vec::new();
        for round in 0..10 {
            for cell in all {
                let _ = round;
                cell.barrier().await.unwrap();
                waiting.push(cell.enqueue(produce(1, 0, vec![batch(-1, -1, 1, b"x")], b"x")).await.unwrap());
            }
        }
        let mut offsets = Vec::new();
        for reply in waiting {
            offsets.push(base_offset(&reply.await.unwrap().unwrap().outcomes[0]));
        }
        offsets.sort_unstable();
        assert_eq!(offsets, (0..30).collect::<Vec<_>>(), "seed {seed}");
        for cell in all {
            cell.barrier().await.unwrap();
            assert_eq!(cell.view().violations(), Vec::<String>::new(), "seed {seed}");
        }
        let digests = all.map(|cell| digest(&cell.view()));
        assert!(digests.iter().all(|other| *other == digests[0]), "seed {seed}");
        let mut ids = all.map(Cell::node_id);
        ids.sort_unstable();
        assert_eq!(ids, [1, 2, 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn without_room_produce_is_refused_and_commands_go_on() {
    let runtime = Runtime::simulated(3, START_MS);
    let log = MemoryCommitLog::new(runtime.clone());
    let cell = node(&runtime, &log, true, 9092).await;
    cell.submit(topic(1, "a", 1)).await.unwrap();
    log.faults().on_append(1, AppendFault::Full);
    let produced = cell.enqueue(produce(1, 0, vec![batch(-1, -1, 1, b"x")], b"x")).await.unwrap();
    let created = cell.enqueue(topic(2, "b", 1)).await.unwrap();
    assert!(matches!(produced.await.unwrap(), Err(SubmitError::Full { .. })));
    assert_eq!(created.await.unwrap().unwrap().outcomes, vec![Outcome::Done]);
    assert!(!cell.out_of_room());
    let later = cell.submit(produce(1, 0, vec![batch(-1, -1, 1, b"x")], b"x")).await.unwrap();
    assert_eq!(base_offset(&later.outcomes[0]), 0);
}

/// Whose partition knows nothing of the producer takes any sequence: what comes later must not be there without what was refused.
#[tokio::test(start_paused = true)]
async fn nothing_overtakes_a_batch_for_which_there_was_no_room() {
    let runtime = Runtime::simulated(5, START_MS);
    let log = MemoryCommitLog::new(runtime.clone());
    let cell = node(&runtime, &log, true, 9092).await;
    cell.submit(topic(1, "a", 1)).await.unwrap();
    let is_full = |result: &Result<_, SubmitError>| matches!(result, Err(SubmitError::Full { .. }));
    // In one commit with it, in an object.
    log.faults().on_append(1, AppendFault::Full);
    let first = cell.enqueue(produce(1, 0, vec![batch(7, 0, 1, b"x")], b"x")).await.unwrap();
    let later = cell.enqueue(in_object(&cell, batch(7, 1, 1, b"x"))).await.unwrap();
    let (first, later) = (first.await.unwrap(), later.await.unwrap());
    assert!(is_full(&first.map(drop)) && is_full(&later.map(drop)));
    // Waiting for room in the queue meanwhile.
    let large = |sequence, bytes: usize| {
        let of = Batch { length: bytes as u32, ..batch(8, sequence, 1, b"") };
        let mut large = produce(1, 0, vec![of], b"");
        large.payload = vec![Bytes::from(vec![b'x'; bytes])];
        large
    };
    log.faults().on_append(1, AppendFault::Full);
    let most = limits::COMMIT_QUEUE_BYTES / 2 - (1 << 20);
    let first = cell.enqueue(large(0, most)).await.unwrap();
    let second = cell.enqueue(large(1, most)).await.unwrap();
    let third = cell.enqueue(large(2, 4 << 20)).await.unwrap();
    for reply in [first, second, third] {
        assert!(is_full(&reply.await.unwrap().map(drop)));
    }
    // There is room again, and what was refused has not come again.
    assert!(is_full(&cell.submit(large(2, 1 << 20)).await.map(drop)));
    assert_eq!(
        base_offset(&cell.submit(produce(1, 0, vec![batch(9, 5, 1, b"x")], b"x")).await.unwrap().outcomes[0]),
        0,
        "another producer"
    );
    for (sequence, offset) in [(0, 1), (1, 2), (2, 3)] {
        assert_eq!(base_offset(&cell.submit(large(sequence, 1 << 20)).await.unwrap().outcomes[0]), offset);
    }
}

/// What the fold has no room for comes again as well.
#[tokio::test(start_paused = true)]
async fn nothing_overtakes_a_batch_that_was_pressed_back() {
    let runtime = Runtime::simulated(6, START_MS);
    let log = MemoryCommitLog::new(runtime.clone());
    let cell = node(&runtime, &log, true, 9092).await;
    cell.submit(topic(1, "a", 1)).await.unwrap();
    // Its object's name is from before the horizon.
    let first = in_object(&cell, batch(7, 0, 1, b"x"));
    let leased =
        cell.submit(Submission::one(TakeLease { kind: LeaseKind::Garbage as i32, ..TakeLease::default() })).await.unwrap();
    let Outcome::Leased(lease) = leased.outcomes[0] else { panic!("{leased:?}") };
    let raised = cell.submit(Submission::one(RaiseHorizon { lease: lease.0, to: cell.seq().0 })).await.unwrap();
    assert_eq!(raised.outcomes, [Outcome::Done]);
    let first = cell.enqueue(first).await.unwrap();
    // On its way with it, and later.
    let second = cell.enqueue(produce(1, 0, vec![batch(7, 1, 1, b"x")], b"x")).await.unwrap();
    assert_eq!(first.await.unwrap().unwrap().outcomes, [Outcome::Refused(Refusal::BelowHorizon)]);
    assert!(matches!(second.await.unwrap(), Err(SubmitError::Full { .. })));
    let small = |sequence| cell.submit(produce(1, 0, vec![batch(7, sequence, 1, b"x")], b"x"));
    assert!(matches!(small(1).await, Err(SubmitError::Full { .. })));
    assert_eq!(base_offset(&small(0).await.unwrap().outcomes[0]), 0);
    assert_eq!(base_offset(&small(1).await.unwrap().outcomes[0]), 1);
}

#[tokio::test(start_paused = true)]
async fn idempotent_producers_are_told_duplicates_and_gaps() {
    let runtime = Runtime::simulated(4, START_MS);
    let log = MemoryCommitLog::new(runtime.clone());
    let cell = node(&runtime, &log, true, 9092).await;
    cell.submit(topic(1, "a", 1)).await.unwrap();
    let send = async |sequence, records| {
        cell.submit(produce(1, 0, vec![batch(7, sequence, records, b"x")], b"x")).await.unwrap().outcomes[0].clone()
    };
    assert_eq!(base_offset(&send(0, 2).await), 0);
    assert_eq!(base_offset(&send(2, 1).await), 2);
    assert!(
        matches!(send(0, 2).await, Outcome::Produced(batches) if matches!(batches[0], BatchOutcome::Duplicate { base_offset: 0, .. }))
    );
    assert!(
        matches!(send(4, 1).await, Outcome::Produced(batches) if batches[0] == BatchOutcome::Refused(Refusal::OutOfOrderSequence))
    );
    assert_eq!(base_offset(&send(3, 1).await), 3);
    assert_eq!(cell.view().partition(TopicId([1; 16]), 0).unwrap().next_offset, 4);
}

#[tokio::test(start_paused = true)]
async fn a_clock_behind_the_log_is_refused_unless_accepted() {
    let log = {
        let runtime = Runtime::simulated(5, START_MS);
        let log = MemoryCommitLog::new(runtime.clone());
        node(&runtime, &log, true, 9092).await.stop().await;
        log
    };
    let early = Runtime::simulated(6, START_MS - 3_600_000);
    let shared: Arc<dyn CommitLog> = Arc::new(log.for_node());
    let refused = Cell::start(early.clone(), shared.clone(), Index::default(), options(true, 9092)).await;
    assert!(matches!(refused, Err(strandline_cell::StartError::Clock { .. })));
    let accepted =
        Cell::start(early, shared, Index::default(), CellOptions { accept_clock: true, ..options(true, 9092) }).await.unwrap();
    assert!(accepted.seq() > Seq(1));
}

/// The cell may be raised past what a node knows once that node was declared gone; it may have slept through both.
#[tokio::test(start_paused = true)]
async fn a_node_that_was_declared_gone_folds_nothing_by_rules_that_it_does_not_know() {
    let runtime = Runtime::simulated(7, START_MS);
    let log = MemoryCommitLog::new(runtime.clone());
    let shared: Arc<dyn CommitLog> = Arc::new(log.for_node());
    let old = Cell::start_as_of(runtime.clone(), shared, Index::default(), options(false, 9092), FOLD_VERSION - 1).await.unwrap();
    let new = node(&runtime, &log, false, 9093).await;
    let raise = || Submission::one(RaiseFoldVersion { to: FOLD_VERSION });
    assert!(matches!(new.submit(raise()).await.unwrap().outcomes[..], [Outcome::Refused(Refusal::Superseded { .. })]));
    let last_n = new.view().nodes[&old.incarnation()].last_n;
    new.submit(Submission::one(DeclareGone { incarnation: old.incarnation().0, last_n })).await.unwrap();
    let raised = new.submit(raise()).await.unwrap();
    assert!(matches!(raised.outcomes[..], [Outcome::Done]));
    new.submit(topic(1, "by newer rules", 1)).await.unwrap();
    assert!(matches!(old.barrier().await, Err(BarrierError::Stopped)));
    assert_eq!((old.seq(), old.view().topics.len()), (raised.seq, 0));
    assert_eq!(new.view().topics.len(), 1);
}
