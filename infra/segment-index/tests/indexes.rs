//! The promises of the segment index, kept by both of ours; both against a plain model; what the file adds.
#![allow(clippy::unwrap_used)] // helpers of tests

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use strandline_runtime::Spawner;
use strandline_segment_index::{MemorySegmentIndex, OpenError, RedbSegmentIndex, RowKey, SealedRow, SegmentIndex, conformance};
use strandline_types::{Seq, TopicId, TopicPartition};

async fn open(path: &Path) -> RedbSegmentIndex {
    RedbSegmentIndex::open(path, Spawner::in_place()).await.unwrap()
}

fn row(topic: u8, partition: i32, start_offset: i64, length: i64, generation: u32) -> SealedRow {
    SealedRow {
        topic_partition: TopicPartition { topic_id: TopicId([topic; 16]), partition },
        start_offset,
        end_offset: start_offset + length,
        path: format!("bronze/t/{topic}/{partition}-{start_offset}-g{generation}.parquet"),
        generation,
        size: 1,
        crc32c: 2,
        rows: 3,
        first_row: 4,
        row_group: 5,
        min_timestamp_ms: 6,
        max_timestamp_ms: 7,
        max_timestamp_offset: 8,
        sent_bytes: 9,
        sealed_seq: Seq(10),
    }
}

#[tokio::test]
async fn memory_keeps_every_promise() {
    conformance::run(|| async { Arc::new(MemorySegmentIndex::new()) as Arc<dyn SegmentIndex> }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_keeps_every_promise() {
    let directory = tempfile::tempdir().unwrap();
    let next = std::sync::atomic::AtomicU32::new(0);
    let make = || async {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = directory.path().join(format!("{n}.redb"));
        Arc::new(RedbSegmentIndex::open(path, Spawner::tokio()).await.unwrap()) as Arc<dyn SegmentIndex>
    };
    conformance::run(make).await.unwrap();
}

#[tokio::test]
async fn rows_and_the_end_of_a_rebuild_outlive_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("segment-index.redb");
    let index = open(&path).await;
    assert!(index.needs_rebuild().await.unwrap());
    index.put(vec![row(1, 0, 0, 10, 0)]).await.unwrap();
    drop(index);
    let index = open(&path).await;
    assert!(index.needs_rebuild().await.unwrap(), "a rebuild that did not end begins again");
    assert_eq!(index.count().await.unwrap(), 1);
    index.mark_rebuilt(false).await.unwrap();
    drop(index);
    assert!(!open(&path).await.needs_rebuild().await.unwrap());
}

#[tokio::test]
async fn gaps_are_remembered_until_there_are_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("segment-index.redb");
    assert!(!open(&path).await.has_gaps().await.unwrap());
    for gaps in [true, true, false, true] {
        let index = open(&path).await;
        index.mark_rebuilt(gaps).await.unwrap();
        drop(index);
        let index = open(&path).await;
        assert_eq!((index.needs_rebuild().await.unwrap(), index.has_gaps().await.unwrap()), (false, gaps));
        assert_eq!(index.count().await.unwrap(), 0);
    }
}

/// The file as a killed process leaves it: copied while it is open, so without any closing.
#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("a.redb"), directory.path().join("b.redb"));
    let index = open(&path).await;
    for n in 0..20 {
        index.put((0..50).map(|partition| row(1, partition, n * 10, 10, 0)).collect()).await.unwrap();
    }
    index.mark_rebuilt(false).await.unwrap();
    std::fs::copy(&path, &copy).unwrap();
    let after = open(&copy).await;
    assert_eq!(after.count().await.unwrap(), 1_000);
    assert!(!after.needs_rebuild().await.unwrap());
    assert_eq!(after.scan_all(None, 1_000).await.unwrap(), index.scan_all(None, 1_000).await.unwrap());
}

#[tokio::test]
async fn a_damaged_file_is_said_to_be_derived() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("segment-index.redb");
    std::fs::write(&path, b"this is no table at all, but some text that happens to lie here").unwrap();
    let error = RedbSegmentIndex::open(&path, Spawner::in_place()).await.unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("delete the file") && text.contains("segment-index.redb"), "{text}");

    // A real table, cut off or overwritten in its first page.
    for damage in ["cut", "overwrite"] {
        let path = directory.path().join(format!("{damage}.redb"));
        let index = open(&path).await;
        index.put((0..200).map(|n| row(1, 0, n * 10, 10, 0)).collect()).await.unwrap();
        drop(index);
        let mut bytes = std::fs::read(&path).unwrap();
        match damage {
            "cut" => bytes.truncate(5_000),
            _ => bytes[..4_096].fill(0xa5),
        }
        std::fs::write(&path, &bytes).unwrap();
        let opened = RedbSegmentIndex::open(&path, Spawner::in_place()).await;
        assert!(matches!(opened, Err(OpenError::Damaged { .. })), "{damage}: {opened:?}");
    }
}

#[tokio::test]
async fn a_file_in_use_or_out_of_reach_is_not_said_to_be_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("segment-index.redb");
    let _first = open(&path).await;
    let second = RedbSegmentIndex::open(&path, Spawner::in_place()).await;
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
    let missing = RedbSegmentIndex::open(directory.path().join("none/index.redb"), Spawner::in_place()).await;
    assert!(matches!(missing, Err(OpenError::Failed { .. })), "{missing:?}");
}

