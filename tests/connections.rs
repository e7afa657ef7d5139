//! What waits on a connection: for its turn, when the client has ended it; behind a member that waits for others.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on says where; its clients are tasks of its own"
)]

mod support;

use std::time::Duration;
use strandline::node::Node;
use strandline_client::{Client, ClientOptions, NewTopic};
use strandline_config::Settings;
use strandline_runtime::{Clock, Runtime, SystemClock};
use strandline_wire::messages::join_group::JoinGroupRequestProtocol;
use strandline_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use strandline_wire::messages::offset_fetch::OffsetFetchRequestTopic;
use strandline_wire::messages::{FetchRequest, HeartbeatRequest, JoinGroupRequest, OffsetCommitRequest, OffsetFetchRequest};
use support::raw::{Raw, fetch, frame, next_frame};
use support::start_with;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What a commit may say beside its offset, as long as requests for which small ones wait may be.
const LONG_BYTES: usize = 60 << 10;

async fn start() -> (tempfile::TempDir, Node) {
    let folder = tempfile::tempdir().unwrap();
    let node = start_with(Settings { data: folder.path().to_owned(), ..Settings::default() }).await;
    let client = Client::tcp(Runtime::system(), ClientOptions::new(&node.kafka_address().to_string())).unwrap();
    client.admin().create_topic(NewTopic::new("t", 1)).await.unwrap();
    (folder, node)
}

/// By a consumer that assigns itself.
fn commit(group: &str, offset: i64, metadata: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: offset,
        committed_metadata: Some(metadata.to_owned()),
        ..OffsetCommitRequestPartition::default()
    };
    let topic =
        OffsetCommitRequestTopic { name: "t".to_owned(), partitions: vec![partition], ..OffsetCommitRequestTopic::default() };
    OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..OffsetCommitRequest::default()
    }
}

async fn commits(raw: &mut Raw, offset: i64) {
    raw.send(8, &commit("g", offset, "")).await;
    assert_eq!(raw.receive::<OffsetCommitRequest>(8).await.topics[0].partitions[0].error_code, 0);
}

async fn committed(raw: &mut Raw) -> i64 {
    let topics = Some(vec![OffsetFetchRequestTopic { name: "t".to_owned(), partition_indexes: vec![0] }]);
    raw.send(7, &OffsetFetchRequest { group_id: "g".to_owned(), topics, ..OffsetFetchRequest::default() }).await;
    raw.receive::<OffsetFetchRequest>(7).await.topics[0].partitions[0].committed_offset
}

/// As a consumer does that gives its connection up and commits on over another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_waits_where_its_client_is_gone_takes_the_group_not_back() {
    let (_folder, node) = start().await;
    let (mut left, mut other) = (Raw::connect(node.kafka_address()).await, Raw::connect(node.kafka_address()).await);
    let waits = FetchRequest { max_wait_ms: 1_000, ..fetch("t", 1, 0) };
    let asks = [frame(11, 1, &waits), frame(8, 2, &commit("g", 70, ""))].concat();
    left.0.write_all(&asks).await.unwrap();
    left.0.shutdown().await.unwrap();
    commits(&mut other, 80).await;
    let mut answers = Vec::new();
    left.0.read_to_end(&mut answers).await.unwrap();
    assert!(!answers.is_empty(), "the fetch was under way");
    assert_eq!(committed(&mut other).await, 80);
    // Who sends one and goes is heard.
    let mut last = Raw::connect(node.kafka_address()).await;
    last.0.write_all(&frame(8, 1, &commit("g", 90, ""))).await.unwrap();
    last.0.shutdown().await.unwrap();
    last.0.read_to_end(&mut answers).await.unwrap();
    assert_eq!(committed(&mut other).await, 90);
    node.stop().await;
}

/// A member that waits for the others sends on: what is behind its request must not take the room that theirs need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_behind_a_member_that_waits_keeps_nobody_out() {
    let (_folder, node) = start().await;
    let long = "x".repeat(LONG_BYTES);
    let mut waiting = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let mut raw = Raw::connect(node.kafka_address()).await;
        let join = JoinGroupRequest {
            group_id: name.to_owned(),
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: 30_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![JoinGroupRequestProtocol { name: "range".to_owned(), ..JoinGroupRequestProtocol::default() }],
            ..JoinGroupRequest::default()
        };
        let (read, mut write) = {
            raw.0.write_all(&frame(3, 1, &join)).await.unwrap();
            raw.0.into_split()
        };
        let behind = frame(8, 2, &commit("elsewhere", 1, &long)).repeat(64);
        let sends = tokio::spawn(async move {
            write.write_all(&behind).await.unwrap();
            write
        });
        waiting.push((read, sends));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut other = Raw::connect(node.kafka_address()).await;
    let asked = SystemClock.monotonic();
    other.send(0, &HeartbeatRequest { group_id: "a".to_owned(), ..HeartbeatRequest::default() }).await;
    other.receive::<HeartbeatRequest>(0).await;
    let took = SystemClock.monotonic() - asked;
    assert!(took < Duration::from_secs(1), "{took:?}");
    // All of it is answered, in its turn.
    for (mut read, sends) in waiting {
        for _ in 0..65 {
            next_frame(&mut read).await;
        }
        drop(sends.await.unwrap());
    }
    node.stop().await;
}
