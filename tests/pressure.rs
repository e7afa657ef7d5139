//! A node in this process under clients that ask for more than their share: bombs, senders that trickle, consumers that do
//! not read. What others see of it, and what memory it takes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;
use strandline::node::Node;
use strandline_client::{Client, ClientOptions, NewTopic};
use strandline_config::Settings;
use strandline_runtime::{Clock, Runtime, SystemClock};
use strandline_telemetry::resident_bytes;
use strandline_types::limits;
use strandline_wire::ErrorCode;
use strandline_wire::frame::decode_response;
use strandline_wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest, CreateTopicsResponse};
use strandline_wire::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use strandline_wire::messages::fetch::FetchRequest;
use strandline_wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use strandline_wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use strandline_wire::messages::offset_fetch::OffsetFetchRequestGroup;
use strandline_wire::messages::produce::ProduceRequest;
use strandline_wire::messages::{DescribeGroupsRequest, OffsetFetchRequest};
use strandline_wire::records::{BATCH_HEADER_BYTES, Compression, split_batches};
use support::raw::{Raw, batch, fetch, frame, next_frame, produce};
use support::start_with;
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

const MIB: usize = 1 << 20;

/// They measure, so they run one after the other.
static ONE_AT_A_TIME: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

fn now() -> Duration {
    SystemClock.monotonic()
}

async fn start(data: &Path) -> Node {
    // What a conversion takes is no part of what is looked at here.
    start_with(Settings { data: data.to_owned(), conversion_paused: true, ..Settings::default() }).await
}

async fn topic(node: &Node, name: &str, partitions: i32) {
    let client = Client::tcp(Runtime::system(), ClientOptions::new(&node.kafka_address().to_string())).unwrap();
    let topic = NewTopic::new(name, partitions).config("retention.ms", "-1").config("max.message.bytes", "67108864");
    client.admin().create_topic(topic).await.unwrap();
}

/// Reads partition 0 of a topic to its end; gives the time it took.
async fn read_all(address: SocketAddr, topic: &str, end: i64) -> Duration {
    let (mut raw, mut offset, began) = (Raw::connect(address).await, 0, now());
    while offset < end {
        raw.send(11, &fetch(topic, 1, offset)).await;
        let response = raw.receive::<FetchRequest>(11).await;
        let data = response.responses.into_iter().next().unwrap().partitions.into_iter().next().unwrap();
        assert_eq!(ErrorCode::from_code(data.error_code), ErrorCode::None);
        let batches = split_batches(data.records.unwrap().into_bytes()).unwrap();
        offset = batches.last().map_or(offset, |batch| batch.header.last_offset() + 1);
    }
    now() - began
}

