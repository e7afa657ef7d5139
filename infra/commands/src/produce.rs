//! Commands about records and producers.

/// A run of batches of one partition, as they lie in the payload or in an object.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Produce {
    /// Which topic.
    #[prost(bytes = "vec", tag = "1")]
    pub topic_id: Vec<u8>,
    /// Which partition.
    #[prost(int32, tag = "2")]
    pub partition: i32,
    /// 0: inline, in this commit's payload; i: the commit's i-th new object.
    #[prost(uint32, tag = "3")]
    pub object: u32,
    /// Where the first batch begins there.
    #[prost(uint64, tag = "4")]
    pub position: u64,
    /// The batches, one after the other without a gap.
    #[prost(message, repeated, tag = "5")]
    pub batches: Vec<Batch>,
}

impl Produce {
    /// Bytes of all batches.
    pub fn bytes(&self) -> u64 {
        self.batches.iter().map(|batch| u64::from(batch.length)).sum()
    }
}

/// What the fold has to know of a batch. Validated against its bytes at the door.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Batch {
    /// Its bytes, header included.
    #[prost(uint32, tag = "1")]
    pub length: u32,
    /// Offsets it takes, less one.
    #[prost(uint32, tag = "2")]
    pub last_offset_delta: u32,
    /// The producer; -1 for none.
    #[prost(sint64, tag = "3")]
    pub producer_id: i64,
    /// Its epoch; -1 for none.
    #[prost(sint32, tag = "4")]
    pub producer_epoch: i32,
    /// Its first sequence; -1 for none.
    #[prost(sint32, tag = "5")]
    pub base_sequence: i32,
    /// Kafka's attribute bits.
    #[prost(uint32, tag = "6")]
    pub attributes: u32,
    /// The largest timestamp, in milliseconds; -1 for none.
    #[prost(sint64, tag = "7")]
    pub max_timestamp_ms: i64,
    /// Which record, from 0, is the first with that timestamp.
    #[prost(uint32, tag = "8")]
    pub max_timestamp_delta: u32,
    /// The smallest timestamp, in milliseconds; -1 for none.
    #[prost(sint64, tag = "9")]
    pub min_timestamp_ms: i64,
}

/// Asks for a producer id, or for the next epoch of one (KIP-360).
#[derive(Clone, PartialEq, prost::Message)]
pub struct InitProducer {
    /// -1: a new id. Else the id whose epoch is to rise.
    #[prost(sint64, tag = "1")]
    pub producer_id: i64,
    /// The epoch that the producer has; -1 with a new id.
    #[prost(sint32, tag = "2")]
    pub producer_epoch: i32,
}

/// One idle producer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExpireProducer {
    /// Which.
    #[prost(sint64, tag = "1")]
    pub producer_id: i64,
    /// The seq of its last activity, as the proposer saw it; kept if there was activity since.
    #[prost(uint64, tag = "2")]
    pub last_active: u64,
}

/// Forgets idle producers.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExpireProducers {
    /// Which.
    #[prost(message, repeated, tag = "1")]
    pub producers: Vec<ExpireProducer>,
}
