//! A small Kafka client in pure Rust: for our command line, the demo, the load generator and simulations. It speaks to
//! Apache Kafka as to Strandline.
//!
//! What it must never do:
//! - touch the global clock, random numbers, tasks or network: all are injected, so that whole clients run in a
//!   simulation ([`Connect`] is the network);
//! - wait for ever or buffer without bound (I11): requests, connections, deliveries and operations end in time, frames
//!   and a producer's buffer have a bound in bytes;
//! - write a record twice or out of order, unless idempotence is switched off (KIP-98, KIP-360);
//! - say that a record is delivered before the broker said so.
//!
//! [`Client`] knows the cluster; [`Admin`], [`Producer`] and [`Consumer`] come from it. Every error says what was tried and
//! [whether to try again](ClientError::retry).

mod admin;
mod client;
mod cluster;
mod connect;
mod connection;
mod consumer;
mod coordinator;
mod error;
mod notice;
mod options;
mod pool;
mod producer;
mod wait;

pub use admin::{
    Admin, CommittedOffset, ConfigChange, ConfigEntry, ConfigSource, CreatedTopic, DescribedGroup, GroupMember, Isolation,
    ListedGroup, ListedOffset, NewTopic, OffsetAt, OffsetChange, PartitionName, ResetTo, Resource,
};
pub use client::Client;
pub use cluster::{Broker, Cluster, Partition, Topic};
pub use connect::{Connect, Stream, TcpConnect};
pub use connection::{Answer, Connection};
pub use consumer::{
    Assignor, ConsumedRecord, Consumer, ConsumerOptions, Fetched, FetchedPartition, MemberSubscription, Progress, StartAt, assign,
};
pub use error::{ClientError, ConnectionError, Retry};
pub use notice::Notice;
pub use options::ClientOptions;
pub use producer::{Acknowledged, Acks, Delivery, Producer, ProducerOptions, ProducerRecord, murmur2, partition_of_key};
pub use strandline_types::HeaderRef;
pub use strandline_wire::records::Compression;
