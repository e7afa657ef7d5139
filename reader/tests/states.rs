//! Random states of a log, and any read of them: exactly the model's records, every offset covered, the same hot and from
//! Parquet (I5, I6).
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use proptest::prelude::*;
use std::time::Duration;
use strandline_types::TopicPartition;
use strandline_wire::records::Compression;
use support::{Home, Node, Record, START_MS};

const PARTITIONS: i32 = 2;

#[derive(Debug, Clone)]
enum Action {
    Produce { partition: i32, batches: Vec<Vec<Record>>, home: Home, compression: Compression },
    Wait(u64),
    Convert(f64),
    Merge,
    SealPlan(f64),
    Sealed,
    SealDone,
    Lose { partition: i32, which: usize },
    MoveLogStart { partition: i32, share: f64 },
    Read { partition: i32, share: f64, max_bytes: i32 },
    Find { partition: i32, targets: Vec<i64> },
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Vec::new())),
        3 => "[a-zé]{1,12}".prop_map(|text| Some(text.into_bytes())),
        2 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Some),
        1 => prop::collection::vec(any::<u8>(), 2_000..9_000).prop_map(Some),
    ]
}

fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![1 => Just(-1_i64), 6 => (0..50_i64).prop_map(|late| START_MS - 1_000 + late)]
}

fn record() -> impl Strategy<Value = Record> {
    let headers = prop::collection::vec(("[a-z]{0,3}", bytes()), 0..3);
    (timestamp(), bytes(), bytes(), headers).prop_map(|(timestamp_ms, key, value, headers)| Record {
        timestamp_ms,
        append_time: false,
        key,
        value,
        headers,
    })
}

fn action() -> impl Strategy<Value = Action> {
    let partition = 0..PARTITIONS;
    let share = || 0.0..1.0_f64;
    let batches = prop::collection::vec(prop::collection::vec(record(), 1..6), 1..4);
    let home = prop_oneof![Just(Home::Inline), Just(Home::Wal)];
    let compression = prop_oneof![
        3 => Just(Compression::None),
        1 => Just(Compression::Gzip),
        1 => Just(Compression::Snappy),
        1 => Just(Compression::Lz4),
        1 => Just(Compression::Zstd),
    ];
    let target = prop_oneof![(0..60_i64).prop_map(|late| START_MS - 1_005 + late), (0..200_i64).prop_map(|late| START_MS + late)];
    prop_oneof![
        8 => (partition.clone(), batches, home, compression)
            .prop_map(|(partition, batches, home, compression)| Action::Produce { partition, batches, home, compression }),
        2 => (1..20_u64).prop_map(Action::Wait),
        3 => share().prop_map(Action::Convert),
        1 => Just(Action::Merge),
        2 => share().prop_map(Action::SealPlan),
        2 => Just(Action::Sealed),
        2 => Just(Action::SealDone),
        1 => (partition.clone(), any::<usize>()).prop_map(|(partition, which)| Action::Lose { partition, which }),
        1 => (partition.clone(), share()).prop_map(|(partition, share)| Action::MoveLogStart { partition, share }),
        4 => (partition.clone(), share(), prop_oneof![1..200_i32, 1_000..40_000_i32])
            .prop_map(|(partition, share, max_bytes)| Action::Read { partition, share, max_bytes }),
        2 => (partition, prop::collection::vec(target, 1..4)).prop_map(|(partition, targets)| Action::Find { partition, targets }),
    ]
}

async fn run(log_append_time: bool, actions: Vec<Action>) {
    let mut node = Node::start(7).await;
    let topic = node.topic(1, "t", PARTITIONS, log_append_time).await;
    let at = |partition| TopicPartition { topic_id: topic, partition };
    for action in actions {
        match action {
            Action::Produce { partition, batches, home, compression } => {
                node.produce(at(partition), &batches, home, compression).await;
            }
            Action::Wait(wait_ms) => node.world.runtime.sleep(Duration::from_millis(wait_ms)).await,
            Action::Convert(share) => drop(node.convert(topic, share).await),
            Action::Merge => drop(node.merge(topic).await),
            Action::SealPlan(share) => drop(node.seal_plan(topic, share).await),
            Action::Sealed => drop(node.sealed(topic).await),
            Action::SealDone => drop(node.seal_done(topic).await),
            Action::Lose { partition, which } => drop(node.lose(at(partition), which).await),
            Action::MoveLogStart { partition, share } => {
                let model = &node.models[&at(partition)];
                // Seldom far, so that something is left.
                let to = model.log_start + ((model.end - model.log_start) as f64 * share * 0.5) as i64;
                node.move_log_start(at(partition), to).await;
            }
            Action::Read { partition, share, max_bytes } => {
                let model = &node.models[&at(partition)];
                let offset = model.log_start + ((model.end - model.log_start) as f64 * share) as i64;
                node.check_from(at(partition), offset, max_bytes).await;
            }
            Action::Find { partition, targets } => node.check_timestamps(at(partition), &targets).await,
        }
    }
    for partition in 0..PARTITIONS {
        let model = &node.models[&at(partition)];
        for offset in model.log_start..model.end {
            node.check_from(at(partition), offset, 700).await;
        }
        node.check_read_records(at(partition)).await;
        let targets: Vec<i64> = (-5..60).map(|late| START_MS - 1_000 + late).chain([START_MS + 50, 0, i64::MAX]).collect();
        node.check_timestamps(at(partition), &targets).await;
    }
    node.cell.stop().await;
}

