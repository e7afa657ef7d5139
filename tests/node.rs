//! A whole node in this process, on a folder, with a client over TCP: the same bytes from every place where a record can
//! lie, across restarts, and from a bucket whose log is lost.

#![allow(clippy::unwrap_used)] // helpers of tests may, as tests do

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::path::Path;
use std::time::Duration;
use strandline::node::{Node, NodeOptions};
use strandline_client::{
    Client, ClientOptions, Compression, ConsumedRecord, ConsumerOptions, HeaderRef, NewTopic, ProducerOptions, ProducerRecord,
    StartAt,
};
use strandline_config::Settings;
use strandline_runtime::Runtime;

async fn start(data: &Path) -> Node {
    let settings = Settings {
        data: data.to_owned(),
        listen: "127.0.0.1:0".to_owned(),
        http: None,
        min_free_bytes: 0,
        ..Settings::default()
    };
    Node::start(NodeOptions { settings }).await.unwrap()
}

fn client(node: &Node) -> Client {
    Client::tcp(Runtime::system(), ClientOptions::new(&node.kafka_address().to_string())).unwrap()
}

/// Three partitions, nothing is deleted, any timestamp goes.
fn keeps_all(name: &str) -> NewTopic {
    NewTopic::new(name, 3).config("retention.ms", "-1").config("message.timestamp.after.max.ms", i64::MAX.to_string())
}

/// A record of whatever shape.
#[derive(Debug, Clone, PartialEq)]
struct Shape {
    partition: i32,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp_ms: i64,
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Vec::new())),
        4 => "[a-zäß€ ]{1,40}".prop_map(|text| Some(text.into_bytes())),
        2 => prop::collection::vec(any::<u8>(), 1..200).prop_map(Some),
        1 => Just(Some(b"text with \0 in it".to_vec())),
        1 => prop::collection::vec(any::<u8>(), 20_000..60_000).prop_map(Some),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    let header =
        (prop_oneof![Just("ce_type".to_owned()), Just("ce_time".to_owned()), Just(String::new()), "[a-zé]{1,8}"], bytes());
    let time = prop_oneof![4 => 1_700_000_000_000..1_800_000_000_000_i64, 1 => Just(0), 1 => Just(-60_000_000_000), 1 => Just(253_402_300_799_999_i64)];
    (0..3_i32, bytes(), bytes(), prop::collection::vec(header, 0..5), time)
        .prop_map(|(partition, key, value, headers, timestamp_ms)| Shape { partition, key, value, headers, timestamp_ms })
}

fn shapes(count: usize) -> Vec<Shape> {
    let mut runner = TestRunner::default();
    let strategy = prop::collection::vec(shape(), count..=count);
    strategy.new_tree(&mut runner).unwrap().current()
}

async fn produce(client: &Client, topic: &str, records: &[Shape], compression: Compression) {
    let producer = client.producer(ProducerOptions { compression, ..ProducerOptions::default() });
    let mut deliveries = Vec::new();
    for record in records {
        let headers: Vec<HeaderRef<'_>> =
            record.headers.iter().map(|(key, value)| HeaderRef { key, value: value.as_deref() }).collect();
        let sent = ProducerRecord {
            topic,
            partition: Some(record.partition),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
            timestamp_ms: Some(record.timestamp_ms),
        };
        deliveries.push(producer.send(sent).await.unwrap());
    }
    producer.close().await.unwrap();
    for delivery in deliveries {
        delivery.wait().await.unwrap();
    }
}

