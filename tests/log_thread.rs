//! Producers' connections that move to the thread on which the log is written, and away from it: nothing is lost on the way, and all answers come
//! in order.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on says where; its clients are tasks of its own"
)]

mod support;

use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;
use strandline::node::Node;
use strandline_client::{Client, ClientOptions, NewTopic};
use strandline_config::Settings;
use strandline_runtime::Runtime;
use strandline_wire::ErrorCode;
use strandline_wire::frame::decode_response;
use strandline_wire::messages::produce::ProduceRequest;
use strandline_wire::messages::{ApiVersionsRequest, FetchResponse, ListOffsetsRequest, ProduceResponse};
use strandline_wire::records::{Compression, split_batches};
use support::raw::{Raw, batch, fetch, frame, next_frame, produce};
use support::start_with;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SMALL_BYTES: usize = 1 << 10;
const LARGE_BYTES: usize = 500 << 10;

struct Started {
    node: Node,
    _folder: tempfile::TempDir,
}

impl Started {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { data: folder.path().to_owned(), conversion_paused: true, ..Settings::default() };
        let node = start_with(settings).await;
        let client = Client::tcp(Runtime::system(), ClientOptions::new(&node.kafka_address().to_string())).unwrap();
        client.admin().create_topic(NewTopic::new("t", 1)).await.unwrap();
        Self { node, _folder: folder }
    }

    fn address(&self) -> SocketAddr {
        self.node.kafka_address()
    }

    /// Connections on the log's thread.
    fn taken(&self) -> usize {
        self.node.parts().cell.beside().taken()
    }

    async fn wait_taken(&self, wanted: usize) {
        for _ in 0..1_000 {
            if self.taken() == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} connections are served on the log's thread, not {wanted}", self.taken());
    }

    /// A producer that is served there. One comes in a tenth of a second, so that it may take some requests.
    async fn producer(&self) -> Producer {
        self.next_producer(0).await
    }

    /// The same, and its first record has this offset.
    async fn next_producer(&self, mut next: i64) -> Producer {
        let before = self.taken();
        let mut raw = Raw::connect(self.address()).await;
        while self.taken() == before {
            raw.send(9, &produce("t", 0..1, &value(next, SMALL_BYTES))).await;
            assert_eq!(offset_of(raw.receive::<ProduceRequest>(9).await), Ok(next));
            next += 1;
            assert!(next < 10_000, "it is never served on the log's thread");
        }
        Producer { raw, next }
    }
}

/// Who alone writes to the topic, so that it knows every offset.
struct Producer {
    raw: Raw,
    next: i64,
}

fn value(number: i64, bytes: usize) -> Bytes {
    let mut value = vec![b'.'; bytes];
    value[..8].copy_from_slice(&number.to_be_bytes());
    batch(&value, 1, Compression::None)
}

fn offset_of(response: ProduceResponse) -> Result<i64, ErrorCode> {
    let partition = response.responses[0].partition_responses[0].clone();
    match ErrorCode::from_code(partition.error_code) {
        ErrorCode::None => Ok(partition.base_offset),
        error => Err(error),
    }
}

fn numbers(response: FetchResponse) -> Vec<i64> {
    let records = response.responses[0].partitions[0].records.clone().unwrap().into_bytes();
    let batches = split_batches(records).unwrap();
    batches.iter().map(|batch| batch.header.base_offset).collect()
}