fn in_simulation(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_read_of_any_state_is_the_models(log_append_time in any::<bool>(), actions in prop::collection::vec(action(), 1..28)) {
        in_simulation(run(log_append_time, actions));
    }
}

/// A log that is larger than chunks and answers: several chunks a file, read ahead, hot and cold at once.
#[test]
fn a_long_log_streams_from_every_tier() {
    in_simulation(async {
        let mut node = Node::start(3).await;
        let topic = node.topic(1, "long", 1, false).await;
        let at = TopicPartition { topic_id: topic, partition: 0 };
        for round in 0..4_i64 {
            for batch in 0..12_i64 {
                let value = |n: i64| vec![(n % 251) as u8; 1_500 + (n % 700) as usize];
                let records: Vec<Record> =
                    (0..100).map(|n| Record::new(START_MS + round * 100 + batch, &value(n * 31 + batch))).collect();
                node.produce(at, &[records], Home::Inline, Compression::Lz4).await;
            }
            match round {
                0 => {
                    assert!(node.convert(topic, 1.0).await);
                    node.seal_whole(topic).await;
                }
                1 => assert!(node.convert(topic, 1.0).await && node.seal_plan(topic, 1.0).await && node.sealed(topic).await),
                2 => assert!(node.convert(topic, 1.0).await),
                _ => {}
            }
        }
        for (offset, max_bytes) in [(0, 1 << 20), (0, 64), (1_199, 3 << 20), (2_395, 100_000), (3_650, 10_000)] {
            node.check_from(at, offset, max_bytes).await;
        }
        // A fetch goes from one source into the next, as far as there is room.
        // A batch is a chunk, so there may be room for the end of one file and all of the next, and not for the third's first.
        for (offset, reached) in [(1_150, 2_400), (2_300, 3_601)] {
            let data = node.fetch_one(at, offset, 4 << 20).await;
            let seen = support::check::take_apart(data.records.unwrap(), offset);
            assert!(seen.next >= reached, "{}", seen.next);
        }
        node.check_timestamps(at, &[START_MS, START_MS + 5, START_MS + 100, START_MS + 205, START_MS + 311, START_MS + 312])
            .await;
    });
}

/// Between any two records of a file, also where a chunk ends, there may be a hole: it is covered, and a fetch that starts in it
/// begins with the next record.
#[test]
fn holes_at_the_borders_of_chunks_are_covered() {
    in_simulation(async {
        let mut node = Node::start(4).await;
        let topic = node.topic(1, "holes", 1, false).await;
        let at = TopicPartition { topic_id: topic, partition: 0 };
        for n in 0..60_i64 {
            // An extent each: the size keeps neighbours apart.
            let value = vec![n as u8; 700_000];
            node.produce(at, &[vec![Record::new(START_MS + n, &value)]], Home::Inline, Compression::Lz4).await;
            node.world.runtime.sleep(Duration::from_millis(1)).await;
        }
        for lost in (0..60).filter(|n| n % 4 != 1) {
            assert!(node.lose(at, lost).await);
        }
        assert!(node.convert(topic, 1.0).await);
        for round in 0..2 {
            for offset in 0..60 {
                let wanted = node.models[&at].records.range(offset..).next().map(|(offset, _)| *offset);
                let data = node.fetch_one(at, offset, 10).await;
                let seen = support::check::take_apart(data.records.unwrap(), offset);
                match wanted {
                    Some(wanted) => assert_eq!(seen.records.first().map(|(offset, _)| *offset), Some(wanted), "from {offset}"),
                    None => assert_eq!((seen.records.len(), seen.next), (0, 60)),
                }
            }
            node.check_from(at, 0, 3_000_000).await;
            node.check_timestamps(at, &[START_MS, START_MS + 2, START_MS + 57, START_MS + 58]).await;
            if round == 0 {
                node.seal_whole(topic).await;
            }
        }
    });
}
