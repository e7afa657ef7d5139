//! The producer: batches per partition, idempotent unless told otherwise, back-pressure by bytes.

mod accumulator;
mod batch;
mod delivery;
mod dispatch;
mod partition;
mod partitioner;
mod sender;

pub use delivery::{Acknowledged, Delivery};
pub use partitioner::{murmur2, partition_of_key};

use crate::client::Client;
use crate::error::ClientError;
use accumulator::{Accumulator, Appended};
use sender::Sender;
use std::sync::Arc;
use std::time::Duration;
use strandline_types::{HeaderRef, limits};
use strandline_wire::records::{BatchBuilder, Compression};
use tokio_util::sync::{CancellationToken, DropGuard};

/// When a record counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// Once it is written to the connection.
    None,
    /// Once the leader has it.
    Leader,
    /// Once all in-sync replicas have it; on Strandline the same as [`Acks::Leader`]: durable.
    #[default]
    All,
}

impl Acks {
    const fn wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// Settings of a producer.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// When a record counts as delivered.
    pub acks: Acks,
    /// Whether a retry can never write a record twice or out of order (KIP-98); only with [`Acks::All`].
    pub idempotent: bool,
    /// The codec of batches.
    pub compression: Compression,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// A batch is sent once it has this many bytes, before compression.
    pub batch_bytes: usize,
    /// Bytes of records that may wait; then `send` waits.
    pub buffer_bytes: usize,
    /// How long a record may take from `send` on before it fails.
    pub delivery_timeout: Duration,
    /// Produce requests in flight per broker; at most five when idempotent.
    pub in_flight: usize,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotent: true,
            compression: Compression::None,
            linger: Duration::from_millis(5),
            batch_bytes: 128 << 10,
            buffer_bytes: limits::CLIENT_BUFFER_BYTES,
            delivery_timeout: Duration::from_secs(120),
            in_flight: limits::CLIENT_PRODUCE_IN_FLIGHT,
        }
    }
}

/// A record to send, borrowed: it is copied into its batch at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProducerRecord<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition; `None` is by key, or any without a key.
    pub partition: Option<i32>,
    /// The key; null is not empty.
    pub key: Option<&'a [u8]>,
    /// The value; null (a tombstone) is not empty.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: &'a [HeaderRef<'a>],
    /// Milliseconds since 1970, UTC; `None` is now.
    pub timestamp_ms: Option<i64>,
}

/// A producer; cheap to clone. When the last clone is dropped, what was not acknowledged fails: [`Self::close`] first.
#[derive(Clone)]
pub struct Producer {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    accumulator: Arc<Accumulator>,
    _stop: DropGuard,
}

impl Producer {
    pub(crate) fn new(client: Client, options: ProducerOptions) -> Self {
        let stop = CancellationToken::new();
        let accumulator = Arc::new(Accumulator::new(client.runtime().clone(), options));
        let sender = Sender::new(client.clone(), accumulator.clone(), stop.clone());
        client.runtime().spawner.spawn("client producer", sender.run());
        Self { inner: Arc::new(Inner { client, accumulator, _stop: stop.drop_guard() }) }
    }

    /// Puts a record into its batch. Waits while the buffer is full, and for the topic's partitions the first time.
    /// Records of one caller to one partition keep their order.
    ///
    /// # Errors
    /// The topic or partition does not exist, the record is too large, or the producer is closed.
    pub async fn send(&self, record: ProducerRecord<'_>) -> Result<Delivery, ClientError> {
        let accumulator = &self.inner.accumulator;
        let bytes = BatchBuilder::record_bytes(record.key, record.value, record.headers);
        accumulator.admit(bytes).await?.forget();
        // From here on the bytes are the batch's to give back; until it has them, they are given back here.
        let mut admitted = Admitted { accumulator, bytes };
        loop {
            match accumulator.append(&record, bytes) {
                Ok(Appended::In(delivery)) => {
                    admitted.bytes = 0;
                    return Ok(delivery);
                }
                Ok(Appended::UnknownTopic) => {
                    let topic = self.inner.client.topic(record.topic).await?;
                    accumulator.learn(&topic);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends everything that waits, without lingering, and waits until each of those records is acknowledged or failed.
    ///
    /// # Errors
    /// The first failure among them.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let (_flushing, waiting) = self.inner.accumulator.begin_flush();
        let mut first = Ok(());
        for completion in waiting {
            if let Err(error) = completion.wait().await {
                first = first.and(Err(error.clone()));
            }
        }
        first
    }

    /// Flushes, then refuses more records.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub async fn close(&self) -> Result<(), ClientError> {
        let result = self.flush().await;
        self.inner.accumulator.close();
        result
    }

    /// Bytes of records that are not acknowledged yet.
    pub fn buffered_bytes(&self) -> usize {
        self.inner.accumulator.buffered_bytes()
    }
}

/// Gives admitted bytes back unless a batch took them.
struct Admitted<'a> {
    accumulator: &'a Accumulator,
    bytes: usize,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.accumulator.release(self.bytes);
    }
}
