//! Where batches ride inline: checks, answers, idempotence, order, room.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]

mod support;

use bytes::{Bytes, BytesMut};
use std::time::Duration;
use strandline_cell::Submission;
use strandline_commands::{ConfigChange, ConfigOperation, ConfigureTopic, MoveLogStart};
use strandline_commit_log::memory::{AppendFault, Delay, Delays};
use strandline_index::ExtentPlace;
use strandline_types::TopicId;
use strandline_wire::ErrorCode;
use strandline_wire::messages::init_producer_id::InitProducerIdRequest;
use strandline_wire::messages::produce::ProduceRequest;
use strandline_wire::records::{BatchHeader, BatchOptions, Compression};
use support::*;

#[tokio::test(start_paused = true)]
async fn batches_get_offsets_and_come_back_as_they_were_sent() {
    let node = Node::embedded().await;
    let (a, b) = (node.topic("a", 2, &[]).await, node.topic("b", 1, &[]).await);
    let response = node.produce(request(&[("a", 0, batch(&["1", "2"])), ("a", 1, batch(&["x"])), ("b", 0, batch(&["y"]))])).await;
    for (topic, at) in [(0, 0), (0, 1), (1, 0)] {
        let partition = partition(&response, topic, at);
        assert_eq!((partition.error_code, partition.base_offset, partition.log_start_offset), (0, 0, 0));
        assert_eq!(partition.log_append_time_ms, -1, "the topics have create times");
    }
    let response = node.produce(request(&[("a", 0, compressed(&["3"], Compression::Lz4))])).await;
    assert_eq!(partition(&response, 0, 0).base_offset, 2);
    assert_eq!(response.throttle_time_ms, 0);
    let values =
        |values: &[&str]| values.iter().enumerate().map(|(at, value)| (at as i64, value.to_string())).collect::<Vec<_>>();
    assert_eq!(node.values(a, 0).await, values(&["1", "2", "3"]));
    assert_eq!(node.values(a, 1).await, values(&["x"]));
    assert_eq!(node.values(b, 0).await, values(&["y"]));
    assert!(node.extents(a, 0).iter().all(|extent| matches!(extent.place, ExtentPlace::Inline { .. })));
}

