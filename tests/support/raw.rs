//! Connections that speak frames, and say what they want to.

use bytes::Bytes;
use std::net::SocketAddr;
use strandline_wire::Request;
use strandline_wire::frame::{decode_response, encode_request};
use strandline_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use strandline_wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use strandline_wire::records::{BatchBuilder, BatchOptions, Compression};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const MIB: usize = 1 << 20;

/// A connection without any manners.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// What it does not read stays with the sender.
    pub async fn with_small_buffer(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        Self(socket.connect(address).await.unwrap())
    }

    pub async fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.0.write_all(&frame(version, 1, request)).await.unwrap();
    }

    pub async fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        decode_response(version, next_frame(&mut self.0).await).unwrap().1
    }
}

/// A request as it is sent.
pub fn frame<R: Request>(version: i16, correlation_id: i32, request: &R) -> Bytes {
    encode_request(version, correlation_id, Some("test"), request).into_bytes()
}

/// The next answer, without its length.
pub async fn next_frame(read: &mut (impl AsyncRead + Unpin)) -> Bytes {
    let length = read.read_u32().await.unwrap() as usize;
    let mut frame = vec![0; length];
    read.read_exact(&mut frame).await.unwrap();
    frame.into()
}

/// A batch of so many records with this value.
pub fn batch(value: &[u8], records: usize, compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    for _ in 0..records {
        builder.push_next(1_790_000_000_000, None, Some(value), &[]).unwrap();
    }
    builder.finish(None).unwrap()
}

/// Produces the batch to each of these partitions; all of them acknowledge.
pub fn produce(topic: &str, partitions: std::ops::Range<i32>, batch: &Bytes) -> ProduceRequest {
    let data = |index| PartitionProduceData { index, records: Some(batch.clone()) };
    let topic_data = vec![TopicProduceData {
        name: topic.to_owned(),
        partition_data: partitions.map(data).collect(),
        ..TopicProduceData::default()
    }];
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data, ..ProduceRequest::default() }
}

/// Fetches from partition 0 up to this many, 50 MiB of each.
pub fn fetch(topic: &str, partitions: i32, offset: i64) -> FetchRequest {
    let partition = |partition| FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 50 * MIB as i32,
        ..FetchPartition::default()
    };
    FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 * MIB as i32,
        topics: vec![FetchTopic {
            topic: topic.to_owned(),
            partitions: (0..partitions).map(partition).collect(),
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}