/// Everything in a topic, by partition and offset.
async fn consume(client: &Client, topic: &str, count: usize) -> Vec<ConsumedRecord> {
    let mut consumer = client.consumer(ConsumerOptions::default());
    consumer.assign_topics(&[topic], StartAt::Earliest).await.unwrap();
    let mut records = Vec::new();
    for _ in 0..200 {
        records.extend(consumer.poll(Duration::from_millis(200)).await.unwrap().records().unwrap());
        if records.len() >= count {
            break;
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

fn plain(record: &ConsumedRecord) -> Shape {
    let vec = |bytes: &Option<Bytes>| bytes.as_ref().map(|bytes| bytes.to_vec());
    Shape {
        partition: record.partition,
        key: vec(&record.key),
        value: vec(&record.value),
        headers: record.headers.iter().map(|(key, value)| (key.clone(), vec(value))).collect(),
        timestamp_ms: record.timestamp_ms,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_the_same_hot_fresh_sealed_and_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let node = start(data.path()).await;
    let client = client(&node);
    let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let mut expected = Vec::new();
    for (number, codec) in codecs.into_iter().enumerate() {
        let topic = format!("shapes-{number}");
        client.admin().create_topic(keeps_all(&topic)).await.unwrap();
        let records = shapes(150);
        produce(&client, &topic, &records, codec).await;
        let hot = consume(&client, &topic, records.len()).await;
        for partition in 0..3 {
            let sent: Vec<&Shape> = records.iter().filter(|record| record.partition == partition).collect();
            let got: Vec<Shape> = hot.iter().filter(|record| record.partition == partition).map(plain).collect();
            assert_eq!(got.iter().collect::<Vec<_>>(), sent, "{topic} partition {partition}");
        }
        expected.push((topic, hot));
    }
    let ids: Vec<_> = node.parts().cell.view().topics.keys().copied().collect();
    for id in ids {
        while node.parts().compactor.convert_once(id).await.unwrap() {}
    }
    assert_eq!(node.status().await.extents, 0);
    for (topic, hot) in &expected {
        assert_eq!(&consume(&client, topic, hot.len()).await, hot, "{topic} from fresh segments");
    }
    node.seal_all().await.unwrap();
    let status = node.status().await;
    assert_eq!((status.fresh_segments, status.bronze_rows), (0, 750));
    for (topic, hot) in &expected {
        assert_eq!(&consume(&client, topic, hot.len()).await, hot, "{topic} from sealed segments");
    }
    node.stop().await;
    let again = start(data.path()).await;
    let client = self::client(&again);
    for (topic, hot) in &expected {
        assert_eq!(&consume(&client, topic, hot.len()).await, hot, "{topic} after a restart");
    }
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_comes_back_from_its_bucket_when_the_log_is_lost() {
    let data = tempfile::tempdir().unwrap();
    let node = start(data.path()).await;
    let client = client(&node);
    client.admin().create_topic(keeps_all("kept")).await.unwrap();
    produce(&client, "kept", &shapes(100), Compression::None).await;
    node.seal_all().await.unwrap();
    produce(&client, "kept", &shapes(50), Compression::None).await;
    let id = node.parts().cell.view().names["kept"];
    while node.parts().compactor.convert_once(id).await.unwrap() {}
    let in_parquet = consume(&client, "kept", 150).await;
    // In the log alone, and the copies leave payloads out.
    produce(&client, "kept", &shapes(20), Compression::None).await;
    node.parts().compactor.copy_log_once().await.unwrap();
    let ends: Vec<i64> = node.parts().cell.view().topics[&id].partitions.iter().map(|partition| partition.next_offset).collect();
    node.stop().await;

    let refused = strandline::rebuild::rebuild(data.path()).await.unwrap_err().to_string();
    assert!(refused.contains("still holds a commit log"), "{refused}");
    std::fs::remove_dir_all(data.path().join("commit-log")).unwrap();
    let report = strandline::rebuild::rebuild(data.path()).await.unwrap();
    assert_eq!((report.records_lost, report.set_aside), (20, 0), "{:#?}", report.lines);
    assert!(report.lines.iter().any(|line| line.starts_with("lost: kept partition")), "{:#?}", report.lines);

    let node = start(data.path()).await;
    let client = self::client(&node);
    assert_eq!(consume(&client, "kept", 150).await, in_parquet);
    produce(&client, "kept", &shapes(30), Compression::None).await;
    let all = consume(&client, "kept", 180).await;
    assert_eq!(all.len(), 180);
    for record in all.iter().filter(|record| !in_parquet.contains(record)) {
        // Far beyond anything that was ever given out.
        assert!(record.offset >= ends[record.partition as usize] + 1_000_000_000);
    }
    assert_eq!(node.parts().cell.view().violations(), Vec::<String>::new());
    node.stop().await;
}