#[tokio::test(start_paused = true)]
async fn one_bad_batch_touches_nothing_else() {
    let node = Node::embedded().await;
    let id = node.topic("a", 3, &[]).await;
    let mut corrupt = BytesMut::from(&batch(&["bad"])[..]);
    let last = corrupt.len() - 1;
    corrupt[last] ^= 1;
    let response = node
        .produce(request(&[
            ("a", 0, batch(&["1"])),
            ("a", 1, corrupt.freeze()),
            ("a", 2, batch(&["2"])),
            ("a", 3, batch(&["3"])),
            ("nope", 0, batch(&["4"])),
        ]))
        .await;
    assert_eq!(
        [0, 1, 2, 3].map(|at| error(&response, 0, at)),
        [ErrorCode::None, ErrorCode::CorruptMessage, ErrorCode::None, ErrorCode::UnknownTopicOrPartition]
    );
    assert_eq!(error(&response, 1, 0), ErrorCode::UnknownTopicOrPartition);
    let bad = partition(&response, 0, 1);
    assert_eq!((bad.base_offset, bad.log_start_offset, bad.log_append_time_ms), (-1, -1, -1));
    assert!(bad.error_message.as_deref().is_some_and(|message| message.contains("checksum")));
    assert_eq!(node.values(id, 1).await, []);
    assert_eq!(node.values(id, 2).await, [(0, "2".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_wrong_as_a_whole_are_refused() {
    let node = Node::embedded().await;
    let id = node.topic("a", 1, &[]).await;
    let good = request(&[("a", 0, batch(&["1"]))]);
    let pending = node.accept(ProduceRequest { acks: 2, ..good.clone() }).await;
    assert_eq!(pending.acks(), 2);
    let answer = pending.answer().await;
    assert!(answer.had_error);
    assert_eq!(error(&answer.response, 0, 0), ErrorCode::InvalidRequiredAcks);
    let response = node.produce(ProduceRequest { transactional_id: Some("t".to_owned()), ..good.clone() }).await;
    assert_eq!(error(&response, 0, 0), ErrorCode::InvalidRequest);
    let transactional = batch_with(
        &["1"],
        BatchOptions { producer_id: 1, producer_epoch: 0, base_sequence: 0, transactional: true, ..BatchOptions::default() },
    );
    assert_eq!(error(&node.produce(request(&[("a", 0, transactional)])).await, 0, 0), ErrorCode::InvalidRequest);
    let two: Bytes = [batch(&["1"]), batch(&["2"])].concat().into();
    assert_eq!(error(&node.produce(request(&[("a", 0, two)])).await, 0, 0), ErrorCode::InvalidRecord);
    assert_eq!(error(&node.produce(request(&[("a", 0, Bytes::new())])).await, 0, 0), ErrorCode::InvalidRecord);
    let mut none = good.clone();
    none.topic_data[0].partition_data[0].records = None;
    assert_eq!(error(&node.produce(none).await, 0, 0), ErrorCode::InvalidRecord);
    for acks in [0, 1, -1] {
        let answer = node.accept(ProduceRequest { acks, timeout_ms: 0, ..good.clone() }).await.answer().await;
        assert!(!answer.had_error, "acks={acks}");
    }
    assert_eq!(node.values(id, 0).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn topics_are_named_by_id_from_version_13_on() {
    let node = Node::embedded().await;
    let id = node.topic("a", 1, &[]).await;
    let mut by_id = request(&[("", 0, batch(&["1"]))]);
    by_id.topic_data[0].topic_id = id;
    let response = node.ingest.accept(&caller(), 13, by_id.clone()).await.answer().await.response;
    assert_eq!((error(&response, 0, 0), response.responses[0].topic_id), (ErrorCode::None, id));
    by_id.topic_data[0].topic_id = TopicId([9; 16]);
    let response = node.ingest.accept(&caller(), 13, by_id.clone()).await.answer().await.response;
    assert_eq!(error(&response, 0, 0), ErrorCode::UnknownTopicId);
    by_id.topic_data[0].topic_id = id;
    by_id.topic_data[0].partition_data[0].index = 1;
    let response = node.ingest.accept(&caller(), 13, by_id).await.answer().await.response;
    assert_eq!(error(&response, 0, 0), ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test(start_paused = true)]
async fn a_topics_configuration_is_obeyed_as_it_changes() {
    let node = Node::embedded().await;
    let id = node.topic("compacted", 1, &[("cleanup.policy", "compact")]).await;
    let small = node.topic("small", 1, &[("max.message.bytes", "100")]).await;
    node.topic("append", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let mut builder = strandline_wire::records::BatchBuilder::new(BatchOptions::default());
    builder.push_next(START_MS, Some(b"k"), Some(b"v"), &[]).unwrap();
    builder.push_next(START_MS, None, Some(b"v"), &[]).unwrap();
    let response = node.produce(request(&[("compacted", 0, builder.finish(None).unwrap())])).await;
    let refused = partition(&response, 0, 0);
    assert_eq!(refused.error_code, ErrorCode::InvalidRecord.code());
    assert_eq!(refused.record_errors.len(), 1);
    assert_eq!(refused.record_errors[0].batch_index, 1);
    assert!(refused.record_errors[0].batch_index_error_message.as_deref().is_some_and(|message| message.contains("key")));
    assert_eq!(node.values(id, 0).await, []);

    let large = || request(&[("small", 0, batch(&[&"x".repeat(200)]))]);
    assert_eq!(error(&node.produce(large()).await, 0, 0), ErrorCode::MessageTooLarge);
    let change = ConfigChange {
        name: "max.message.bytes".to_owned(),
        operation: ConfigOperation::Set as i32,
        value: "1000".to_owned(),
        default: String::new(),
    };
    node.cell
        .submit(Submission::one(ConfigureTopic { topic_id: small.0.to_vec(), replace_all: false, changes: vec![change] }))
        .await
        .unwrap();
    assert_eq!(error(&node.produce(large()).await, 0, 0), ErrorCode::None);

    let response = node.produce(request(&[("append", 0, batch(&["1"]))])).await;
    assert_eq!(partition(&response, 0, 0).log_append_time_ms, node.cell.view().cell.now_ms);
    let mut future = strandline_wire::records::BatchBuilder::new(BatchOptions::default());
    future.push_next(START_MS + 7_200_000, None, Some(b"v"), &[]).unwrap();
    let future = future.finish(None).unwrap();
    let response = node.produce(request(&[("small", 0, future.clone()), ("append", 0, future)])).await;
    assert_eq!(error(&response, 0, 0), ErrorCode::InvalidTimestamp);
    assert_eq!(error(&response, 1, 0), ErrorCode::None, "with append times the producer's own do not matter");
}

#[tokio::test(start_paused = true)]
async fn a_header_with_a_wrong_largest_timestamp_is_corrected() {
    let node = Node::embedded().await;
    let id = node.topic("a", 1, &[]).await;
    let mut wrong = BytesMut::from(&batch(&["1"])[..]);
    wrong[35..43].copy_from_slice(&(START_MS + 999).to_be_bytes());
    let crc = strandline_object_store::crc32c(&[Bytes::copy_from_slice(&wrong[21..])]);
    wrong[17..21].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(error(&node.produce(request(&[("a", 0, wrong.freeze())])).await, 0, 0), ErrorCode::None);
    let extent = node.extents(id, 0)[0];
    assert_eq!(extent.max_timestamp_ms, START_MS);
    let ExtentPlace::Inline { seq, position } = extent.place else { panic!("{extent:?}") };
    let bytes = node.cell.log().read_payload(seq, position..position + extent.length).await.unwrap();
    assert_eq!(BatchHeader::parse(&bytes).unwrap().max_timestamp, START_MS);
    assert_eq!(node.values(id, 0).await, [(0, "1".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn producers_are_idempotent_and_fenced_also_over_another_connection() {
    let node = Node::embedded().await;
    let id = node.topic("a", 1, &[]).await;
    let given = node.ingest.init_producer_id(&caller(), InitProducerIdRequest::default()).await;
    assert_eq!((given.error_code, given.producer_epoch), (0, 0));
    let producer = given.producer_id;
    let send = async |epoch, sequence, values: &[&str]| {
        let connection = connection(&node);
        let response = connection
            .accept(&caller(), 9, request(&[("a", 0, idempotent(producer, epoch, sequence, values))]), usize::MAX)
            .await
            .answer()
            .await
            .response;
        (error(&response, 0, 0), partition(&response, 0, 0).base_offset, partition(&response, 0, 0).log_start_offset)
    };
    assert_eq!(send(0, 0, &["1", "2"]).await, (ErrorCode::None, 0, 0));
    assert_eq!(send(0, 2, &["3"]).await, (ErrorCode::None, 2, 0));
    assert_eq!(send(0, 0, &["1", "2"]).await, (ErrorCode::None, 0, 0), "a duplicate is told where it is");
    assert_eq!(send(0, 4, &["5"]).await.0, ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(send(1, 0, &["4"]).await, (ErrorCode::None, 3, 0));
    assert_eq!(send(0, 3, &["late"]).await.0, ErrorCode::InvalidProducerEpoch);
    node.cell.submit(Submission::one(MoveLogStart { topic_id: id.0.to_vec(), partition: 0, to: 2 })).await.unwrap();
    assert_eq!(send(1, 1, &["5"]).await, (ErrorCode::None, 4, 2));
    let values: Vec<String> = node.values(id, 0).await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["3", "4", "5"], "from the log start on");
}

#[tokio::test(start_paused = true)]
async fn producer_ids_are_given_out_once_and_transactions_are_refused() {
    let node = Node::embedded().await;
    let init = async |request| node.ingest.init_producer_id(&caller(), request).await;
    let (first, second) = (init(InitProducerIdRequest::default()).await, init(InitProducerIdRequest::default()).await);
    assert_ne!(first.producer_id, second.producer_id);
    let again =
        init(InitProducerIdRequest { producer_id: first.producer_id, producer_epoch: 0, ..InitProducerIdRequest::default() })
            .await;
    assert_eq!((again.error_code, again.producer_epoch), (0, 0));
    assert!(again.producer_id > second.producer_id);
    let half = init(InitProducerIdRequest { producer_id: 5, ..InitProducerIdRequest::default() }).await;
    assert_eq!((half.error_code, half.producer_id), (ErrorCode::InvalidRequest.code(), -1));
    let transactional =
        init(InitProducerIdRequest { transactional_id: Some("t".to_owned()), ..InitProducerIdRequest::default() }).await;
    assert_eq!(transactional.error_code, ErrorCode::InvalidRequest.code());
}

#[tokio::test(start_paused = true)]
async fn batches_stay_in_memory_as_they_came_unless_they_keep_much_more_there() {
    let node = Node::embedded().await;
    node.topic("a", 2, &[("max.message.bytes", "67108864")]).await;
    let connection = connection(&node);
    let long = "y".repeat(300 << 10);
    for (value, factor, stays) in [("x", 1, true), ("x", 2, false), (&long, 1, true), (&long, 2, false)] {
        let bytes = batch(&[value]);
        let (place, length) = (bytes.as_ptr(), bytes.len());
        let pending = connection.accept(&caller(), 9, request(&[("a", 0, bytes)]), length * factor).await;
        assert_eq!(partition(&pending.answer().await.response, 0, 0).error_code, 0);
        let kept = node.cell.recent_payload(node.cell.seq(), 0..length as u64).unwrap();
        assert_eq!((kept.len(), kept[0].as_ptr() == place), (1, stays));
    }
    // Most of the frame is a batch that gets an object of its own: what rides inline must not keep it.
    let (small, large) = (batch(&["x"]), batch(&[&"z".repeat(40 << 20)]));
    let (place, length, seq) = (small.as_ptr(), small.len() as u64, node.cell.seq().next());
    let held_bytes = small.len() + large.len();
    let pending = connection.accept(&caller(), 9, request(&[("a", 0, small), ("a", 1, large)]), held_bytes).await;
    let answer = pending.answer().await;
    assert_eq!([0, 1].map(|at| partition(&answer.response, 0, at).error_code), [0, 0]);
    let kept = node.cell.recent_payload(seq, 0..length).unwrap();
    assert_ne!(kept[0].as_ptr(), place);
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_keep_their_order_and_share_entries() {
    let node = Node::embedded().await;
    let id = node.topic("a", 1, &[]).await;
    node.log.faults().set_delays(Delays { before_append: Delay::always(Duration::from_millis(5)), ..Delays::default() });
    let (connection, before) = (connection(&node), node.cell.seq().0);
    let mut pending = Vec::new();
    for at in 0..50 {
        pending.push(connection.accept(&caller(), 9, request(&[("a", 0, batch(&[&at.to_string()]))]), usize::MAX).await);
        if at == 0 {
            tokio::task::yield_now().await;
        }
    }
    for (at, pending) in pending.into_iter().enumerate() {
        assert_eq!(partition(&pending.answer().await.response, 0, 0).base_offset, at as i64);
    }
    assert_eq!(node.values(id, 0).await, (0..50).map(|at| (at, at.to_string())).collect::<Vec<_>>());
    assert!(node.cell.seq().0 - before <= 3, "a group is one entry");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_doubt_at_the_time_out_is_told_so_and_may_be_committed() {
    let node = Node::embedded().await;
    let id = node.topic("a", 1, &[]).await;
    node.log.faults().set_delays(Delays { after_append: Delay::always(Duration::from_secs(5)), ..Delays::default() });
    let answer = node.accept(ProduceRequest { timeout_ms: 2_000, ..request(&[("a", 0, batch(&["1"]))]) }).await.answer().await;
    assert!(answer.had_error);
    assert_eq!(error(&answer.response, 0, 0), ErrorCode::RequestTimedOut);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(node.values(id, 0).await, [(0, "1".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_full_log_is_a_storage_error_until_there_is_room_again() {
    let node = Node::embedded().await;
    let id = node.topic("a", 1, &[]).await;
    node.log.faults().set_full(true);
    let send = async || error(&node.produce(request(&[("a", 0, batch(&["1"]))])).await, 0, 0);
    assert_eq!(send().await, ErrorCode::KafkaStorageError);
    let appends = node.log.faults().appends();
    for _ in 0..20 {
        assert_eq!(send().await, ErrorCode::KafkaStorageError);
    }
    assert!(node.log.faults().appends() <= appends + 1, "refused at the door, but for one that finds out");
    node.log.faults().set_full(false);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(send().await, ErrorCode::None);
    assert_eq!(send().await, ErrorCode::None);
    assert_eq!(node.values(id, 0).await.len(), 2);
}

/// The partition knows nothing of the producer: whatever it sends is taken to begin there.
#[tokio::test(start_paused = true)]
async fn what_was_sent_behind_a_refused_batch_is_taken_once_that_has_come_again() {
    let node = Node::embedded().await;
    let id = node.topic("a", 1, &[]).await;
    let connection = connection(&node);
    let sent = async |sequence, values: &[&str]| {
        let request = request(&[("a", 0, idempotent(7, 0, sequence, values))]);
        connection.accept(&caller(), 9, request, usize::MAX).await
    };
    let code = async |sequence, values: &[&str]| error(&sent(sequence, values).await.answer().await.response, 0, 0);
    node.log.faults().set_full(true);
    assert_eq!(code(0, &["1", "2"]).await, ErrorCode::KafkaStorageError);
    assert_eq!(code(0, &["1", "2"]).await, ErrorCode::KafkaStorageError, "refused at the door");
    node.log.faults().set_full(false);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(code(2, &["3"]).await, ErrorCode::KafkaStorageError);
    // Both are on their way when the first is refused.
    node.log.faults().set_delays(Delays { before_append: Delay::always(Duration::from_millis(50)), ..Delays::default() });
    node.log.faults().on_append(1, AppendFault::Full);
    let first = sent(0, &["1", "2"]).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let second = sent(2, &["3"]).await;
    for pending in [first, second] {
        assert_eq!(error(&pending.answer().await.response, 0, 0), ErrorCode::KafkaStorageError);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(code(2, &["3"]).await, ErrorCode::KafkaStorageError);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((code(0, &["1", "2"]).await, code(2, &["3"]).await), (ErrorCode::None, ErrorCode::None));
    let values: Vec<String> = node.values(id, 0).await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["1", "2", "3"]);
}

/// A client sends that once more.
#[tokio::test(start_paused = true)]
async fn what_was_sent_behind_a_damaged_batch_waits_for_it() {
    let node = Node::embedded().await;
    let id = node.topic("a", 1, &[]).await;
    let code = async |batch: bytes::Bytes| error(&node.produce(request(&[("a", 0, batch)])).await, 0, 0);
    let (first, second) = (idempotent(7, 0, 0, &["1", "2"]), idempotent(7, 0, 2, &["3"]));
    let mut damaged = first.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(code(damaged.into()).await, ErrorCode::CorruptMessage);
    assert_eq!(code(second.clone()).await, ErrorCode::KafkaStorageError);
    assert_eq!((code(first).await, code(second).await), (ErrorCode::None, ErrorCode::None));
    let values: Vec<String> = node.values(id, 0).await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_larger_than_an_entry_is_split_and_a_batch_larger_than_one_goes_by_an_object() {
    let node = Node::embedded().await;
    let id = node.topic("a", 3, &[("max.message.bytes", "67108864")]).await;
    let of = |letter: &str, bytes: usize| batch(&[&letter.repeat(bytes)]);
    let response =
        node.produce(request(&[("a", 0, of("x", 20 << 20)), ("a", 1, of("y", 40 << 20)), ("a", 2, of("z", 20 << 20))])).await;
    assert_eq!([0, 1, 2].map(|at| error(&response, 0, at)), [ErrorCode::None; 3]);
    assert!(matches!(node.extents(id, 0)[0].place, ExtentPlace::Inline { .. }));
    assert!(matches!(node.extents(id, 1)[0].place, ExtentPlace::Object { .. }));
    for (at, length) in [(0, 20 << 20), (1, 40 << 20), (2, 20 << 20)] {
        assert_eq!(node.values(id, at).await[0].1.len(), length);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_append_is_answered_and_later_ones_go_on() {
    let node = Node::embedded().await;
    let id = node.topic("a", 1, &[]).await;
    node.log.faults().on_append(1, AppendFault::AmbiguousAfter);
    assert_eq!(error(&node.produce(request(&[("a", 0, batch(&["1"]))])).await, 0, 0), ErrorCode::None);
    node.log.faults().on_append(1, AppendFault::AmbiguousBefore);
    assert_eq!(error(&node.produce(request(&[("a", 0, batch(&["2"]))])).await, 0, 0), ErrorCode::None);
    assert_eq!(node.values(id, 0).await, [(0, "1".to_owned()), (1, "2".to_owned())]);
}
