//! A whole node in this process, on a folder, with a client over TCP: the same bytes from every place where a record can
//! lie, across restarts, and from a bucket whose log is lost.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may, as tests do

mod support;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use strandline::node::{Folder, Node, NodeOptions, Upkeep};
use strandline_cell::Submission;
use strandline_client::{
    Client, ClientOptions, Compression, ConsumedRecord, ConsumerOptions, HeaderRef, NewTopic, ProducerOptions, ProducerRecord,
    StartAt,
};
use strandline_commands::{Commit, CreateCell, EntryBody, Join, LeaseKind, OffsetRange, SealExtents, TakeLease, encode};
use strandline_commit_log::embedded::Options;
use strandline_commit_log::{CommitLog, EmbeddedCommitLog, Entry, Payload};
use strandline_compactor::LogCopyName;
use strandline_config::Settings;
use strandline_index::Outcome;
use strandline_runtime::Runtime;
use strandline_types::{ChainHash, Seq};
use support::{alone, start_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn start(data: &Path) -> Node {
    start_with(Settings { data: data.to_owned(), ..Settings::default() }).await
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
async fn a_node_that_is_dropped_leaves_no_thread_behind() {
    let folder = tempfile::tempdir().unwrap();
    for stops in [false, true] {
        let node = start(folder.path()).await;
        let log = std::sync::Arc::downgrade(&node.parts().log);
        if stops {
            node.stop().await;
        } else {
            drop(node);
        }
        // Whoever appends to the log holds it, and all that the cell knows.
        for _ in 0..500 {
            if log.strong_count() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(log.strong_count(), 0, "stopped: {stops}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_half_way_keeps_nothing_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let start = async || {
        let settings = alone(Settings { data: folder.path().to_owned(), ..Settings::default() });
        Node::start(NodeOptions { settings, ..NodeOptions::default() }).await
    };
    // Found when the rows are made, with the cell at work.
    start().await.unwrap().stop().await;
    std::fs::remove_file(folder.path().join("segment-index.redb")).unwrap();
    let no_folder = folder.path().join("store/bronze");
    std::os::unix::fs::symlink("bronze", &no_folder).unwrap();
    let error = start().await.err().unwrap();
    assert!(format!("{error:#}").starts_with("the segment index"), "{error:#}");
    std::fs::remove_file(&no_folder).unwrap();
    let mut last = None;
    // What it had begun ends at once, if not in the same moment.
    for _ in 0..500 {
        match start().await {
            Ok(node) => return node.stop().await,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_the_http_side_that_stays_keeps_nothing_of_a_node_that_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let start = async || {
        let settings = alone(Settings { data: folder.path().to_owned(), ..Settings::default() });
        let settings = Settings { http: Some("127.0.0.1:0".to_owned()), ..settings };
        Node::start(NodeOptions { settings, ..NodeOptions::default() }).await
    };
    let node = start().await.unwrap();
    let mut client = tokio::net::TcpStream::connect(node.http_address().unwrap()).await.unwrap();
    client.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let parts = Arc::downgrade(node.parts());
    node.stop().await;
    for _ in 0..500 {
        if parts.strong_count() == 0 {
            return start().await.unwrap().stop().await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} still hold its parts", parts.strong_count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_asked_to_stop_says_that_it_does_not_serve() {
    let folder = tempfile::tempdir().unwrap();
    let settings = alone(Settings { data: folder.path().to_owned(), ..Settings::default() });
    let settings = Settings { http: Some("127.0.0.1:0".to_owned()), ..settings };
    let node = Node::start(NodeOptions { settings, ..NodeOptions::default() }).await.unwrap();
    let address = node.http_address().unwrap();
    let ready = async || {
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        String::from_utf8(answer.to_vec()).unwrap()
    };
    assert_eq!(ready().await, "HTTP/1.1 200");
    // As `stop` does first, and while it waits for what is in flight.
    node.parts().draining.cancel();
    assert_eq!(ready().await, "HTTP/1.1 503");
    node.stop().await;
    let node = start(folder.path()).await;
    let draining = node.parts().draining.clone();
    assert!(!draining.is_cancelled());
    node.stop().await;
    assert!(draining.is_cancelled());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_a_folder_does_what_it_is_asked_for_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(folder.path()).await;
    let client = client(&node);
    client.admin().create_topic(keeps_all("t")).await.unwrap();
    produce(&client, "t", &shapes(50), Compression::None).await;
    node.stop().await;
    let settings = alone(Settings { data: folder.path().to_owned(), ..Settings::default() });
    let node = Node::start(NodeOptions { settings, upkeep: Upkeep::Asked }).await.unwrap();
    let frontiers = || -> i64 {
        node.parts().cell.view().topics.values().flat_map(|topic| &topic.partitions).map(|partition| partition.frontier).sum()
    };
    let before = frontiers();
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(frontiers(), before, "a node at work would have converted what is left by now");
    node.seal_all().await.unwrap();
    assert_eq!(frontiers(), 50);
    node.stop().await;
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
    // Copies of the log go on behind the snapshot of the rebuild, and with them seals and snapshots.
    node.seal_all().await.unwrap();
    assert_eq!(node.status().await.fresh_segments, 0);
    assert_eq!(consume(&client, "kept", 180).await, all);
    let copied = node.parts().compactor.copy_log_once().await.unwrap();
    assert_eq!(node.parts().cell.view().cell.log_copied, copied);
    node.parts().compactor.snapshot_once(true).await.unwrap();
    assert_eq!(node.parts().cell.view().violations(), Vec::<String>::new());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_ends_before_the_new_log_is_there_names_its_losses_again() {
    let data = tempfile::tempdir().unwrap();
    let node = start_with(Settings { data: data.path().to_owned(), conversion_paused: true, ..Settings::default() }).await;
    let client = client(&node);
    client.admin().create_topic(keeps_all("lost")).await.unwrap();
    produce(&client, "lost", &shapes(20), Compression::None).await;
    node.parts().compactor.copy_log_once().await.unwrap();
    node.stop().await;
    std::fs::remove_dir_all(data.path().join("commit-log")).unwrap();
    // What is in the way of the steps behind the snapshot.
    std::fs::remove_file(data.path().join("segment-index.redb")).unwrap();
    std::fs::create_dir_all(data.path().join("segment-index.redb/in-the-way")).unwrap();
    for _ in 0..2 {
        let error = strandline::rebuild::rebuild(data.path()).await.unwrap_err().to_string();
        assert!(error.contains("the segment index could not be removed"), "{error}");
    }
    std::fs::remove_dir_all(data.path().join("segment-index.redb")).unwrap();
    let report = strandline::rebuild::rebuild(data.path()).await.unwrap();
    let named = report.lines.iter().filter(|line| line.starts_with("lost: lost partition")).count();
    assert_eq!((report.records_lost, named), (20, 3), "{:#?}", report.lines);
    let left: Vec<_> = std::fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("rebuild-losses")), "{left:?}");
    // A rebuild of the cell that goes on from here has nothing to do with it, not even if that one was cut off at its last step.
    let losses = data.path().join("rebuild-losses");
    std::fs::write(&losses, "1\t20\tlost: long ago\n").unwrap();
    start(data.path()).await.stop().await;
    assert!(!losses.exists());
    std::fs::remove_dir_all(data.path().join("commit-log")).unwrap();
    let report = strandline::rebuild::rebuild(data.path()).await.unwrap();
    assert_eq!(report.records_lost, 0, "{:#?}", report.lines);
}

/// The first entry as a build of fold version 1 wrote it.
async fn begin_with_version_1(data: &Path) {
    let folder = Folder::open(data).unwrap();
    let log = EmbeddedCommitLog::open(&folder.path("commit-log"), Options::default(), Runtime::system()).await.unwrap();
    let join = Join {
        nonce: vec![1; 16],
        host: "localhost".to_owned(),
        port: 9,
        fold_version_supported: 1,
        sole: true,
        ..Join::default()
    };
    let create = CreateCell { cluster_id: "A".repeat(22), fold_version: 1 };
    let body = EntryBody {
        time_ms: Runtime::system().clock.now_ms(),
        hash_before: vec![0; 16],
        cell_epoch: 1,
        commits: vec![Commit { commands: vec![create.into(), join.into()], ..Commit::default() }],
        ..EntryBody::default()
    };
    let bytes = encode(&body).unwrap();
    assert_eq!(bytes[..2], [0, 1]);
    log.append(Seq(1), Entry { hash_before: ChainHash([0; 16]), bytes, payload: Payload::default() }).await.unwrap();
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_of_version_1_is_raised_after_a_snapshot_and_goes_on() {
    let data = tempfile::tempdir().unwrap();
    begin_with_version_1(data.path()).await;
    let node = start(data.path()).await;
    let agreed = {
        let view = node.parts().cell.view();
        assert_eq!((view.cell.fold_version, view.cell.cluster_id.as_str()), (2, "A".repeat(22).as_str()));
        view.cell.snapshot.agreed.clone().unwrap()
    };
    assert_eq!(agreed.3, 1, "the snapshot is of the old rules");
    let floor = node.parts().cell.log().floor().await.unwrap();
    assert_eq!(floor.snapshot.map(|snapshot| snapshot.key), Some(agreed.2.clone()));
    let client = client(&node);
    client.admin().create_topic(keeps_all("t")).await.unwrap();
    produce(&client, "t", &shapes(30), Compression::None).await;
    let records = consume(&client, "t", 30).await;
    node.stop().await;
    // From the snapshot of the old rules, through the raise, and no second time.
    let again = start(data.path()).await;
    let (version, snapshot) = {
        let view = again.parts().cell.view();
        (view.cell.fold_version, view.cell.snapshot.written.clone())
    };
    assert_eq!((version, snapshot), (2, Some(agreed)));
    assert_eq!(consume(&self::client(&again), "t", 30).await, records);
    again.stop().await;
}

/// A topic whose records lie in a sealed file that was made straight from extents, of which the copies of the log know the plan alone.
async fn planned_from_extents(data: &Path) -> (Vec<ConsumedRecord>, String) {
    let settings = Settings { data: data.to_owned(), conversion_paused: true, ..Settings::default() };
    let node = start_with(settings).await;
    let client = client(&node);
    client.admin().create_topic(keeps_all("planned")).await.unwrap();
    produce(&client, "planned", &shapes(90), Compression::Zstd).await;
    let records = consume(&client, "planned", 90).await;
    let cell = node.parts().cell.clone();
    let id = cell.view().names["planned"];
    let lease = TakeLease { kind: LeaseKind::Seal as i32, scope: id.0.to_vec(), replaces: 0 };
    let leased = cell.submit(Submission::one(lease)).await.unwrap().outcomes;
    let Some(Outcome::Leased(lease)) = leased.first() else { panic!("{leased:?}") };
    let ranges = cell.view().topics[&id]
        .partitions
        .iter()
        .zip(0..)
        .map(|(partition, number)| OffsetRange { partition: number, start: 0, end: partition.next_offset })
        .collect();
    let plan = SealExtents { lease: lease.0, topic_id: id.0.to_vec(), ranges, key_format: 1, value_format: 1 };
    let planned = cell.submit(Submission::one(plan)).await.unwrap();
    let Some(Outcome::Planned { path, .. }) = planned.outcomes.first().cloned() else { panic!("{planned:?}") };
    // Whoever comes first, this or the node's own task, completes it.
    node.parts().compactor.seal_once(id, false).await.unwrap();
    assert_eq!(consume(&client, "planned", 90).await, records, "from the sealed file");
    assert_eq!(cell.view().extent_count, 0);
    node.stop().await;
    std::fs::remove_dir_all(data.join("commit-log")).unwrap();
    let mut covering = 0;
    for copy in std::fs::read_dir(data.join("store/log")).unwrap() {
        let copy = copy.unwrap();
        let name: LogCopyName = format!("log/{}", copy.file_name().to_string_lossy()).parse().unwrap();
        // A file is PUT once its plan is in a copy, so the copy that has the plan does not have the rest.
        if name.from > planned.seq {
            std::fs::remove_file(copy.path()).unwrap();
        } else if name.to >= planned.seq {
            covering += 1;
        }
    }
    assert_eq!(covering, 1);
    (records, path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_takes_in_the_file_of_an_open_plan_over_extents() {
    let data = tempfile::tempdir().unwrap();
    let (records, path) = planned_from_extents(data.path()).await;
    let report = strandline::rebuild::rebuild(data.path()).await.unwrap();
    assert_eq!((report.records_lost, report.set_aside, report.adopted), (0, 0, 1), "{:#?}", report.lines);
    let node = start(data.path()).await;
    assert_eq!(consume(&client(&node), "planned", 90).await, records);
    node.seal_all().await.unwrap();
    {
        let view = node.parts().cell.view();
        assert_eq!(view.violations(), Vec::<String>::new());
        assert!(view.topics.values().all(|topic| topic.plans.is_empty()), "the plan was completed");
    }
    assert!(data.path().join("store").join(path).exists());
    assert_eq!(consume(&client(&node), "planned", 90).await, records);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_over_extents_whose_bytes_are_lost_is_completed_with_holes() {
    let data = tempfile::tempdir().unwrap();
    let (_, path) = planned_from_extents(data.path()).await;
    std::fs::remove_file(data.path().join("store").join(&path)).unwrap();
    let report = strandline::rebuild::rebuild(data.path()).await.unwrap();
    assert_eq!((report.records_lost, report.adopted), (90, 0), "{:#?}", report.lines);
    let node = start(data.path()).await;
    node.seal_all().await.unwrap();
    {
        let view = node.parts().cell.view();
        assert_eq!(view.violations(), Vec::<String>::new());
        assert!(view.topics.values().all(|topic| topic.plans.is_empty()), "the plan was completed");
    }
    assert!(data.path().join("store").join(path).exists(), "under the planned name");
    produce(&client(&node), "planned", &shapes(20), Compression::None).await;
    assert_eq!(consume(&client(&node), "planned", 20).await.len(), 20);
    node.stop().await;
}
