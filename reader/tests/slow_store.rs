//! A store that takes its time: how much of it one answer costs.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_object_store::{FaultPlan, Faults, InMemory, Objects, Operation, RetryPolicy};
use strandline_reader::ReaderOptions;
use strandline_types::{TopicId, TopicPartition};
use strandline_wire::records::Compression;
use support::check::take_apart;
use support::{Home, Node, Record, START_MS, World};

fn one(value: &[u8]) -> Vec<Vec<Record>> {
    vec![vec![Record::new(START_MS, value)]]
}

fn first(topic_id: TopicId) -> TopicPartition {
    TopicPartition { topic_id, partition: 0 }
}

async fn node_on(faults: &FaultPlan) -> Node {
    let mut world = World::new(5);
    let store = Faults::new(Arc::new(InMemory::new()), faults.clone(), &world.runtime);
    world.objects = Objects::new(Arc::new(store), RetryPolicy::once(), &world.runtime);
    let cell = world.node(9092, true, Duration::from_secs(1)).await;
    let reader = world.reader(&cell, ReaderOptions { read_ahead: 0, ..ReaderOptions::default() });
    Node { world, cell, reader, models: BTreeMap::new(), topics: BTreeMap::new() }
}

#[tokio::test(start_paused = true)]
async fn a_read_across_the_frontier_reads_no_more_of_the_log_than_it_has_room_for() {
    let faults = FaultPlan::new();
    let mut node = node_on(&faults).await;
    let topic = node.topic(1, "t", 1, false).await;
    node.produce(first(topic), &one(&[1; 1_000]), Home::Inline, Compression::None).await;
    assert!(node.convert(topic, 1.0).await);
    for _ in 0..30 {
        node.produce(first(topic), &one(&[2; 1_000]), Home::Wal, Compression::None).await;
    }
    // The file and its footer, and a segment for each batch.
    node.fetch_one(first(topic), 0, 100).await;
    let before = faults.calls(Operation::Get);
    let data = node.fetch_one(first(topic), 0, 4_500).await;
    assert_eq!(take_apart(data.records.unwrap(), 0).next, 4);
    let reads = faults.calls(Operation::Get) - before;
    assert!(reads <= 4, "{reads} segments were read for three batches");
}
