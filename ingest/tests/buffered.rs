//! Where the log takes small payloads only: WAL segments, latency classes, and what happens when a PUT fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]

mod support;

use std::time::Duration;
use strandline_cell::Submission;
use strandline_commands::{LeaseKind, RaiseHorizon, TakeLease};
use strandline_index::{ExtentPlace, Outcome};
use strandline_object_store::{Effect, Fault, Operation, Purpose};
use strandline_types::limits;
use strandline_wal::WalFooter;
use strandline_wire::ErrorCode;
use strandline_wire::messages::produce::ProduceResponse;
use support::*;

/// Too large to ride inline.
fn large(letter: &str) -> bytes::Bytes {
    batch(&[&letter.repeat(limits::ENTRY_INLINE_BYTES)])
}

async fn letters(node: &Node, topic: strandline_types::TopicId, partition: i32) -> Vec<String> {
    node.values(topic, partition).await.into_iter().map(|(_, value)| value[..1].to_owned()).collect()
}

fn codes(responses: &[ProduceResponse]) -> Vec<ErrorCode> {
    responses.iter().map(|response| error(response, 0, 0)).collect()
}

#[tokio::test(start_paused = true)]
async fn many_partitions_share_one_segment_that_describes_itself() {
    let node = Node::buffered().await;
    let id = node.topic("a", 3, &[]).await;
    // The first flush goes at once, since nothing is under way; the others wait for the linger and go together.
    node.faults.add(Fault::nth(Operation::Put, 1, Effect::Delay(Duration::from_millis(100))));
    let first = node.accept(request(&[("a", 0, large("a"))])).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let mut pending = Vec::new();
    for (at, letter) in [(2, "b"), (1, "c"), (2, "d"), (0, "e")] {
        pending.push(node.accept(request(&[("a", at, large(letter))])).await);
    }
    assert_eq!(error(&first.answer().await.response, 0, 0), ErrorCode::None);
    for pending in pending {
        assert_eq!(error(&pending.answer().await.response, 0, 0), ErrorCode::None);
    }
    assert_eq!(letters(&node, id, 0).await, ["a", "e"]);
    assert_eq!(letters(&node, id, 1).await, ["c"]);
    assert_eq!(letters(&node, id, 2).await, ["b", "d"]);
    assert_eq!(node.faults.calls(Operation::Put), 2);
    let ExtentPlace::Object { name, .. } = node.extents(id, 1)[0].place else { panic!("not in an object") };
    let whole = node.objects.get(Purpose::Read, &format!("wal/{name}")).await.unwrap();
    let footer = WalFooter::read(&whole, whole.len() as u64).unwrap();
    let partitions: Vec<(i32, u32)> = footer.runs.iter().map(|run| (run.partition.partition, run.batches)).collect();
    assert_eq!(partitions, [(0, 1), (1, 1), (2, 2)]);
    for run in &footer.runs {
        run.check(&whole.slice(run.range.start as usize..run.range.end as usize)).unwrap();
    }
}

async fn time_of(node: &Node, topic: &str, value: &str) -> Duration {
    let began = node.runtime.clock.monotonic();
    let response = node.produce(request(&[(topic, 0, batch(&[value]))])).await;
    assert_eq!(error(&response, 0, 0), ErrorCode::None);
    node.runtime.clock.monotonic() - began
}

