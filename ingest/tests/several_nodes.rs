//! Several nodes over one log: a batch that is ahead of its producer's sequence waits for the one before.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]

mod support;

use std::time::Duration;
use strandline_commit_log::MemoryCommitLog;
use strandline_ingest::{Ingest, IngestOptions};
use strandline_runtime::Runtime;
use strandline_wire::ErrorCode;
use strandline_wire::messages::InitProducerIdRequest;
use support::*;

struct Two {
    first: Node,
    second: Node,
}

async fn node(runtime: &Runtime, log: MemoryCommitLog, port: u16) -> Node {
    let cell = cell(runtime, &log, false, port).await;
    let (objects, faults) = objects(runtime);
    let options = IngestOptions { wait_for_sequence: true, ..IngestOptions::default() };
    let ingest = Ingest::new(options, cell.clone(), objects.clone(), None);
    Node { runtime: runtime.clone(), log, cell, objects, faults, ingest }
}

async fn two() -> Two {
    let runtime = Runtime::simulated(1, START_MS);
    let log = MemoryCommitLog::new(runtime.clone());
    Two { first: node(&runtime, log.clone(), 9092).await, second: node(&runtime, log.for_node(), 9093).await }
}

async fn send(node: &Node, sequence: i32) -> ErrorCode {
    let response = node.produce(request(&[("a", 0, idempotent(7, 0, sequence, &[&sequence.to_string()]))])).await;
    error(&response, 0, 0)
}

#[tokio::test(start_paused = true)]
async fn a_producer_may_change_its_node_with_requests_in_flight() {
    let Two { first, second } = two().await;
    let id = first.topic("a", 1, &[]).await;
    assert_eq!(send(&first, 0).await, ErrorCode::None);
    second.cell.barrier().await.unwrap();
    let began = second.runtime.clock.monotonic();
    // 2 overtakes 1 on its way to the second node, and waits there until 1 has come through the first.
    let ((ahead, late), ()) = tokio::join!(
        async {
            tokio::join!(send(&second, 2), async {
                tokio::time::sleep(Duration::from_millis(700)).await;
                send(&first, 1).await
            })
        },
        std::future::ready(())
    );
    assert_eq!((ahead, late), (ErrorCode::None, ErrorCode::None));
    assert!(second.runtime.clock.monotonic() - began < Duration::from_millis(1_500));
    second.cell.barrier().await.unwrap();
    assert_eq!(second.values(id, 0).await.into_iter().map(|(_, value)| value).collect::<Vec<_>>(), ["0", "1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_predecessor_never_comes_is_refused_by_the_fold() {
    let Two { first, second } = two().await;
    first.topic("a", 1, &[]).await;
    assert_eq!(send(&first, 0).await, ErrorCode::None);
    second.cell.barrier().await.unwrap();
    let began = second.runtime.clock.monotonic();
    assert_eq!(send(&second, 5).await, ErrorCode::OutOfOrderSequenceNumber);
    let waited = second.runtime.clock.monotonic() - began;
    assert!((Duration::from_secs(2)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
    assert_eq!(send(&second, 0).await, ErrorCode::None, "a duplicate does not wait");
}

#[tokio::test(start_paused = true)]
async fn the_first_batch_of_a_producer_may_be_overtaken_too() {
    let Two { first, second } = two().await;
    let id = first.topic("a", 1, &[]).await;
    let request_id = InitProducerIdRequest { producer_id: -1, producer_epoch: -1, ..InitProducerIdRequest::default() };
    let given = first.ingest.init_producer_id(&caller(), request_id).await;
    second.cell.barrier().await.unwrap();
    let send = async |node: &Node, sequence: i32| {
        let bytes = idempotent(given.producer_id, given.producer_epoch, sequence, &[&sequence.to_string()]);
        error(&node.produce(request(&[("a", 0, bytes)])).await, 0, 0)
    };
    let late = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        send(&first, 0).await
    };
    let (ahead, late) = tokio::join!(send(&second, 1), late);
    assert_eq!((ahead, late), (ErrorCode::None, ErrorCode::None));
    second.cell.barrier().await.unwrap();
    assert_eq!(second.values(id, 0).await.into_iter().map(|(_, value)| value).collect::<Vec<_>>(), ["0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn pipelined_batches_do_not_wait_for_each_other() {
    let Two { first, .. } = two().await;
    let id = first.topic("a", 1, &[]).await;
    let began = first.runtime.clock.monotonic();
    let mut pending = Vec::new();
    for sequence in 0..5 {
        pending.push(first.accept(request(&[("a", 0, idempotent(7, 0, sequence, &["x"]))])).await);
    }
    assert!(first.runtime.clock.monotonic() - began < Duration::from_millis(50));
    for pending in pending {
        assert!(!pending.answer().await.had_error);
    }
    assert_eq!(first.values(id, 0).await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_topic_is_told_only_from_a_view_as_new_as_the_request() {
    let Two { first, second } = two().await;
    first.topic("a", 1, &[]).await;
    // The second node has not polled since the topic was made.
    let response = second.produce(request(&[("a", 0, batch(&["1"]))])).await;
    assert_eq!(error(&response, 0, 0), ErrorCode::None);
}
