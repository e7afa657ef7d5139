//! A replay of many partitions at once: what it reads from the store, and that it is what was written.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use strandline_cache::Cache;
use strandline_reader::{Reader, ReaderOptions};
use strandline_types::{TopicId, TopicPartition};
use strandline_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use strandline_wire::records::Compression;
use support::check::{caller, take_apart};
use support::{Home, Node, Record, START_MS};

const PARTITIONS: i32 = 6;
/// Enough for row groups of each partition's own.
const RECORDS: i64 = 8_400;
/// Its last quarter has room for the chunks of one answer, but not for one of each partition; the rest not for 4 MiB around each position.
const CACHE_BYTES: usize = 24 << 20;

/// A record of 1 KiB that does not compress.
fn record(partition: i32, n: i64) -> Record {
    let mut state = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (partition as u64 + 1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let value: Vec<u8> = (0..128).flat_map(|_| next()).collect();
    Record { key: Some(format!("key-{}", n % 50).into_bytes()), ..Record::new(START_MS + n, &value) }
}

/// The sum of the metrics whose line begins with the name and has these labels.
fn sum(metrics: &PrometheusHandle, name: &str, labels: &[&str]) -> u64 {
    let own = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
    metrics.render().lines().filter(own).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// What the store has given for reads so far.
fn read_bytes(metrics: &PrometheusHandle) -> u64 {
    sum(metrics, "strandline_store_bytes_total{", &[r#"operation="get""#, r#"purpose="read""#])
}

/// Reads all partitions to their ends, in turns: what had its turn comes last in the next fetch. Each answer has at most `max_bytes` of
/// records, and less than twice `partition_max_bytes` of one partition. Gives how many answers it took.
async fn replay(
    node: &Node,
    reader: &Reader,
    topic: TopicId,
    partitions: i32,
    max_bytes: i32,
    partition_max_bytes: i32,
) -> usize {
    let mut turns: Vec<(i32, i64)> = (0..partitions).map(|partition| (partition, 0)).collect();
    let models = |partition| &node.models[&TopicPartition { topic_id: topic, partition }];
    for answers in 0..10_000 {
        turns.retain(|(partition, offset)| *offset < models(*partition).end);
        if turns.is_empty() {
            return answers;
        }
        let wanted = turns.iter().map(|(partition, offset)| FetchPartition {
            partition: *partition,
            fetch_offset: *offset,
            partition_max_bytes,
            ..FetchPartition::default()
        });
        let topic = FetchTopic { topic: "t".to_owned(), partitions: wanted.collect(), ..FetchTopic::default() };
        let request = FetchRequest { max_bytes, min_bytes: 1, session_epoch: -1, topics: vec![topic], ..FetchRequest::default() };
        let response = reader.fetch(&caller(), 12, request, 1).await;
        let before = turns.clone();
        let sizes = response.responses.iter().flat_map(|topic| &topic.partitions).filter_map(|data| data.records.as_ref());
        let sizes: Vec<usize> = sizes.map(|records| records.len()).collect();
        assert!(sizes.iter().sum::<usize>() <= max_bytes as usize, "{sizes:?}");
        assert!(sizes.iter().all(|bytes| *bytes < partition_max_bytes as usize * 2), "{sizes:?}");
        for data in response.responses.into_iter().flat_map(|topic| topic.partitions) {
            assert_eq!(data.error_code, 0);
            let Some(records) = data.records.filter(|records| !records.is_empty()) else { continue };
            let position = turns.iter().position(|(partition, _)| *partition == data.partition_index).unwrap();
            let (partition, offset) = turns.remove(position);
            let seen = take_apart(records, offset);
            let expected = &models(partition).records;
            assert!(seen.records.iter().all(|(offset, record)| expected.get(offset) == Some(record)));
            assert_eq!(seen.records.len() as i64, seen.next - offset);
            turns.push((partition, seen.next));
        }
        assert!(turns != before, "an answer without any record");
    }
    panic!("no end");
}

async fn sealed(partitions: i32) -> (Node, TopicId) {
    let mut node = Node::start(1).await;
    let topic = node.topic(1, "t", partitions, false).await;
    for partition in 0..partitions {
        let at = TopicPartition { topic_id: topic, partition };
        for from in (0..RECORDS).step_by(1_400) {
            let records: Vec<Record> = (from..from + 1_400).map(|n| record(partition, n)).collect();
            node.produce(at, &[records], Home::Wal, Compression::None).await;
        }
    }
    assert!(node.convert(topic, 1.0).await);
    node.seal_whole(topic).await;
    (node, topic)
}

#[test]
fn a_replay_of_many_partitions_reads_a_sealed_file_about_once() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let (node, topic) = sealed(PARTITIONS).await;
            for read_ahead in [0, ReaderOptions::default().read_ahead] {
                let options = ReaderOptions { read_ahead, ..ReaderOptions::default() };
                let (objects, index) = (node.world.objects.clone(), node.world.segment_index.clone());
                let reader = Reader::new(options, node.cell.clone(), objects, index, Cache::foyer(CACHE_BYTES));
                let before = read_bytes(&metrics);
                replay(&node, &reader, topic, PARTITIONS, i32::MAX, 1 << 20).await;
                let read = read_bytes(&metrics) - before;
                let file = PARTITIONS as u64 * RECORDS as u64 * 1_024;
                assert!(read > file && read < file * 5 / 4, "{read} bytes were read of a file of {file}, {read_ahead} ahead");
            }
        });
    });
}

/// As those that were sent did: a batch that goes whole since it is the first may not be larger than what was sent.
#[tokio::test(start_paused = true)]
async fn batches_that_are_rebuilt_fit_into_an_answer_of_any_client() {
    for (record_bytes, records) in [(900 << 10, 5), (200 << 10, 12), (1 << 10, 3_000), (100, 20_000)] {
        let mut node = Node::start(1).await;
        let topic = node.topic(1, "t", 3, false).await;
        for partition in 0..3 {
            let at = TopicPartition { topic_id: topic, partition };
            let record = |n| Record::new(START_MS + n, &vec![n as u8; record_bytes]);
            for from in (0..records).step_by(1_000) {
                let batch: Vec<Record> = (from..records.min(from + 1_000)).map(record).collect();
                let batches =
                    if record_bytes > 10_000 { batch.into_iter().map(|record| vec![record]).collect() } else { vec![batch] };
                node.produce(at, &batches, Home::Wal, Compression::None).await;
            }
        }
        assert!(node.convert(topic, 1.0).await);
        // As librdkafka has it at least, and with little for each partition.
        for (max_bytes, partition_max_bytes) in [(1_000_000, 20_000_000), (1_000_000, 1 << 20), (8 << 20, 1 << 20)] {
            let reader = node.world.reader(&node.cell, ReaderOptions::default());
            replay(&node, &reader, topic, 3, max_bytes, partition_max_bytes).await;
        }
    }
}

/// With what Java's client asks for: each answer brings what was rebuilt together, and a little more than a partition's limit if need be.
#[tokio::test(start_paused = true)]
async fn an_answer_takes_a_chunk_whole() {
    let (node, topic) = sealed(1).await;
    let reader = node.world.reader(&node.cell, ReaderOptions::default());
    let answers = replay(&node, &reader, topic, 1, 50 << 20, 1 << 20).await;
    // A chunk has the 1,024 rows of a run.
    assert_eq!(answers as i64, (RECORDS + 1_023) / 1_024);
}