#[tokio::test(start_paused = true)]
async fn classes_wait_as_long_as_they_say() {
    let node = Node::buffered().await;
    let express = node.topic("express", 1, &[("strandline.latency", "express")]).await;
    let compacted = node.topic("compacted", 1, &[("cleanup.policy", "compact")]).await;
    node.topic("standard", 1, &[]).await;
    let relaxed = node.topic("relaxed", 1, &[("strandline.latency", "relaxed")]).await;
    node.faults.add(Fault::every(Operation::Put, Effect::Delay(Duration::from_millis(50))));
    let body = "x".repeat(limits::INLINE_FLUSH_BYTES);
    assert!(time_of(&node, "express", &body).await < Duration::from_millis(50), "express rides inline");
    assert!(time_of(&node, "compacted", &body).await < Duration::from_millis(50), "compacted topics are express");
    let standard = time_of(&node, "standard", &body).await;
    assert!(
        (Duration::from_millis(50)..Duration::from_millis(60)).contains(&standard),
        "idle: at once, but by a PUT: {standard:?}"
    );
    let relaxed_time = time_of(&node, "relaxed", &body).await;
    assert!((Duration::from_millis(1_050)..Duration::from_millis(1_060)).contains(&relaxed_time), "{relaxed_time:?}");
    assert!(time_of(&node, "standard", "small").await < Duration::from_millis(50), "a small flush rides inline in any class");
    for topic in [express, compacted] {
        assert!(matches!(node.extents(topic, 0)[0].place, ExtentPlace::Inline { .. }));
    }
    assert!(matches!(node.extents(relaxed, 0)[0].place, ExtentPlace::Object { .. }));
    assert_eq!(
        time_of(&node, "express", &"x".repeat(limits::ENTRY_INLINE_BYTES)).await,
        Duration::from_millis(50),
        "too much for an entry"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_five_unanswered_requests_does_not_wait_for_the_linger() {
    let node = Node::buffered().await;
    node.topic("a", 1, &[("strandline.latency", "relaxed")]).await;
    let connection = connection(&node);
    let began = node.runtime.clock.monotonic();
    let mut pending = Vec::new();
    for _ in 0..limits::URGENT_REQUESTS - 1 {
        pending.push(connection.accept(&caller(), 9, request(&[("a", 0, large("x"))]), usize::MAX).await);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(node.faults.calls(Operation::Put), 0);
    pending.push(connection.accept(&caller(), 9, request(&[("a", 0, large("y"))]), usize::MAX).await);
    for pending in pending {
        assert!(!pending.answer().await.had_error);
    }
    assert!(node.runtime.clock.monotonic() - began < Duration::from_millis(600));
    assert_eq!(node.faults.calls(Operation::Put), 1);
}

#[tokio::test(start_paused = true)]
async fn eight_mebibytes_do_not_wait() {
    let node = Node::buffered().await;
    let id = node.topic("a", 9, &[("strandline.latency", "relaxed"), ("max.message.bytes", "2000000")]).await;
    let began = node.runtime.clock.monotonic();
    let mut pending = Vec::new();
    for at in 0..8 {
        pending.push(node.accept(request(&[("a", at, batch(&[&"x".repeat(1 << 20)]))])).await);
    }
    // With its header it is a little more than the eight, and waits for others.
    let last = pending.pop().unwrap();
    for pending in pending {
        assert!(!pending.answer().await.had_error);
    }
    assert!(node.runtime.clock.monotonic() - began < Duration::from_millis(100));
    assert!(!last.answer().await.had_error);
    assert!(node.faults.calls(Operation::Put) <= 2);
    assert_eq!(node.values(id, 7).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn several_segments_are_put_at_once_and_committed_in_order() {
    let node = Node::buffered().await;
    let id = node.topic("a", 1, &[]).await;
    // The first PUT takes longest.
    for ms in [900, 500, 100] {
        node.faults.add(Fault::nth(Operation::Put, 1, Effect::Delay(Duration::from_millis(ms))));
    }
    let began = node.runtime.clock.monotonic();
    let mut pending = Vec::new();
    for letter in ["a", "b", "c"] {
        pending.push(node.accept(request(&[("a", 0, large(letter))])).await);
        tokio::time::sleep(Duration::from_millis(251)).await;
    }
    for (at, pending) in pending.into_iter().enumerate() {
        assert_eq!(partition(&pending.answer().await.response, 0, 0).base_offset, at as i64);
    }
    assert_eq!(letters(&node, id, 0).await, ["a", "b", "c"]);
    assert!(node.runtime.clock.monotonic() - began < Duration::from_millis(1_100), "they did not wait for each other's PUT");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_committed_before_its_bytes_are_durable() {
    let node = Node::buffered().await;
    let id = node.topic("a", 1, &[]).await;
    node.faults.add(Fault::nth(Operation::Put, 1, Effect::Delay(Duration::from_secs(3))));
    let pending = node.accept(request(&[("a", 0, large("a"))])).await;
    tokio::time::sleep(Duration::from_millis(2_900)).await;
    assert_eq!(node.extents(id, 0), []);
    assert!(!pending.answer().await.had_error);
    assert_eq!(letters(&node, id, 0).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_segment_fails_its_batches_and_what_comes_later_goes_on() {
    let node = Node::buffered().await;
    let id = node.topic("a", 2, &[]).await;
    node.faults.add(Fault::nth(Operation::Put, 1, Effect::Before));
    let first = node.accept(request(&[("a", 0, large("a"))])).await;
    let same = node.accept(request(&[("a", 0, large("b"))])).await;
    let other = node.accept(request(&[("a", 1, large("c"))])).await;
    let mut responses = Vec::new();
    for pending in [first, same, other] {
        responses.push(pending.answer().await.response);
    }
    assert_eq!(codes(&responses), [ErrorCode::KafkaStorageError; 3], "all of them were in that segment");
    // What comes after the failure was told goes on.
    assert_eq!(error(&node.produce(request(&[("a", 0, large("d"))])).await, 0, 0), ErrorCode::None);
    assert_eq!(letters(&node, id, 0).await, ["d"]);
}

#[tokio::test(start_paused = true)]
async fn batches_of_a_segment_that_was_put_already_fail_with_the_lost_one_before_it() {
    let node = Node::buffered().await;
    let id = node.topic("a", 2, &[]).await;
    // The first PUT's reply is lost, and looking for the object takes long and finds nothing.
    node.faults.add(Fault::nth(Operation::Put, 1, Effect::Late(Duration::from_secs(60))));
    node.faults.add(Fault::nth(Operation::Head, 1, Effect::Delay(Duration::from_millis(700))));
    let first = node.accept(request(&[("a", 0, large("a"))])).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    // Put and durable while the first is still being looked for; shares its segment with another partition.
    let second = node.accept(request(&[("a", 0, large("b"))])).await;
    let other = node.accept(request(&[("a", 1, large("c"))])).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(node.faults.calls(Operation::Put), 2);
    let buffered = node.accept(request(&[("a", 0, large("d"))])).await;
    let mut responses = Vec::new();
    for pending in [first, second, other, buffered] {
        responses.push(pending.answer().await.response);
    }
    assert_eq!(
        codes(&responses),
        [ErrorCode::KafkaStorageError, ErrorCode::KafkaStorageError, ErrorCode::None, ErrorCode::KafkaStorageError]
    );
    assert_eq!(letters(&node, id, 0).await, [""; 0]);
    assert_eq!(letters(&node, id, 1).await, ["c"]);
    // The late PUT of the first lands at last, and changes nothing.
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(letters(&node, id, 0).await, [""; 0]);
}

/// Of none of its producers, each of which the partition does not know yet.
#[tokio::test(start_paused = true)]
async fn nothing_overtakes_what_was_lost_or_waited_behind_it() {
    let node = Node::buffered().await;
    let id = node.topic("a", 1, &[]).await;
    let sent = async |producer, sequence, letter: &str| {
        let value = letter.repeat(limits::ENTRY_INLINE_BYTES);
        node.accept(request(&[("a", 0, idempotent(producer, 0, sequence, &[&value]))])).await
    };
    let code = async |producer, sequence, letter| codes(&[sent(producer, sequence, letter).await.answer().await.response])[0];
    node.faults.add(Fault::nth(Operation::Put, 1, Effect::Late(Duration::from_secs(60))));
    node.faults.add(Fault::nth(Operation::Head, 1, Effect::Delay(Duration::from_millis(700))));
    let lost = sent(7, 0, "a").await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let (behind, of_another) = (sent(7, 1, "b").await, sent(8, 0, "x").await);
    for pending in [lost, behind, of_another] {
        assert_ne!(codes(&[pending.answer().await.response]), [ErrorCode::None]);
    }
    assert_eq!((code(7, 1, "b").await, code(8, 1, "y").await), (ErrorCode::KafkaStorageError, ErrorCode::KafkaStorageError));
    for (producer, sequence, letter) in [(8, 0, "x"), (8, 1, "y"), (7, 0, "a"), (7, 1, "b")] {
        assert_eq!(code(producer, sequence, letter).await, ErrorCode::None, "{letter}");
    }
    assert_eq!(letters(&node, id, 0).await, ["x", "y", "a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_of_a_put_is_no_failure() {
    let node = Node::buffered().await;
    let id = node.topic("a", 1, &[]).await;
    node.faults.add(Fault::nth(Operation::Put, 1, Effect::After));
    assert_eq!(error(&node.produce(request(&[("a", 0, large("a"))])).await, 0, 0), ErrorCode::None);
    assert_eq!(letters(&node, id, 0).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_store_is_a_storage_error() {
    let node = Node::buffered().await;
    node.topic("a", 1, &[]).await;
    node.faults.add(Fault::nth(Operation::Put, 1, Effect::Full));
    let response = node.produce(request(&[("a", 0, large("a"))])).await;
    assert_eq!(error(&response, 0, 0), ErrorCode::KafkaStorageError);
    assert!(partition(&response, 0, 0).error_message.as_deref().is_some_and(|message| message.contains("room")));
}

#[tokio::test(start_paused = true)]
async fn an_object_below_the_horizon_is_put_again_under_a_new_name_and_nothing_overtakes_it() {
    let node = Node::buffered().await;
    let id = node.topic("a", 1, &[]).await;
    node.faults.add(Fault::nth(Operation::Put, 1, Effect::Delay(Duration::from_millis(400))));
    let first = node.accept(request(&[("a", 0, large("a"))])).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let named_at = node.cell.seq();
    let second = node.accept(request(&[("a", 0, large("b"))])).await;
    let lease = node
        .cell
        .submit(Submission::one(TakeLease { kind: LeaseKind::Garbage as i32, scope: Vec::new(), replaces: 0 }))
        .await
        .unwrap();
    let Outcome::Leased(lease) = lease.outcomes[0] else { panic!("{lease:?}") };
    let raised = node.cell.submit(Submission::one(RaiseHorizon { lease: lease.0, to: named_at.0 + 1 })).await.unwrap();
    assert_eq!(raised.outcomes, [Outcome::Done]);
    assert!(!first.answer().await.had_error);
    assert!(!second.answer().await.had_error);
    assert_eq!(letters(&node, id, 0).await, ["a", "b"]);
    assert!(node.faults.calls(Operation::Put) >= 3);
    for extent in node.extents(id, 0) {
        assert!(matches!(extent.place, ExtentPlace::Object { name, .. } if name.seq > named_at));
    }
}

#[tokio::test(start_paused = true)]
async fn producers_are_idempotent_here_too() {
    let node = Node::buffered().await;
    let id = node.topic("a", 1, &[]).await;
    let mut pending = Vec::new();
    for sequence in [0, 1, 1, 2, 9] {
        let value = format!("{sequence}{}", "x".repeat(5_000));
        pending.push(node.accept(request(&[("a", 0, idempotent(7, 0, sequence, &[&value]))])).await);
    }
    let mut answers = Vec::new();
    for pending in pending {
        let response = pending.answer().await.response;
        answers.push((error(&response, 0, 0), partition(&response, 0, 0).base_offset));
    }
    assert_eq!(
        answers,
        [
            (ErrorCode::None, 0),
            (ErrorCode::None, 1),
            (ErrorCode::None, 1),
            (ErrorCode::None, 2),
            (ErrorCode::OutOfOrderSequenceNumber, -1)
        ]
    );
    assert_eq!(letters(&node, id, 0).await, ["0", "1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn draining_flushes_what_waits() {
    let node = Node::buffered().await;
    let id = node.topic("a", 1, &[("strandline.latency", "relaxed")]).await;
    let pending = node.accept(request(&[("a", 0, large("a"))])).await;
    let began = node.runtime.clock.monotonic();
    node.ingest.drain().await;
    assert!(node.runtime.clock.monotonic() - began < Duration::from_millis(500));
    assert_eq!(letters(&node, id, 0).await, ["a"]);
    assert!(!pending.answer().await.had_error);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_changes_its_class_keeps_its_order() {
    let node = Node::buffered().await;
    let id = node.topic("a", 1, &[("strandline.latency", "relaxed")]).await;
    let slow = node.accept(request(&[("a", 0, large("a"))])).await;
    let change = strandline_commands::ConfigChange {
        name: "strandline.latency".to_owned(),
        operation: strandline_commands::ConfigOperation::Set as i32,
        value: "express".to_owned(),
        default: String::new(),
    };
    node.cell
        .submit(Submission::one(strandline_commands::ConfigureTopic {
            topic_id: id.0.to_vec(),
            replace_all: false,
            changes: vec![change],
        }))
        .await
        .unwrap();
    let fast = node.accept(request(&[("a", 0, batch(&["b"]))])).await;
    assert_eq!(partition(&fast.answer().await.response, 0, 0).base_offset, 1);
    assert!(!slow.answer().await.had_error);
    assert_eq!(letters(&node, id, 0).await, ["a", "b"]);
}

/// A batch counts with a kibibyte at least, so one request can have more of them than there is room for.
#[tokio::test(start_paused = true)]
async fn a_request_of_more_batches_than_fit_does_not_wait_for_itself() {
    let partitions = i32::try_from(limits::INGEST_BUFFER_BYTES / 1_024 + 500).unwrap();
    let node = Node::buffered().await;
    node.topic("a", partitions, &[]).await;
    let began = node.runtime.clock.monotonic();
    let bytes = batch(&["x"]);
    let many: Vec<(&str, i32, bytes::Bytes)> = (0..partitions).map(|partition| ("a", partition, bytes.clone())).collect();
    let response = node.produce(request(&many)).await;
    let good = (0..many.len()).filter(|at| error(&response, 0, *at) == ErrorCode::None).count();
    assert_eq!(good, many.len());
    assert!(node.runtime.clock.monotonic() - began < limits::REQUEST_WAIT);
}

/// While nothing is flushed a request is taken in for as long as one wait may last, not as many of them as it has batches.
#[tokio::test(start_paused = true)]
async fn a_request_that_finds_no_room_waits_once() {
    let node = Node::buffered().await;
    node.topic("a", 2, &[]).await;
    node.faults.add(Fault::every(Operation::Put, Effect::Delay(limits::REQUEST_WAIT * 10)));
    let quarter = batch(&["x".repeat(limits::INGEST_BUFFER_BYTES / 80).as_str()]);
    let fill: Vec<(&str, i32, bytes::Bytes)> = (0..79).map(|_| ("a", 0, quarter.clone())).collect();
    let waiting: Vec<_> = futures::future::join_all(fill.iter().map(|one| node.accept(request(std::slice::from_ref(one))))).await;
    let began = node.runtime.clock.monotonic();
    let more: Vec<(&str, i32, bytes::Bytes)> = (0..5).map(|_| ("a", 1, quarter.clone())).collect();
    let late = node.accept(request(&more)).await;
    let took = node.runtime.clock.monotonic() - began;
    // Until the first PUT is given up, and what waits with it.
    assert!((Duration::from_secs(5)..limits::REQUEST_WAIT + Duration::from_secs(1)).contains(&took), "{took:?}");
    drop((waiting, late));
}