#[derive(Debug, Clone)]
enum Action {
    Put(Vec<SealedRow>),
    Remove(Vec<RowKey>),
    RemoveTopic(u8),
    Find(u8, i32, i64),
    Scan(u8, i32, i64, usize),
    ScanAll(Option<RowKey>, usize),
    Reopen,
}

fn rows() -> impl Strategy<Value = SealedRow> {
    (0..2_u8, 0..2_i32, 0..8_i64, 1..4_i64, 0..3_u32)
        .prop_map(|(topic, partition, start, length, generation)| row(topic, partition, start, length, generation))
}

fn keys() -> impl Strategy<Value = RowKey> {
    rows().prop_map(|row| row.key())
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => proptest::collection::vec(rows(), 0..6).prop_map(Action::Put),
        2 => proptest::collection::vec(keys(), 0..3).prop_map(Action::Remove),
        1 => (0..3_u8).prop_map(Action::RemoveTopic),
        4 => (0..3_u8, 0..3_i32, -1..12_i64).prop_map(|(topic, partition, offset)| Action::Find(topic, partition, offset)),
        2 => (0..3_u8, 0..3_i32, -1..12_i64, 0..4_usize).prop_map(|(a, b, c, d)| Action::Scan(a, b, c, d)),
        1 => (proptest::option::of(keys()), 0..5_usize).prop_map(|(after, limit)| Action::ScanAll(after, limit)),
        1 => Just(Action::Reopen),
    ]
}

/// What an index means, said as plainly as possible.
#[derive(Default)]
struct Model(BTreeMap<([u8; 16], i32, i64), SealedRow>);

impl Model {
    fn key(key: RowKey) -> ([u8; 16], i32, i64) {
        (key.topic_partition.topic_id.0, key.topic_partition.partition, key.end_offset)
    }

    /// The numbers of rows written, kept and differing.
    fn put(&mut self, rows: &[SealedRow]) -> (u64, u64, usize) {
        let mut counts = (0, 0, 0);
        for row in rows {
            match self.0.get(&Self::key(row.key())) {
                Some(there) if there.generation == row.generation && there != row => counts.2 += 1,
                Some(there) if there.generation >= row.generation => counts.1 += 1,
                _ => {
                    counts.0 += 1;
                    self.0.insert(Self::key(row.key()), row.clone());
                }
            }
        }
        counts
    }

    fn behind(&self, topic: u8, partition: i32, offset: i64) -> Vec<SealedRow> {
        let mine = |row: &&SealedRow| {
            row.topic_partition.topic_id.0 == [topic; 16] && row.topic_partition.partition == partition && row.end_offset > offset
        };
        self.0.values().filter(mine).cloned().collect()
    }
}

async fn check(actions: Vec<Action>, path: Option<&Path>) {
    let mut index: Arc<dyn SegmentIndex> = match path {
        Some(path) => Arc::new(open(path).await),
        None => Arc::new(MemorySegmentIndex::new()),
    };
    let mut model = Model::default();
    for action in actions {
        match action {
            Action::Put(rows) => {
                let wanted = model.put(&rows);
                let outcome = index.put(rows).await.unwrap();
                assert_eq!((outcome.written, outcome.kept, outcome.differing.len()), wanted);
            }
            Action::Remove(keys) => {
                let wanted = keys.iter().filter(|key| model.0.remove(&Model::key(**key)).is_some()).count();
                assert_eq!(index.remove(keys).await.unwrap(), wanted as u64);
            }
            Action::RemoveTopic(topic) => {
                let before = model.0.len();
                model.0.retain(|key, _| key.0 != [topic; 16]);
                let removed = index.remove_topic(TopicId([topic; 16])).await.unwrap();
                assert_eq!(removed, (before - model.0.len()) as u64);
            }
            Action::Find(topic, partition, offset) => {
                let at = TopicPartition { topic_id: TopicId([topic; 16]), partition };
                let wanted = model.behind(topic, partition, offset).into_iter().next();
                assert_eq!(index.find(at, offset).await.unwrap(), wanted);
            }
            Action::Scan(topic, partition, offset, limit) => {
                let at = TopicPartition { topic_id: TopicId([topic; 16]), partition };
                let mut wanted = model.behind(topic, partition, offset);
                wanted.truncate(limit);
                assert_eq!(index.scan(at, offset, limit).await.unwrap(), wanted);
            }
            Action::ScanAll(after, limit) => {
                let after_key = after.map(Model::key);
                let behind = model.0.iter().filter(|(key, _)| after_key.is_none_or(|after| **key > after));
                let wanted: Vec<_> = behind.map(|(_, row)| row.clone()).take(limit).collect();
                assert_eq!(index.scan_all(after, limit).await.unwrap(), wanted);
            }
            Action::Reopen => {
                if let Some(path) = path {
                    drop(index);
                    index = Arc::new(open(path).await);
                }
            }
        }
        assert_eq!(index.count().await.unwrap(), model.0.len() as u64);
    }
}

fn run(actions: Vec<Action>, on_disk: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("segment-index.redb");
    runtime.block_on(check(actions, on_disk.then_some(path.as_path())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn memory_does_as_the_model_does(actions in proptest::collection::vec(actions(), 1..60)) {
        run(actions, false);
    }
}

proptest! {
    // Every put is a durable commit, so fewer and shorter histories.
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_file_does_as_the_model_does(actions in proptest::collection::vec(actions(), 1..30)) {
        run(actions, true);
    }
}