/// Many requests at once, cut anywhere; of a kind that sends the connection away, and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_while_a_connection_moves_is_answered_in_order() {
    let started = Started::new().await;
    let producer = started.producer().await;
    let (mut read, mut write) = producer.raw.0.into_split();
    let sizes = [(SMALL_BYTES, 150), (LARGE_BYTES, 12), (SMALL_BYTES, 50)];
    let sizes = sizes.iter().flat_map(|(bytes, times)| std::iter::repeat_n(*bytes, *times));
    let mut sent = Vec::new();
    let mut bytes = Vec::new();
    for (number, size) in (producer.next..).zip(sizes) {
        let id = 100 + number as i32;
        bytes.extend_from_slice(&frame(9, id, &produce("t", 0..1, &value(number, size))));
        sent.push((id, number));
    }
    let sends = tokio::spawn(async move {
        let mut piece = 1;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            // From single bytes to many requests.
            let (now, later) = rest.split_at(piece.min(rest.len()));
            write.write_all(now).await.unwrap();
            rest = later;
            piece = piece * 7 % 70_001 + 1;
            if piece % 13 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        write
    });
    let mut least = 1;
    for (id, number) in &sent {
        let (header, response) = decode_response::<ProduceResponse>(9, next_frame(&mut read).await).unwrap();
        assert_eq!((header, offset_of(response)), (*id, Ok(*number)));
        least = least.min(started.taken());
    }
    assert_eq!(least, 0, "large requests are not for that thread");
    let mut write = sends.await.unwrap();
    let mut end = sent.last().unwrap().1 + 1;
    while started.taken() == 0 {
        write.write_all(&frame(9, 1, &produce("t", 0..1, &value(end, SMALL_BYTES)))).await.unwrap();
        let (_, response) = decode_response::<ProduceResponse>(9, next_frame(&mut read).await).unwrap();
        assert_eq!(offset_of(response), Ok(end));
        end += 1;
        assert!(end < 10_000, "it does not come back with small ones");
    }
    // What reads is not for that thread, and then it stays away.
    let asks = [frame(11, 1, &fetch("t", 1, end - 100)), frame(9, 2, &produce("t", 0..1, &value(end, SMALL_BYTES)))].concat();
    write.write_all(&asks).await.unwrap();
    let (id, fetched) = decode_response::<FetchResponse>(11, next_frame(&mut read).await).unwrap();
    // An answer may be shorter than what there is: how much of it are large records depends on how long the connection took to come back.
    let fetched = numbers(fetched);
    assert_eq!((id, fetched.first()), (1, Some(&(end - 100))));
    assert!(fetched.iter().copied().eq((end - 100..end).take(fetched.len())), "{fetched:?}");
    let (id, response) = decode_response::<ProduceResponse>(9, next_frame(&mut read).await).unwrap();
    assert_eq!((id, offset_of(response)), (2, Ok(end)));
    assert_eq!(started.taken(), 0);
    started.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_ends_there_leaves_nothing_behind() {
    let started = Started::new().await;
    // It closes its side, and is answered.
    let Producer { raw, next } = started.producer().await;
    let (mut read, mut write) = raw.0.into_split();
    for number in next..next + 5 {
        write.write_all(&frame(9, 7, &produce("t", 0..1, &value(number, SMALL_BYTES)))).await.unwrap();
    }
    write.shutdown().await.unwrap();
    for number in next..next + 5 {
        let (_, response) = decode_response::<ProduceResponse>(9, next_frame(&mut read).await).unwrap();
        assert_eq!(offset_of(response), Ok(number));
    }
    assert_eq!(read.read(&mut [0]).await.unwrap(), 0);
    started.wait_taken(0).await;
    // What cannot be a request closes it; so does a client that is simply gone.
    let mut garbage = started.next_producer(next + 5).await;
    garbage.raw.0.write_all(&[0, 0, 0, 8, 0, 0, 0x7f, 0xff, 0, 0, 0, 1]).await.unwrap();
    assert_eq!(garbage.raw.0.read(&mut [0]).await.unwrap(), 0);
    started.wait_taken(0).await;
    drop(started.next_producer(garbage.next).await);
    started.wait_taken(0).await;
    started.node.stop().await;
}

/// What a producer asks for beside producing is answered there; a node that stops answers what it took and does not wait for more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_stops_with_connections_on_the_thread_of_its_log() {
    let started = Started::new().await;
    let mut producer = started.producer().await;
    producer.raw.send(0, &ApiVersionsRequest::default()).await;
    assert_eq!(producer.raw.receive::<ApiVersionsRequest>(0).await.error_code, 0);
    assert_eq!(started.taken(), 1);
    producer.raw.send(7, &ListOffsetsRequest::default()).await;
    producer.raw.receive::<ListOffsetsRequest>(7).await;
    started.wait_taken(0).await;
    let mut last = started.next_producer(producer.next).await;
    last.raw.send(9, &produce("t", 0..1, &value(last.next, SMALL_BYTES))).await;
    assert_eq!(offset_of(last.raw.receive::<ProduceRequest>(9).await), Ok(last.next));
    let parts = std::sync::Arc::downgrade(started.node.parts());
    tokio::time::timeout(Duration::from_secs(10), started.node.stop()).await.unwrap();
    assert_eq!(last.raw.0.read(&mut [0]).await.unwrap_or(0), 0);
    for _ in 0..500 {
        if parts.strong_count() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} still hold its parts", parts.strong_count());
}
