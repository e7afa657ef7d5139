//! Compressed batches: what may come out of them, and the codec that a topic asks for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]

mod support;

use bytes::Bytes;
use strandline_index::ExtentPlace;
use strandline_types::TopicId;
use strandline_wire::ErrorCode;
use strandline_wire::messages::init_producer_id::InitProducerIdRequest;
use strandline_wire::records::{BatchHeader, BatchOptions, Compression};
use support::*;

/// The stored bytes of a partition's only extent.
async fn stored(node: &Node, topic: TopicId) -> Bytes {
    let extents = node.extents(topic, 0);
    assert_eq!(extents.len(), 1);
    let ExtentPlace::Inline { seq, position } = extents[0].place else { panic!("{extents:?}") };
    node.cell.log().read_payload(seq, position..position + extents[0].length).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_topics_codec_is_what_its_batches_have() {
    let asked = [
        ("uncompressed", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];
    let long = "a value that repeats itself ".repeat(100);
    let values = ["1", "two", &long];
    let node = Node::embedded().await;
    for (name, codec) in asked {
        for (_, came_with) in asked {
            let topic = format!("{name}-{}", came_with.name());
            let id = node.topic(&topic, 1, &[("compression.type", name), ("compression.zstd.level", "22")]).await;
            let sent = compressed(&values, came_with);
            let response = node.produce(request(&[(&topic, 0, sent.clone())])).await;
            assert_eq!(error(&response, 0, 0), ErrorCode::None, "{topic}");
            let kept = stored(&node, id).await;
            assert_eq!(BatchHeader::parse(&kept).unwrap().compression(), Ok(codec), "{topic}");
            assert_eq!(kept[..] == sent[..], codec == came_with, "{topic}");
            let values: Vec<(i64, String)> =
                values.iter().enumerate().map(|(at, value)| (at as i64, value.to_string())).collect();
            assert_eq!(node.values(id, 0).await, values, "{topic}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn order_duplicates_and_size_are_those_of_what_is_kept() {
    let node = Node::embedded().await;
    let id = node.topic("a", 1, &[("compression.type", "zstd")]).await;
    let producer = node.ingest.init_producer_id(&caller(), InitProducerIdRequest::default()).await.producer_id;
    let connection = connection(&node);
    let mut pending = Vec::new();
    for sequence in 0..20 {
        let batch = idempotent(producer, 0, sequence, &[&sequence.to_string()]);
        pending.push(connection.accept(&caller(), 9, request(&[("a", 0, batch)]), usize::MAX).await);
    }
    for (at, pending) in pending.into_iter().enumerate() {
        assert_eq!(partition(&pending.answer().await.response, 0, 0).base_offset, at as i64);
    }
    let again = node.produce(request(&[("a", 0, idempotent(producer, 0, 19, &["19"]))])).await;
    assert_eq!((error(&again, 0, 0), partition(&again, 0, 0).base_offset), (ErrorCode::None, 19));
    assert_eq!(node.values(id, 0).await.len(), 20);
    // As in Kafka, what counts is the batch as it came, and as it is kept.
    node.topic("plain", 1, &[("compression.type", "uncompressed")]).await;
    let large = compressed(&[&"x".repeat(2 << 20)], Compression::Gzip);
    assert!(large.len() < 100_000);
    assert_eq!(error(&node.produce(request(&[("plain", 0, large)])).await, 0, 0), ErrorCode::MessageTooLarge);
}

#[tokio::test(start_paused = true)]
async fn many_recompressed_batches_of_one_request_keep_their_places() {
    let node = Node::embedded().await;
    let id = node.topic("plain", 12, &[("compression.type", "uncompressed")]).await;
    let large = "x".repeat(900_000);
    let mut batches: Vec<(&str, i32, Bytes)> =
        (0..12).map(|at| ("plain", at, compressed(&[&large, &at.to_string()], Compression::Lz4))).collect();
    batches[5].2 = Bytes::from_static(b"bad");
    let response = node.produce(request(&batches)).await;
    for at in 0..12 {
        let expected = if at == 5 { ErrorCode::InvalidRecord } else { ErrorCode::None };
        assert_eq!(error(&response, 0, at), expected, "{at}");
        let values = node.values(id, at as i32).await;
        assert_eq!(values.get(1).map(|(_, value)| value.clone()), (at != 5).then(|| at.to_string()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_out_of_a_request_is_bounded() {
    let node = Node::embedded().await;
    node.topic("a", 8, &[]).await;
    let third = "x".repeat(40 << 20);
    let bomb = compressed(&[&third, &third, &third], Compression::Zstd);
    let larger = compressed(&[&third, &third, &third], Compression::Zstd);
    let mut batches: Vec<(&str, i32, Bytes)> = (0..6).map(|at| ("a", at, bomb.clone())).collect();
    batches.push(("a", 6, batch(&["not compressed"])));
    batches.push(("a", 7, larger));
    let response = node.produce(request(&batches)).await;
    let errors: Vec<ErrorCode> = (0..8).map(|at| error(&response, 0, at)).collect();
    let (good, too_much) = (ErrorCode::None, ErrorCode::MessageTooLarge);
    assert_eq!(errors, [good, good, good, good, too_much, too_much, good, too_much]);
    let message = partition(&response, 0, 5).error_message.clone().unwrap();
    assert!(message.contains("smaller requests"), "{message}");
    // The next request has its own bound.
    assert_eq!(error(&node.produce(request(&[("a", 0, bomb)])).await, 0, 0), good);
    let options = BatchOptions { compression: Compression::Zstd, ..BatchOptions::default() };
    assert_eq!(error(&node.produce(request(&[("a", 0, batch_with(&[&third], options))])).await, 0, 0), good);
}
