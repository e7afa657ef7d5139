//! A store that takes its time: how much of it one answer costs.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use strandline_object_store::{Effect, Fault, FaultPlan, Faults, InMemory, Objects, Operation, RetryPolicy};
use strandline_reader::ReaderOptions;
use strandline_types::{TopicId, TopicPartition};
use strandline_wire::messages::fetch::FetchTopic;
use strandline_wire::records::Compression;
use support::check::{caller, request, take_apart};
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
async fn an_answer_from_history_comes_in_time_however_many_files_it_would_take() {
    let faults = FaultPlan::new();
    let mut node = node_on(&faults).await;
    // One topic of many files, and many topics.
    let mut topics = Vec::new();
    for number in 1..=40 {
        let topic = node.topic(number, &format!("t{number}"), 1, false).await;
        for _ in 0..if number == 1 { 60 } else { 1 } {
            node.produce(first(topic), &one(b"x"), Home::Inline, Compression::None).await;
            assert!(node.convert(topic, 1.0).await);
            node.seal_whole(topic).await;
        }
        topics.push(topic);
    }
    faults.add(Fault::every(Operation::Get, Effect::Delay(Duration::from_millis(200))));
    let clock = node.world.runtime.clock.clone();
    let (mut next, mut answers) = (0, 0);
    while next < 60 {
        let began = clock.monotonic();
        let data = node.fetch_one(first(topics[0]), next, 1 << 20).await;
        let took = clock.monotonic() - began;
        assert!(took < Duration::from_millis(2_500), "{took:?}");
        let seen = take_apart(data.records.unwrap(), next);
        assert!(seen.next > next, "it goes on");
        (next, answers) = (seen.next, answers + 1);
    }
    assert!(answers > 5, "{answers}");
    // Side by side, and those for which there was no time next time.
    let mut left: BTreeSet<String> = (2..=40).map(|number| format!("t{number}")).collect();
    while !left.is_empty() {
        let mut request = request("t1", 0, 60, 1 << 20);
        let template = request.topics.remove(0);
        request.topics.extend(left.iter().map(|name| {
            let mut topic = FetchTopic { topic: name.clone(), ..template.clone() };
            topic.partitions[0].fetch_offset = 0;
            topic
        }));
        let began = clock.monotonic();
        let response = node.reader.fetch(&caller(), 12, request, 1).await;
        let took = clock.monotonic() - began;
        assert!(took < Duration::from_millis(2_500), "{took:?}");
        let before = left.len();
        for topic in response.responses {
            assert_eq!(topic.partitions[0].error_code, 0);
            if topic.partitions[0].records.as_ref().is_some_and(|records| !records.is_empty()) {
                left.remove(&topic.topic);
            }
        }
        assert!(left.len() < before, "it goes on");
    }
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
