//! What clients are told: refusals, waits, limits, sessions, and storage that fails.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_bronze::SegmentFooter;
use strandline_cache::Cache;
use strandline_commands::DeleteTopic;
use strandline_object_store::{Effect, Fault, FaultPlan, Faults, InMemory, Objects, Operation, Purpose, RetryPolicy};
use strandline_reader::{Reader, ReaderOptions};
use strandline_segment_index::SegmentIndex;
use strandline_types::{TopicId, TopicPartition};
use strandline_wire::ErrorCode;
use strandline_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic};
use strandline_wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use strandline_wire::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use strandline_wire::records::Compression;
use support::check::{caller, only, request, take_apart};
use support::{Home, Node, Record, START_MS, World};

fn one(value: &[u8]) -> Vec<Vec<Record>> {
    vec![vec![Record::new(START_MS, value)]]
}

async fn node_with(partitions: i32) -> (Node, TopicId) {
    let mut node = Node::start(5).await;
    let topic = node.topic(1, "t", partitions, false).await;
    (node, topic)
}

fn at(topic_id: TopicId, partition: i32) -> TopicPartition {
    TopicPartition { topic_id, partition }
}

fn code(code: i16) -> ErrorCode {
    ErrorCode::from(code)
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_refused_by_its_own_code() {
    let (mut node, topic) = node_with(1).await;
    node.produce(at(topic, 0), &one(b"a"), Home::Inline, Compression::None).await;
    let reader = node.reader.clone();
    let refused = |name: &'static str, partition, offset| {
        let reader = reader.clone();
        async move { code(only(reader.fetch(&caller(), 12, request(name, partition, offset, 100), 1).await).error_code) }
    };
    assert_eq!(refused("other", 0, 0).await, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(refused("t", 1, 0).await, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(refused("t", -1, 0).await, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(refused("t", 0, 2).await, ErrorCode::OffsetOutOfRange);
    assert_eq!(refused("t", 0, -1).await, ErrorCode::OffsetOutOfRange);
    assert_eq!(refused("t", 0, 1).await, ErrorCode::None);
    let by_id = |topic_id| {
        let mut request = request("", 0, 0, 100);
        request.topics[0].topic_id = topic_id;
        let reader = reader.clone();
        async move { only(reader.fetch(&caller(), 13, request, 1).await) }
    };
    assert_eq!(code(by_id(TopicId([9; 16])).await.error_code), ErrorCode::UnknownTopicId);
    let served = by_id(topic).await;
    assert_eq!(take_apart(served.records.unwrap(), 0).records.len(), 1);
    node.move_log_start(at(topic, 0), 1).await;
    let answer = only(node.reader.fetch(&caller(), 12, request("t", 0, 0, 100), 1).await);
    assert_eq!((code(answer.error_code), answer.high_watermark), (ErrorCode::OffsetOutOfRange, -1));
    node.done(DeleteTopic { topic_id: topic.0.to_vec() }).await;
    assert_eq!(code(by_id(topic).await.error_code), ErrorCode::UnknownTopicId);
}

#[tokio::test(start_paused = true)]
async fn no_answer_of_no_comes_from_an_old_view() {
    let (mut node, _) = node_with(1).await;
    // This node reads the log once an hour by itself.
    let stale = node.world.node(9093, false, Duration::from_secs(3_600)).await;
    let reader = node.world.reader(&stale, ReaderOptions::default());
    let topic = node.topic(2, "new", 1, false).await;
    let data = only(reader.fetch(&caller(), 12, request("new", 0, 0, 100), 1).await);
    assert_eq!((code(data.error_code), data.high_watermark), (ErrorCode::None, 0));
    node.produce(at(topic, 0), &one(b"a"), Home::Inline, Compression::None).await;
    node.produce(at(topic, 0), &one(b"b"), Home::Inline, Compression::None).await;
    // Beyond what it knows: it looks, and finds.
    let data = only(reader.fetch(&caller(), 12, request("new", 0, 1, 100), 1).await);
    assert_eq!(take_apart(data.records.unwrap(), 1).next, 2);
    node.produce(at(topic, 0), &one(b"c"), Home::Inline, Compression::None).await;
    let partition = ListOffsetsPartition { timestamp: -1, ..ListOffsetsPartition::default() };
    let topics = vec![ListOffsetsTopic { name: "new".to_owned(), partitions: vec![partition] }];
    let listed = reader.list_offsets(&caller(), 7, ListOffsetsRequest { topics, ..ListOffsetsRequest::default() }).await;
    assert_eq!(listed.topics[0].partitions[0].offset, 3);
    let partition = OffsetForLeaderPartition { leader_epoch: 4, ..OffsetForLeaderPartition::default() };
    let topics = vec![OffsetForLeaderTopic { topic: "new".to_owned(), partitions: vec![partition] }];
    node.produce(at(topic, 0), &one(b"d"), Home::Inline, Compression::None).await;
    let ends = reader.offset_for_leader_epoch(&caller(), 4, OffsetForLeaderEpochRequest { topics, ..Default::default() }).await;
    let end = &ends.topics[0].partitions[0];
    assert_eq!((end.error_code, end.leader_epoch, end.end_offset), (0, 4, 4));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_gone_means_plan_again() {
    let (mut node, topic) = node_with(1).await;
    let stale = node.world.node(9093, false, Duration::from_secs(3_600)).await;
    let reader = node.world.reader(&stale, ReaderOptions::default());
    node.produce(at(topic, 0), &one(b"a"), Home::Wal, Compression::None).await;
    stale.barrier().await.unwrap();
    // The stale node still plans with the WAL segment; it was converted, and its object has gone.
    assert!(node.convert(topic, 1.0).await);
    let wal = node.cell.view().garbage.keys().find(|path| path.starts_with("wal/")).unwrap().clone();
    node.world.objects.delete(Purpose::Garbage, &wal).await.unwrap();
    let read = || {
        let reader = reader.clone();
        async move { take_apart(only(reader.fetch(&caller(), 12, request("t", 0, 0, 100), 1).await).records.unwrap(), 0) }
    };
    assert_eq!(read().await.records.len(), 1);
    // Now it plans with the fresh segment, which is sealed and gone.
    node.seal_whole(topic).await;
    let reader2 = node.world.reader(&stale, ReaderOptions::default());
    let data = only(reader2.fetch(&caller(), 12, request("t", 0, 0, 100), 1).await);
    assert_eq!(take_apart(data.records.unwrap(), 0).records.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_next_segment_never_answers_for_an_offset_before_it() {
    let (mut node, topic) = node_with(1).await;
    for value in [b"a", b"b"] {
        node.produce(at(topic, 0), &one(value), Home::Inline, Compression::None).await;
        assert!(node.convert(topic, 1.0).await);
        node.seal_whole(topic).await;
    }
    let stale = node.world.node(9093, false, Duration::from_secs(3_600)).await;
    let reader = node.world.reader(&stale, ReaderOptions::default());
    // Retention: the log start moves, and the first segment's row goes. The stale node finds the second one's row.
    node.move_log_start(at(topic, 0), 1).await;
    let row = node.world.segment_index.find(at(topic, 0), 0).await.unwrap().unwrap();
    assert_eq!(row.end_offset, 1);
    node.world.segment_index.remove(vec![row.key()]).await.unwrap();
    let data = only(reader.fetch(&caller(), 12, request("t", 0, 0, 100), 1).await);
    assert_eq!(code(data.error_code), ErrorCode::OffsetOutOfRange);
    let data = only(reader.fetch(&caller(), 12, request("t", 0, 1, 100), 1).await);
    assert_eq!(take_apart(data.records.unwrap(), 1).next, 2);
    // A row that is lost is a storage error, not an end.
    let row = node.world.segment_index.find(at(topic, 0), 1).await.unwrap().unwrap();
    node.world.segment_index.remove(vec![row.key()]).await.unwrap();
    let data = only(reader.fetch(&caller(), 12, request("t", 0, 1, 100), 1).await);
    assert_eq!(code(data.error_code), ErrorCode::KafkaStorageError);
}

#[tokio::test(start_paused = true)]
async fn lost_and_damaged_objects_are_storage_errors_and_never_an_end() {
    let (mut node, topic) = node_with(2).await;
    node.produce(at(topic, 0), &one(b"a"), Home::Wal, Compression::None).await;
    node.produce(at(topic, 1), &one(b"b"), Home::Inline, Compression::None).await;
    let wal = format!("wal/{}", node.cell.view().wal_objects.keys().next().unwrap());
    node.world.objects.delete(Purpose::Garbage, &wal).await.unwrap();
    let mut both = request("t", 0, 0, 1_000);
    both.topics[0].partitions.push(FetchPartition { partition: 1, partition_max_bytes: 1_000, ..FetchPartition::default() });
    let response = node.reader.fetch(&caller(), 12, both, 1).await;
    let answers = &response.responses[0].partitions;
    assert_eq!(code(answers[0].error_code), ErrorCode::KafkaStorageError);
    assert_eq!(code(answers[1].error_code), ErrorCode::None, "a partition fails alone");
    assert!(!answers[1].records.as_ref().unwrap().is_empty());
    assert!(node.reader.read_records(at(topic, 0), 0, 100).await.unwrap_err().code.is_retriable());

    // A fresh segment with one byte changed: its digest, or its page, does not agree.
    let mut node = Node::start(6).await;
    let topic = node.topic(1, "t", 1, false).await;
    node.produce(at(topic, 0), &one(&[7; 3_000]), Home::Inline, Compression::None).await;
    assert!(node.convert(topic, 1.0).await);
    let path = node.cell.view().topics[&topic].fresh.values().next().unwrap().file.path.clone();
    let mut bytes = node.world.objects.get(Purpose::Fresh, &path).await.unwrap().to_vec();
    for byte in &mut bytes[4..600] {
        *byte ^= 0x55;
    }
    node.world.objects.put_replace(Purpose::Fresh, &path, Bytes::from(bytes)).await.unwrap();
    let data = node.fetch_one(at(topic, 0), 0, 100).await;
    assert_eq!(code(data.error_code), ErrorCode::KafkaStorageError);
    assert!(data.records.unwrap().is_empty());
    node.world.objects.delete(Purpose::Garbage, &path).await.unwrap();
    let reader = node.world.reader(&node.cell, ReaderOptions::default());
    let data = only(reader.fetch(&caller(), 12, request("t", 0, 0, 100), 1).await);
    assert_eq!(code(data.error_code), ErrorCode::KafkaStorageError);
}

/// What the cache has of it, by Fetch and by a search for a time, is not served again.
#[tokio::test(start_paused = true)]
async fn a_damaged_file_that_is_put_back_is_read_anew() {
    let mut node = Node::start(6).await;
    let topic = node.topic(1, "t", 1, false).await;
    let records = vec![Record::new(START_MS, &[7; 3_000]), Record::new(START_MS + 1, &[8; 3_000])];
    node.produce(at(topic, 0), &[records], Home::Inline, Compression::None).await;
    assert!(node.convert(topic, 1.0).await);
    let path = node.cell.view().topics[&topic].fresh.values().next().unwrap().file.path.clone();
    let whole = node.world.objects.get(Purpose::Fresh, &path).await.unwrap();
    let footer = SegmentFooter::parse(&path, whole.len() as u64, &whole).unwrap();
    let mut damaged = whole.to_vec();
    for range in footer.plan(0, 0, u64::MAX).unwrap().ranges() {
        damaged[range.start as usize..range.end as usize].iter_mut().for_each(|byte| *byte ^= 0x55);
    }
    for (bytes, wanted) in [(Bytes::from(damaged), ErrorCode::KafkaStorageError), (whole, ErrorCode::None)] {
        node.world.objects.put_replace(Purpose::Fresh, &path, bytes).await.unwrap();
        assert_eq!(code(node.fetch_one(at(topic, 0), 0, 100).await.error_code), wanted);
        let partition = ListOffsetsPartition { timestamp: START_MS + 1, ..ListOffsetsPartition::default() };
        let topics = vec![ListOffsetsTopic { name: "t".to_owned(), partitions: vec![partition] }];
        let request = ListOffsetsRequest { topics, ..ListOffsetsRequest::default() };
        let listed = node.reader.list_offsets(&caller(), 7, request).await;
        assert_eq!(code(listed.topics[0].partitions[0].error_code), wanted);
    }
    node.check_from(at(topic, 0), 0, 100).await;
    node.check_timestamps(at(topic, 0), &[START_MS + 1]).await;
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_waits_for_the_index_and_no_longer_than_it_is_told() {
    let (mut node, topic) = node_with(2).await;
    let clock = node.world.runtime.clock.clone();
    let mut poll = request("t", 0, 0, 1_000);
    poll.max_wait_ms = 5_000;
    let began = clock.monotonic();
    let empty = only(node.reader.fetch(&caller(), 12, poll.clone(), 1).await);
    assert_eq!(clock.monotonic() - began, Duration::from_secs(5));
    assert!(empty.records.unwrap().is_empty());

    let (reader, waiting) = (node.reader.clone(), poll.clone());
    let fetch = async move { reader.fetch(&caller(), 12, waiting, 1).await };
    let produce = async {
        node.world.runtime.sleep(Duration::from_millis(700)).await;
        // Another partition's record wakes nobody here.
        node.produce(at(topic, 1), &one(b"x"), Home::Inline, Compression::None).await;
        node.world.runtime.sleep(Duration::from_millis(300)).await;
        node.produce(at(topic, 0), &one(b"a"), Home::Inline, Compression::None).await;
    };
    let began = clock.monotonic();
    let (answer, ()) = futures::join!(fetch, produce);
    assert_eq!(clock.monotonic() - began, Duration::from_secs(1));
    assert_eq!(take_apart(only(answer).records.unwrap(), 0).records.len(), 1);

    // min_bytes that are not there: as long as it is told, and then what there is.
    let mut patient = poll.clone();
    patient.min_bytes = 10_000;
    patient.topics[0].partitions[0].partition_max_bytes = 100_000;
    let began = clock.monotonic();
    let data = only(node.reader.fetch(&caller(), 12, patient, 1).await);
    assert_eq!(clock.monotonic() - began, Duration::from_secs(5));
    assert_eq!(take_apart(data.records.unwrap(), 0).records.len(), 1);

    // A topic that goes while a client waits is told at once.
    poll.topics[0].partitions[0].fetch_offset = 1;
    let reader = node.reader.clone();
    let fetch = async move { reader.fetch(&caller(), 12, poll, 1).await };
    let delete = async {
        node.world.runtime.sleep(Duration::from_millis(100)).await;
        node.done(DeleteTopic { topic_id: topic.0.to_vec() }).await;
    };
    let began = clock.monotonic();
    let (answer, ()) = futures::join!(fetch, delete);
    assert_eq!(clock.monotonic() - began, Duration::from_millis(100));
    assert_eq!(code(only(answer).error_code), ErrorCode::UnknownTopicOrPartition);
}

/// A topic with five batches of 10,000 bytes in each partition.
async fn filled(partitions: i32) -> Node {
    let (mut node, topic) = node_with(partitions).await;
    for partition in 0..partitions {
        for _ in 0..5 {
            node.produce(at(topic, partition), &one(&[1; 10_000]), Home::Inline, Compression::None).await;
        }
    }
    node
}

#[tokio::test(start_paused = true)]
async fn limits_hold_but_the_first_batch_goes_whole() {
    let node = filled(3).await;
    let ask = |max_bytes, partition_max_bytes| {
        let mut asked = request("t", 0, 0, partition_max_bytes);
        asked.max_bytes = max_bytes;
        for partition in [1, 2] {
            asked.topics[0].partitions.push(FetchPartition { partition, partition_max_bytes, ..FetchPartition::default() });
        }
        let reader = node.reader.clone();
        async move {
            let response = reader.fetch(&caller(), 12, asked, 1).await;
            let counts = response.responses.into_iter().flat_map(|topic| topic.partitions);
            counts.map(|data| take_apart(data.records.unwrap(), 0).next).collect::<Vec<_>>()
        }
    };
    assert_eq!(ask(i32::MAX, i32::MAX).await, [5, 5, 5]);
    assert_eq!(ask(i32::MAX, 21_000).await, [2, 2, 2]);
    assert_eq!(ask(1, 1).await, [1, 0, 0]);
    // A share of 11,666 each.
    assert_eq!(ask(35_000, 21_000).await, [1, 1, 1]);
    // A later partition's first batch is whole where the answer has room, whatever the partition's limit.
    assert_eq!(ask(25_000, 1).await, [1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_go_into_an_answer_whole_is_not_waited_for() {
    let node = filled(2).await;
    let clock = node.world.runtime.clock.clone();
    // One and a half of them, and as much is to be waited for.
    for (max_bytes, partition_max_bytes) in [(i32::MAX, 15_000), (15_000, i32::MAX), (35_000, i32::MAX)] {
        let mut asked = request("t", 0, 0, partition_max_bytes);
        asked.topics[0].partitions.push(FetchPartition { partition: 1, partition_max_bytes, ..FetchPartition::default() });
        (asked.max_bytes, asked.min_bytes, asked.max_wait_ms) = (max_bytes, max_bytes.min(2 * 15_000), 500);
        let began = clock.monotonic();
        let response = node.reader.fetch(&caller(), 12, asked, 1).await;
        let data = response.responses.into_iter().flat_map(|topic| topic.partitions);
        let batches: i64 = data.filter_map(|data| data.records).map(|records| take_apart(records, 0).next).sum();
        assert!(batches >= 1 && clock.monotonic() == began, "{max_bytes}, {partition_max_bytes}: {batches}");
    }
}

#[tokio::test(start_paused = true)]
async fn partitions_whose_records_are_in_the_log_share_an_answer_and_none_of_it_is_left_unused() {
    let (mut node, topic) = node_with(4).await;
    // As producers send them: a batch of each partition after the other. The last one has little, the first is empty.
    for round in 0..20 {
        for partition in 1..4 {
            if partition < 3 || round == 0 {
                node.produce(at(topic, partition), &one(&[1; 1_000]), Home::Inline, Compression::None).await;
            }
        }
    }
    let batch = {
        let response = node.reader.fetch(&caller(), 12, request("t", 3, 0, i32::MAX), 1).await;
        response.responses[0].partitions[0].records.as_ref().unwrap().len() as i32
    };
    let ask = |max_bytes, min_bytes| {
        let mut asked = request("t", 0, 0, i32::MAX);
        (asked.max_bytes, asked.min_bytes, asked.max_wait_ms) = (max_bytes, min_bytes, 60_000);
        for partition in 1..4 {
            let partition_max_bytes = i32::MAX;
            asked.topics[0].partitions.push(FetchPartition { partition, partition_max_bytes, ..FetchPartition::default() });
        }
        let (reader, clock) = (node.reader.clone(), node.world.runtime.clock.clone());
        async move {
            let began = clock.monotonic();
            let response = reader.fetch(&caller(), 12, asked, 1).await;
            assert!(clock.monotonic() - began < Duration::from_secs(1), "there is enough");
            let counts = response.responses.into_iter().flat_map(|topic| topic.partitions);
            counts.map(|data| data.records.unwrap().len() as i32 / batch).collect::<Vec<_>>()
        }
    };
    assert_eq!(ask(i32::MAX, 1).await, [0, 20, 20, 1]);
    assert_eq!(ask(21 * batch, 21 * batch).await, [0, 10, 10, 1]);
    assert_eq!(ask(31 * batch, 31 * batch).await, [0, 15, 15, 1]);
    assert_eq!(ask(41 * batch, 41 * batch).await, [0, 20, 20, 1]);
    assert_eq!(ask(1, 1).await, [0, 1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn zstd_needs_version_10() {
    let (mut node, topic) = node_with(1).await;
    node.produce(at(topic, 0), &one(b"plain"), Home::Inline, Compression::Lz4).await;
    node.produce(at(topic, 0), &one(b"zstd"), Home::Inline, Compression::Zstd).await;
    let read = |version, offset| {
        let reader = node.reader.clone();
        async move { only(reader.fetch(&caller(), version, request("t", 0, offset, 1_000), 1).await) }
    };
    assert_eq!(take_apart(read(10, 0).await.records.unwrap(), 0).next, 2);
    assert_eq!(take_apart(read(9, 0).await.records.unwrap(), 0).next, 1);
    let refused = read(9, 1).await;
    assert_eq!(code(refused.error_code), ErrorCode::UnsupportedCompressionType);
    // From Parquet it comes uncompressed.
    assert!(node.convert(topic, 1.0).await);
    assert_eq!(take_apart(read(4, 0).await.records.unwrap(), 0).next, 2);
}

fn session_request(id: i32, epoch: i32, partitions: &[(i32, i64)]) -> FetchRequest {
    let wanted = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: 10_000,
        ..FetchPartition::default()
    };
    let topic =
        FetchTopic { topic: "t".to_owned(), partitions: partitions.iter().map(wanted).collect(), ..FetchTopic::default() };
    let topics = if partitions.is_empty() { Vec::new() } else { vec![topic] };
    FetchRequest { max_bytes: i32::MAX, session_id: id, session_epoch: epoch, topics, ..FetchRequest::default() }
}

fn answered(response: &FetchResponse) -> Vec<(i32, i64)> {
    response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|data| (data.partition_index, data.high_watermark))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_session_answers_with_what_changed() {
    let (mut node, topic) = node_with(3).await;
    let reader = node.reader.clone();
    let fetch = |request| {
        let reader = reader.clone();
        async move { reader.fetch(&caller(), 12, request, 1).await }
    };
    let full = fetch(session_request(0, 0, &[(0, 0), (1, 0), (2, 0)])).await;
    let id = full.session_id;
    assert!(id > 0);
    assert_eq!(answered(&full), [(0, 0), (1, 0), (2, 0)]);
    let nothing = fetch(session_request(id, 1, &[])).await;
    assert_eq!((answered(&nothing), nothing.session_id), (vec![], id));
    node.produce(at(topic, 1), &one(b"a"), Home::Inline, Compression::None).await;
    let changed = fetch(session_request(id, 2, &[])).await;
    assert_eq!(answered(&changed), [(1, 1)]);
    // The client moves on, and forgets a partition; data again from one that it did not move.
    let mut moved = session_request(id, 3, &[(1, 1)]);
    let forgotten = ForgottenTopic { topic: "t".to_owned(), partitions: vec![2], ..ForgottenTopic::default() };
    moved.forgotten_topics_data = vec![forgotten];
    assert_eq!(answered(&fetch(moved).await), []);
    for partition in [0, 2] {
        node.produce(at(topic, partition), &one(b"b"), Home::Inline, Compression::None).await;
    }
    assert_eq!(answered(&fetch(session_request(id, 4, &[])).await), [(0, 1)]);
    node.produce(at(topic, 1), &one(b"b"), Home::Inline, Compression::None).await;
    // Partition 0 had data last, so the other one is served first.
    assert_eq!(answered(&fetch(session_request(id, 5, &[])).await), [(1, 2), (0, 1)]);

    let wrong = fetch(session_request(id, 9, &[])).await;
    assert_eq!((code(wrong.error_code), wrong.session_id), (ErrorCode::InvalidFetchSessionEpoch, 0));
    let unknown = fetch(session_request(id ^ 1, 6, &[])).await;
    assert_eq!(code(unknown.error_code), ErrorCode::FetchSessionIdNotFound);
    let foreign = node.reader.fetch(&caller(), 12, session_request(id, 6, &[]), 2).await;
    assert_eq!(code(foreign.error_code), ErrorCode::FetchSessionIdNotFound);
    let by_id = node.reader.fetch(&caller(), 13, session_request(id, 6, &[]), 1).await;
    assert_eq!(code(by_id.error_code), ErrorCode::FetchSessionTopicIdError);
    // Closed by the client, and by the end of its connection.
    assert_eq!(fetch(session_request(id, -1, &[(0, 0)])).await.session_id, 0);
    assert_eq!(code(fetch(session_request(id, 6, &[])).await.error_code), ErrorCode::FetchSessionIdNotFound);
    let id = fetch(session_request(0, 0, &[(0, 0)])).await.session_id;
    node.reader.connection_closed(1);
    assert_eq!(code(fetch(session_request(id, 1, &[])).await.error_code), ErrorCode::FetchSessionIdNotFound);
}

#[tokio::test(start_paused = true)]
async fn an_error_in_a_session_is_told_again_and_ends_with_news() {
    let (mut node, _) = node_with(1).await;
    let reader = node.reader.clone();
    let ask = |id, epoch, partitions: &'static [(i32, i64)]| {
        let (reader, mut request) = (reader.clone(), session_request(id, epoch, partitions));
        if let Some(topic) = request.topics.first_mut() {
            topic.topic = "later".to_owned();
        }
        async move { reader.fetch(&caller(), 12, request, 1).await }
    };
    let full = ask(0, 0, &[(0, 0)]).await;
    assert_eq!(code(full.responses[0].partitions[0].error_code), ErrorCode::UnknownTopicOrPartition);
    let again = ask(full.session_id, 1, &[]).await;
    assert_eq!(code(again.responses[0].partitions[0].error_code), ErrorCode::UnknownTopicOrPartition);
    node.topic(2, "later", 1, false).await;
    let news = ask(full.session_id, 2, &[]).await;
    assert_eq!((answered(&news), news.responses[0].partitions[0].error_code), (vec![(0, 0)], 0));
    assert_eq!(answered(&ask(full.session_id, 3, &[]).await), []);
}

#[tokio::test(start_paused = true)]
async fn answers_hold_their_bytes_until_they_are_dropped() {
    let options = ReaderOptions { answer_bytes: 50_000, answers_bytes: 60_000, ..ReaderOptions::default() };
    let mut node = Node::start_with(5, options).await;
    let topic = node.topic(1, "t", 1, false).await;
    for _ in 0..10 {
        node.produce(at(topic, 0), &one(&[1; 10_000]), Home::Inline, Compression::None).await;
    }
    let first = node.fetch_one(at(topic, 0), 0, i32::MAX).await;
    assert_eq!(take_apart(first.records.clone().unwrap(), 0).next, 4, "an answer is bounded, whatever the client allows");
    let clock = node.world.runtime.clock.clone();
    let began = clock.monotonic();
    let refused = node.fetch_one(at(topic, 0), 0, i32::MAX).await;
    assert_eq!(code(refused.error_code), ErrorCode::KafkaStorageError);
    assert_eq!(clock.monotonic() - began, Duration::from_secs(20));
    drop(first);
    assert_eq!(code(node.fetch_one(at(topic, 0), 0, i32::MAX).await.error_code), ErrorCode::None);
}

#[tokio::test(start_paused = true)]
async fn list_offsets_knows_special_values_by_version() {
    let (node, _) = node_with(1).await;
    let ask = |version, timestamp| {
        let partition = ListOffsetsPartition { timestamp, ..ListOffsetsPartition::default() };
        let topics = vec![ListOffsetsTopic { name: "t".to_owned(), partitions: vec![partition] }];
        let (reader, request) = (node.reader.clone(), ListOffsetsRequest { topics, ..ListOffsetsRequest::default() });
        async move { code(reader.list_offsets(&caller(), version, request).await.topics[0].partitions[0].error_code) }
    };
    for (version, timestamp, wanted) in [
        (1, -1, ErrorCode::None),
        (1, -2, ErrorCode::None),
        (6, -3, ErrorCode::UnsupportedVersion),
        (7, -3, ErrorCode::None),
        (7, -4, ErrorCode::UnsupportedVersion),
        (8, -4, ErrorCode::None),
        (9, -5, ErrorCode::None),
        (10, -6, ErrorCode::UnsupportedVersion),
        (11, -6, ErrorCode::None),
        (11, -7, ErrorCode::UnsupportedVersion),
    ] {
        assert_eq!(ask(version, timestamp).await, wanted, "{timestamp} in version {version}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_slow_file_keeps_no_other_search_waiting() {
    let faults = FaultPlan::new();
    let mut world = World::new(5);
    let store = Faults::new(Arc::new(InMemory::new()), faults.clone(), &world.runtime);
    world.objects = Objects::new(Arc::new(store), RetryPolicy::once(), &world.runtime);
    let cell = world.node(9092, true, Duration::from_secs(1)).await;
    let reader = world.reader(&cell, ReaderOptions::default());
    let mut node = Node { world, cell, reader, models: BTreeMap::new(), topics: BTreeMap::new() };
    let mut topics = Vec::new();
    for number in 1..=20 {
        let (name, value) = (format!("t{number}"), format!("value {number}"));
        let topic = node.topic(number, &name, 1, false).await;
        node.produce(at(topic, 0), &one(value.as_bytes()), Home::Inline, Compression::None).await;
        assert!(node.convert(topic, 1.0).await);
        topics.push((name, topic));
    }
    let slow = node.cell.view().topics[&topics[0].1].fresh.values().next().unwrap().file.path.clone();
    faults.add(Fault::every(Operation::Get, Effect::Delay(Duration::from_secs(10))).below(slow));
    faults.add(Fault::every(Operation::Get, Effect::Delay(Duration::from_secs(1))));
    let before = faults.calls(Operation::Get);
    let asked = topics.iter().map(|(name, _)| ListOffsetsTopic {
        name: name.clone(),
        partitions: vec![ListOffsetsPartition { timestamp: START_MS, ..ListOffsetsPartition::default() }],
    });
    let request = ListOffsetsRequest { topics: asked.collect(), ..ListOffsetsRequest::default() };
    let began = node.world.runtime.clock.monotonic();
    let response = node.reader.list_offsets(&caller(), 7, request).await;
    let took = node.world.runtime.clock.monotonic() - began;
    let names: Vec<&str> = response.topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, topics.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), "in the order of the request");
    for topic in &response.topics {
        let found = &topic.partitions[0];
        assert_eq!((found.error_code, found.offset, found.timestamp), (0, 0, START_MS), "{}", topic.name);
    }
    let reads = faults.calls(Operation::Get) - before;
    assert!(reads >= 20, "files were read: {reads}");
    let of_the_slow_one = Duration::from_secs(10 * reads.div_ceil(20));
    assert!(took <= of_the_slow_one, "{took:?} for {reads} reads");
}

#[tokio::test(start_paused = true)]
async fn extents_are_searched_side_by_side_as_far_as_there_is_room_for_what_may_come_out_of_them() {
    for (compression, one_by_one) in [(Compression::None, false), (Compression::Lz4, true)] {
        let faults = FaultPlan::new();
        let mut world = World::new(5);
        let store = Faults::new(Arc::new(InMemory::new()), faults.clone(), &world.runtime);
        world.objects = Objects::new(Arc::new(store), RetryPolicy::once(), &world.runtime);
        let cell = world.node(9092, true, Duration::from_secs(1)).await;
        // Room for all of them as they are, and nothing is cached.
        let options = ReaderOptions { time_search_bytes: 2_000, ..ReaderOptions::default() };
        let (objects, index) = (world.objects.clone(), world.segment_index.clone());
        let reader = Reader::new(options, cell.clone(), objects, index, Cache::simple(0));
        let mut node = Node { world, cell, reader, models: BTreeMap::new(), topics: BTreeMap::new() };
        let topic = node.topic(1, "t", 8, false).await;
        for partition in 0..8 {
            node.produce(at(topic, partition), &one(b"value"), Home::Wal, compression).await;
        }
        faults.add(Fault::every(Operation::Get, Effect::Delay(Duration::from_secs(1))));
        let partitions = (0..8).map(|partition_index| ListOffsetsPartition {
            partition_index,
            timestamp: START_MS,
            ..ListOffsetsPartition::default()
        });
        let topics = vec![ListOffsetsTopic { name: "t".to_owned(), partitions: partitions.collect() }];
        let request = ListOffsetsRequest { topics, ..ListOffsetsRequest::default() };
        let began = node.world.runtime.clock.monotonic();
        let response = node.reader.list_offsets(&caller(), 7, request).await;
        let took = node.world.runtime.clock.monotonic() - began;
        assert!(response.topics[0].partitions.iter().all(|found| (found.error_code, found.offset) == (0, 0)));
        assert_eq!(took >= Duration::from_secs(8), one_by_one, "{took:?}");
    }
}