/// Does what takes long, and meanwhile sends one small batch after the other: those wait for nothing, and memory grows by little beyond `before`.
/// Returns what was done, and how long each batch took.
async fn beside_small_batches<T>(work: impl Future<Output = T>, quick: &mut Raw, before: u64) -> (T, Vec<Duration>) {
    let small = batch(&[7; 100], 10, Compression::Lz4);
    let (began, mut times, mut most) = (now(), Vec::new(), 0);
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            biased;
            done = &mut work => break done,
            () = async {
                let sent = now();
                quick.send(9, &produce("quick", 0..1, &small)).await;
                assert_eq!(quick.receive::<ProduceRequest>(9).await.responses[0].partition_responses[0].error_code, 0);
                times.push(now() - sent);
                most = most.max(resident_bytes().unwrap());
            } => {}
        }
    };
    let (took, count, slow) = (now() - began, times.len(), p99(times.clone()));
    let grown = most.saturating_sub(before) / MIB as u64;
    println!("it took {took:?}; beside it {count} small requests, p99 {slow:?}; memory grew by {grown} MiB");
    assert!(slow < Duration::from_millis(250), "{slow:?}");
    assert!(grown < 300, "{grown} MiB");
    (done, times)
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_keep_nobody_waiting_and_memory_stays_bounded() {
    let _one = ONE_AT_A_TIME.lock().await;
    let data = tempfile::tempdir().unwrap();
    let node = start(data.path()).await;
    topic(&node, "bombs", 50).await;
    topic(&node, "quick", 1).await;
    #[allow(clippy::disallowed_methods)] // nobody waits for this thread yet
    let bomb = tokio::task::block_in_place(|| batch(&vec![0; 40 * MIB], 3, Compression::Gzip));
    let mut quick = Raw::connect(node.kafka_address()).await;
    let mut bombers = Vec::new();
    let before = resident_bytes().unwrap();
    for _ in 0..4 {
        let mut bomber = Raw::connect(node.kafka_address()).await;
        bomber.send(9, &produce("bombs", 0..50, &bomb)).await;
        bombers.push(bomber);
    }
    drop(bomb);
    let began = now();
    let receive = async {
        for bomber in &mut bombers {
            let response = bomber.receive::<ProduceRequest>(9).await;
            let errors = response.responses[0].partition_responses.iter();
            let errors: Vec<ErrorCode> = errors.map(|partition| ErrorCode::from_code(partition.error_code)).collect();
            let allowed = limits::DECOMPRESSED_REQUEST_BYTES / (120 * MIB);
            assert!(errors[..allowed].iter().all(|error| *error == ErrorCode::None), "{errors:?}");
            assert!(errors[allowed..].iter().all(|error| *error == ErrorCode::MessageTooLarge), "{errors:?}");
        }
        now() - began
    };
    let (took, times) = beside_small_batches(receive, &mut quick, before).await;
    assert!(times.len() > 20, "only {} requests in {took:?}", times.len());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_trickles_gives_its_room_back() {
    let _one = ONE_AT_A_TIME.lock().await;
    let data = tempfile::tempdir().unwrap();
    let node = start(data.path()).await;
    topic(&node, "t", 1).await;
    let mut slow = Raw::connect(node.kafka_address()).await;
    slow.0.write_u32(60 * MIB as u32).await.unwrap();
    let trickle = async {
        // A byte at a time, each of which is progress of a kind.
        while slow.0.write_u8(0).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let honest = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (mut raw, began) = (Raw::connect(node.kafka_address()).await, now());
        raw.send(9, &produce("t", 0..1, &batch(&vec![1; 5 * MIB], 1, Compression::None))).await;
        assert_eq!(raw.receive::<ProduceRequest>(9).await.responses[0].partition_responses[0].error_code, 0);
        now() - began
    };
    let both = async { tokio::join!(trickle, honest) };
    let ((), took) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    println!("beside a sender that trickles, a large request took {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    node.stop().await;
}

/// Fills partition 0 of a topic and gives its end.
async fn fill(node: &Node, name: &str, mebibytes: usize) -> i64 {
    let mut raw = Raw::connect(node.kafka_address()).await;
    let one = batch(&vec![1; MIB - 1_000], 1, Compression::None);
    for _ in 0..mebibytes {
        raw.send(9, &produce(name, 0..1, &one)).await;
        assert_eq!(raw.receive::<ProduceRequest>(9).await.responses[0].partition_responses[0].error_code, 0);
    }
    mebibytes as i64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_that_do_not_read_do_not_slow_one_down_that_does() {
    let _one = ONE_AT_A_TIME.lock().await;
    let data = tempfile::tempdir().unwrap();
    let node = start(data.path()).await;
    topic(&node, "t", 1).await;
    let end = fill(&node, "t", 100).await;
    let address = node.kafka_address();
    let alone = read_all(address, "t", end).await.min(read_all(address, "t", end).await);
    let mut idle = Vec::new();
    for number in 0..50 {
        let mut raw = Raw::with_small_buffer(address).await;
        for _ in 0..4 {
            raw.send(11, &fetch("t", 1, number % 100)).await;
        }
        idle.push(raw);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut beside = Duration::ZERO;
    for _ in 0..5 {
        beside = beside.max(read_all(address, "t", end).await);
    }
    println!("100 MiB: alone {alone:?}, beside 50 that do not read at most {beside:?}");
    // Who takes nothing keeps its room for two windows of a second at most: in the first one, what its socket's buffers took counts.
    assert!(beside < alone * 4 + Duration::from_millis(2_500), "alone {alone:?}, beside the others {beside:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_takes_its_time_is_not_in_the_way_of_producers() {
    let _one = ONE_AT_A_TIME.lock().await;
    let data = tempfile::tempdir().unwrap();
    let node = start(data.path()).await;
    topic(&node, "t", 1).await;
    fill(&node, "t", 20).await;
    let address = node.kafka_address();
    let mut slow = Raw::with_small_buffer(address).await;
    slow.send(11, &fetch("t", 1, 0)).await;
    // One that sends, quickly enough, has all the room of large requests, and another one waits for it.
    let mut sender = Raw::connect(address).await;
    sender.0.write_u32(60 * MIB as u32).await.unwrap();
    sender.0.write_all(&[0; 64 << 10]).await.unwrap();
    // Connections are read side by side.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut waits = Raw::connect(address).await;
    waits.send(9, &produce("t", 0..1, &batch(&vec![1; MIB], 1, Compression::None))).await;
    for _ in 0..19 {
        sender.0.write_all(&[0; 64 << 10]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let early = tokio::time::timeout(Duration::from_millis(10), waits.0.readable()).await;
    assert!(early.is_err(), "it was answered while another one had all the room");
    drop(sender);
    assert_eq!(waits.receive::<ProduceRequest>(9).await.responses[0].partition_responses[0].error_code, 0);
    let answer = slow.receive::<FetchRequest>(11).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_fetches_hold_stays_within_its_bound() {
    let _one = ONE_AT_A_TIME.lock().await;
    let data = tempfile::tempdir().unwrap();
    let node = start(data.path()).await;
    topic(&node, "t", 1).await;
    let end = fill(&node, "t", 100).await;
    let address = node.kafka_address();
    read_all(address, "t", end).await;
    let before = resident_bytes().unwrap();
    let mut connections = Vec::new();
    for number in 0..200 {
        let mut raw = Raw::with_small_buffer(address).await;
        raw.send(11, &fetch("t", 1, number / 2)).await;
        connections.push(raw);
    }
    let mut most = 0;
    for _ in 0..300 {
        most = most.max(resident_bytes().unwrap());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let grown = most.saturating_sub(before) / MIB as u64;
    println!("200 connections that ask for 50 MiB each: memory grew by {grown} MiB");
    assert!(grown < 2 * (limits::FETCH_ANSWERS_BYTES / MIB) as u64, "{grown} MiB");
    // And all of them are served in the end, those that lost their connection after they have asked again.
    assert!(read_all(address, "t", end).await < Duration::from_secs(20));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_of_one_partition_that_do_not_read_do_not_keep_the_requests_of_all() {
    const PARTITIONS: i32 = 12;
    const ROUNDS: i64 = 8;
    const REQUESTS: i64 = 32;
    // More than the sockets' buffers take.
    const FETCHES: usize = 3;
    let _one = ONE_AT_A_TIME.lock().await;
    let data = tempfile::tempdir().unwrap();
    let node = start(data.path()).await;
    topic(&node, "wide", PARTITIONS).await;
    let address = node.kafka_address();
    let mut sender = Raw::connect(address).await;
    let one = batch(&vec![1; 80 << 10], 1, Compression::None);
    let mut fill = async || {
        for _ in 0..REQUESTS {
            sender.send(9, &produce("wide", 0..PARTITIONS, &one)).await;
            let answer = sender.receive::<ProduceRequest>(9).await;
            assert!(answer.responses[0].partition_responses.iter().all(|partition| partition.error_code == 0));
        }
    };
    fill().await;
    let (before, mut most) = (resident_bytes().unwrap(), 0);
    let mut stalled = Vec::new();
    for round in 1..=ROUNDS {
        fill().await;
        let mut raw = Raw::with_small_buffer(address).await;
        let mut asked = fetch("wide", 1, round * REQUESTS);
        // Where in an answer these are full is another place for each.
        asked.topics[0].partitions[0].partition_max_bytes = (REQUESTS - round) as i32 * one.len() as i32;
        for _ in 0..FETCHES {
            raw.send(11, &asked).await;
        }
        stalled.push((raw, REQUESTS - round));
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        most = most.max(resident_bytes().unwrap());
    }
    let grown = most.saturating_sub(before) / MIB as u64;
    println!("{ROUNDS} consumers of one of {PARTITIONS} partitions that do not read: memory grew by {grown} MiB");
    assert!(grown < 50, "{grown} MiB");
    for (mut raw, batches_asked) in stalled {
        for _ in 0..FETCHES {
            let answer = raw.receive::<FetchRequest>(11).await;
            let records = answer.responses[0].partitions[0].records.clone().unwrap().into_bytes();
            let batches = split_batches(records).unwrap();
            assert_eq!(batches.len() as i64, batches_asked);
            assert!(batches.iter().all(|batch| batch.bytes[BATCH_HEADER_BYTES..] == one[BATCH_HEADER_BYTES..]));
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_small_request_names_again_and_again_is_answered_once() {
    let _one = ONE_AT_A_TIME.lock().await;
    let data = tempfile::tempdir().unwrap();
    let node = start(data.path()).await;
    topic(&node, "wide", 1_000).await;
    let mut raw = Raw::connect(node.kafka_address()).await;
    let before = resident_bytes().unwrap();
    let wide = MetadataRequestTopic { name: Some("wide".to_owned()), ..MetadataRequestTopic::default() };
    let unknown = MetadataRequestTopic { name: Some("unknown".to_owned()), ..MetadataRequestTopic::default() };
    let mut topics = vec![wide; 10_000];
    topics.push(unknown);
    let request = MetadataRequest { topics: Some(topics), allow_auto_topic_creation: false, ..MetadataRequest::default() };
    raw.send(9, &request).await;
    let answer = raw.receive::<MetadataRequest>(9).await;
    let answered: Vec<_> = answer.topics.iter().map(|topic| (topic.name.as_deref(), topic.partitions.len())).collect();
    assert_eq!(answered, [(Some("wide"), 1_000), (Some("unknown"), 0)]);
    let resource = |name: &str| DescribeConfigsResource {
        resource_type: 2,
        resource_name: name.to_owned(),
        ..DescribeConfigsResource::default()
    };
    let resources = [vec![resource("wide"); 10_000], vec![resource("unknown")]].concat();
    raw.send(4, &DescribeConfigsRequest { resources, ..DescribeConfigsRequest::default() }).await;
    let answer = raw.receive::<DescribeConfigsRequest>(4).await;
    assert_eq!(answer.results.iter().map(|result| result.resource_name.as_str()).collect::<Vec<_>>(), ["wide", "unknown"]);
    let groups = vec!["nobody".to_owned(); 10_000];
    raw.send(5, &DescribeGroupsRequest { groups, ..DescribeGroupsRequest::default() }).await;
    assert_eq!(raw.receive::<DescribeGroupsRequest>(5).await.groups.len(), 1);
    let all_offsets =
        OffsetFetchRequestGroup { group_id: "nobody".to_owned(), topics: None, ..OffsetFetchRequestGroup::default() };
    raw.send(8, &OffsetFetchRequest { groups: vec![all_offsets; 10_000], ..OffsetFetchRequest::default() }).await;
    assert_eq!(raw.receive::<OffsetFetchRequest>(8).await.groups.len(), 1);
    let grown = resident_bytes().unwrap().saturating_sub(before);
    assert!(grown < 64 * MIB as u64, "{} MiB", grown >> 20);
    node.stop().await;
}

/// What each of them could cost: a list that is compared with itself, topics with all their configurations, and names that are
/// compared with those of all topics while nothing is folded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_names_very_much_keeps_nobody_waiting_and_memory_stays_bounded() {
    const NAMES: usize = 200_000;
    const OLD: usize = 10_000;
    let _one = ONE_AT_A_TIME.lock().await;
    let data = tempfile::tempdir().unwrap();
    let node = start(data.path()).await;
    topic(&node, "quick", 1).await;
    let (mut asker, mut quick) = (Raw::connect(node.kafka_address()).await, Raw::connect(node.kafka_address()).await);
    let create = |names: Vec<String>, validate_only| {
        let topic = |name| CreatableTopic { name, num_partitions: 1, replication_factor: 1, ..CreatableTopic::default() };
        let topics = names.into_iter().map(topic).collect();
        CreateTopicsRequest { topics, validate_only, ..CreateTopicsRequest::default() }
    };
    asker.send(4, &create((0..OLD).map(|number| format!("old.{number}")).collect(), false)).await;
    let created = asker.receive::<CreateTopicsRequest>(4).await;
    assert!(created.topics.len() == OLD && created.topics.iter().all(|topic| topic.error_code == 0));
    let append = AlterableConfig {
        name: "leader.replication.throttled.replicas".to_owned(),
        config_operation: 2,
        value: Some((0..NAMES).map(|number| format!("{number}:1")).collect::<Vec<_>>().join(",")),
    };
    let resource = AlterConfigsResource { resource_type: 2, resource_name: "quick".to_owned(), configs: vec![append] };
    let append = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let named = |number| MetadataRequestTopic { name: Some(format!("new.{number}")), ..MetadataRequestTopic::default() };
    let mention = MetadataRequest {
        topics: Some((0..NAMES).map(named).collect()),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    let create = create((0..NAMES).map(|number| format!("topic-{number}")).collect(), true);
    // Made before and read afterwards, so that it is the node alone that is measured.
    let requests = [frame(1, 1, &append), frame(7, 2, &create), frame(9, 3, &mention)];
    let before = resident_bytes().unwrap();
    let began = now();
    let ask = async {
        let mut answers = Vec::new();
        for request in &requests {
            asker.0.write_all(request).await.unwrap();
            answers.push(next_frame(&mut asker.0).await);
        }
        answers
    };
    let (answers, mut times) = beside_small_batches(ask, &mut quick, before).await;
    let (took, mut answers) = (now() - began, answers.into_iter());
    // Two of the three are computed for a third of that time and more each. Who came meanwhile has not waited for the end of it.
    times.sort();
    println!("the longest took {:?}", times.last());
    assert!(times.last().is_some_and(|longest| *longest < took / 4), "{:?} of {took:?}", times.last());
    let (_, appended) = decode_response::<IncrementalAlterConfigsResponse>(1, answers.next().unwrap()).unwrap();
    assert_eq!(ErrorCode::from_code(appended.responses[0].error_code), ErrorCode::InvalidConfig);
    let (_, created) = decode_response::<CreateTopicsResponse>(7, answers.next().unwrap()).unwrap();
    let refused = created.topics.iter().filter(|topic| ErrorCode::from_code(topic.error_code) == ErrorCode::PolicyViolation);
    assert_eq!((created.topics.len(), refused.count()), (NAMES, NAMES));
    let (_, mentioned) = decode_response::<MetadataResponse>(9, answers.next().unwrap()).unwrap();
    assert_eq!(mentioned.topics.iter().filter(|topic| topic.error_code == 0).count(), 4_096);
    assert!(took < Duration::from_secs(20), "{took:?}");
    node.stop().await;
}
