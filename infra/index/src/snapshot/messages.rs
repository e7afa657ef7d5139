//! The Protobuf of a snapshot. Tags are for ever.

use prost::Message;
use strandline_commands::{FileRange, GroupMember, NewFile};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Snapshot {
    #[prost(message, optional, tag = "1")]
    pub(super) cell: Option<Cell>,
    #[prost(message, repeated, tag = "2")]
    pub(super) nodes: Vec<Node>,
    #[prost(message, repeated, tag = "3")]
    pub(super) slots: Vec<SlotMessage>,
    #[prost(message, repeated, tag = "4")]
    pub(super) leases: Vec<LeaseMessage>,
    #[prost(message, repeated, tag = "5")]
    pub(super) topics: Vec<TopicMessage>,
    #[prost(message, repeated, tag = "6")]
    pub(super) dropped: Vec<Dropped>,
    #[prost(message, repeated, tag = "7")]
    pub(super) producers: Vec<ProducerMessage>,
    #[prost(message, repeated, tag = "8")]
    pub(super) groups: Vec<GroupMessage>,
    #[prost(message, repeated, tag = "9")]
    pub(super) wal_objects: Vec<WalObjectMessage>,
    #[prost(message, repeated, tag = "10")]
    pub(super) garbage: Vec<GarbageMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Cell {
    #[prost(string, tag = "1")]
    pub(super) cluster_id: String,
    #[prost(uint32, tag = "2")]
    pub(super) cell_epoch: u32,
    #[prost(uint32, tag = "3")]
    pub(super) fold_version: u32,
    #[prost(uint64, tag = "4")]
    pub(super) seq: u64,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) hash: Vec<u8>,
    #[prost(int64, tag = "6")]
    pub(super) now_ms: i64,
    #[prost(uint64, tag = "7")]
    pub(super) horizon: u64,
    #[prost(uint64, tag = "8")]
    pub(super) log_copied: u64,
    #[prost(int64, tag = "9")]
    pub(super) next_producer_id: i64,
    #[prost(int64, tag = "10")]
    pub(super) features_epoch: i64,
    #[prost(message, optional, tag = "11")]
    pub(super) snapshot_written: Option<SnapshotName>,
    #[prost(message, optional, tag = "12")]
    pub(super) snapshot_agreed: Option<SnapshotName>,
    #[prost(bool, tag = "13")]
    pub(super) snapshot_disagreed: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SnapshotName {
    #[prost(uint64, tag = "1")]
    pub(super) seq: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) digest: Vec<u8>,
    #[prost(string, tag = "3")]
    pub(super) key: String,
    #[prost(uint32, tag = "4")]
    pub(super) fold_version: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(uint64, tag = "1")]
    pub(super) incarnation: u64,
    #[prost(int32, tag = "2")]
    pub(super) node_id: i32,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) nonce: Vec<u8>,
    #[prost(int32, repeated, tag = "4")]
    pub(super) roles: Vec<i32>,
    #[prost(string, tag = "5")]
    pub(super) zone: String,
    #[prost(uint64, tag = "6")]
    pub(super) last_n: u64,
    #[prost(uint64, tag = "7")]
    pub(super) folded: u64,
    #[prost(uint32, tag = "8")]
    pub(super) fold_version_supported: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SlotMessage {
    #[prost(int32, tag = "1")]
    pub(super) node_id: i32,
    #[prost(string, tag = "2")]
    pub(super) host: String,
    #[prost(uint32, tag = "3")]
    pub(super) port: u32,
    #[prost(string, tag = "4")]
    pub(super) zone: String,
    #[prost(uint64, optional, tag = "5")]
    pub(super) holder: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LeaseMessage {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) scope: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub(super) number: u64,
    #[prost(uint64, tag = "4")]
    pub(super) holder: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TopicMessage {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) id: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(int32, tag = "3")]
    pub(super) replication_factor: i32,
    #[prost(btree_map = "string, string", tag = "4")]
    pub(super) configs: std::collections::BTreeMap<String, String>,
    #[prost(uint64, tag = "5")]
    pub(super) created: u64,
    #[prost(message, repeated, tag = "6")]
    pub(super) partitions: Vec<PartitionMessage>,
    #[prost(uint32, tag = "7")]
    pub(super) key_format: u32,
    #[prost(uint32, tag = "8")]
    pub(super) value_format: u32,
    #[prost(message, repeated, tag = "9")]
    pub(super) fresh: Vec<FreshMessage>,
    #[prost(message, repeated, tag = "10")]
    pub(super) plans: Vec<PlanMessage>,
    #[prost(uint64, tag = "11")]
    pub(super) bronze_changed: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PartitionMessage {
    #[prost(int64, tag = "1")]
    pub(super) next_offset: i64,
    #[prost(int64, tag = "2")]
    pub(super) log_start: i64,
    #[prost(int64, tag = "3")]
    pub(super) frontier: i64,
    #[prost(int64, tag = "4")]
    pub(super) sealed_end: i64,
    #[prost(message, repeated, tag = "5")]
    pub(super) extents: Vec<ExtentMessage>,
    #[prost(message, repeated, tag = "6")]
    pub(super) fresh: Vec<FreshRangeMessage>,
    #[prost(message, repeated, tag = "7")]
    pub(super) producers: Vec<ProducerPartitionMessage>,
    #[prost(message, repeated, tag = "8")]
    pub(super) aborted: Vec<AbortedMessage>,
    #[prost(btree_map = "int64, int64", tag = "9")]
    pub(super) open_transactions: std::collections::BTreeMap<i64, i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Name {
    #[prost(uint64, tag = "1")]
    pub(super) seq: u64,
    #[prost(uint64, tag = "2")]
    pub(super) incarnation: u64,
    #[prost(uint64, tag = "3")]
    pub(super) n: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExtentMessage {
    #[prost(int64, tag = "1")]
    pub(super) start: i64,
    #[prost(int64, tag = "2")]
    pub(super) end: i64,
    /// 1 inline, 2 in an object, 3 commit marker, 4 abort marker, 5 hole.
    #[prost(uint32, tag = "3")]
    pub(super) place: u32,
    #[prost(uint64, tag = "4")]
    pub(super) seq: u64,
    #[prost(message, optional, tag = "5")]
    pub(super) object: Option<Name>,
    #[prost(uint64, tag = "6")]
    pub(super) position: u64,
    #[prost(uint64, tag = "7")]
    pub(super) length: u64,
    #[prost(int64, tag = "8")]
    pub(super) ingest_ms: i64,
    #[prost(bool, tag = "9")]
    pub(super) log_append_time: bool,
    #[prost(sint64, tag = "10")]
    pub(super) max_timestamp_ms: i64,
    #[prost(sint64, tag = "11")]
    pub(super) max_timestamp_offset: i64,
    #[prost(sint64, tag = "12")]
    pub(super) producer_id: i64,
    #[prost(sint32, tag = "13")]
    pub(super) producer_epoch: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FreshRangeMessage {
    #[prost(int64, tag = "1")]
    pub(super) start: i64,
    #[prost(int64, tag = "2")]
    pub(super) end: i64,
    #[prost(message, optional, tag = "3")]
    pub(super) segment: Option<Name>,
    #[prost(sint64, tag = "4")]
    pub(super) max_timestamp_ms: i64,
    #[prost(sint64, tag = "5")]
    pub(super) max_timestamp_offset: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ProducerPartitionMessage {
    #[prost(int64, tag = "1")]
    pub(super) producer_id: i64,
    #[prost(int32, tag = "2")]
    pub(super) epoch: i32,
    #[prost(message, repeated, tag = "3")]
    pub(super) batches: Vec<RecentMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RecentMessage {
    #[prost(int32, tag = "1")]
    pub(super) first_sequence: i32,
    #[prost(int32, tag = "2")]
    pub(super) last_sequence: i32,
    #[prost(int64, tag = "3")]
    pub(super) base_offset: i64,
    #[prost(int64, tag = "4")]
    pub(super) append_time_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AbortedMessage {
    #[prost(int64, tag = "1")]
    pub(super) producer_id: i64,
    #[prost(int64, tag = "2")]
    pub(super) first_offset: i64,
    #[prost(int64, tag = "3")]
    pub(super) last_offset: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FreshMessage {
    #[prost(message, optional, tag = "1")]
    pub(super) file: Option<NewFile>,
    #[prost(uint64, tag = "2")]
    pub(super) since: u64,
    #[prost(int64, tag = "3")]
    pub(super) since_ms: i64,
    #[prost(string, optional, tag = "4")]
    pub(super) plan: Option<String>,
    #[prost(uint64, tag = "5")]
    pub(super) live_ranges: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PlanMessage {
    #[prost(string, tag = "1")]
    pub(super) path: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) inputs: Vec<Name>,
    #[prost(message, repeated, tag = "3")]
    pub(super) ranges: Vec<FileRange>,
    #[prost(sint32, tag = "4")]
    pub(super) ingest_day: i32,
    #[prost(uint64, tag = "5")]
    pub(super) since: u64,
    #[prost(message, optional, tag = "6")]
    pub(super) file: Option<NewFile>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Dropped {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) id: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(uint64, tag = "3")]
    pub(super) since: u64,
    #[prost(int64, tag = "4")]
    pub(super) since_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ProducerMessage {
    #[prost(int64, tag = "1")]
    pub(super) producer_id: i64,
    #[prost(int32, tag = "2")]
    pub(super) epoch: i32,
    #[prost(uint64, tag = "3")]
    pub(super) last_active: u64,
    #[prost(int64, tag = "4")]
    pub(super) last_active_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GroupMessage {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(uint64, optional, tag = "2")]
    pub(super) claim_epoch: Option<u64>,
    #[prost(uint64, tag = "3")]
    pub(super) claim_holder: u64,
    #[prost(int32, tag = "4")]
    pub(super) generation: i32,
    #[prost(string, tag = "5")]
    pub(super) protocol_type: String,
    #[prost(string, tag = "6")]
    pub(super) protocol_name: String,
    #[prost(string, tag = "7")]
    pub(super) leader: String,
    #[prost(message, repeated, tag = "8")]
    pub(super) members: Vec<GroupMember>,
    #[prost(bool, tag = "9")]
    pub(super) stable: bool,
    #[prost(message, repeated, tag = "10")]
    pub(super) offsets: Vec<OffsetMessage>,
    #[prost(uint64, tag = "11")]
    pub(super) last_changed: u64,
    #[prost(int64, tag = "12")]
    pub(super) last_changed_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OffsetMessage {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) topic_id: Vec<u8>,
    #[prost(int32, tag = "2")]
    pub(super) partition: i32,
    #[prost(int64, tag = "3")]
    pub(super) offset: i64,
    #[prost(sint32, tag = "4")]
    pub(super) leader_epoch: i32,
    #[prost(string, tag = "5")]
    pub(super) metadata: String,
    #[prost(int64, tag = "6")]
    pub(super) committed_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WalObjectMessage {
    #[prost(message, optional, tag = "1")]
    pub(super) name: Option<Name>,
    #[prost(uint64, tag = "2")]
    pub(super) size: u64,
    #[prost(fixed32, tag = "3")]
    pub(super) crc32c: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GarbageMessage {
    #[prost(string, tag = "1")]
    pub(super) path: String,
    #[prost(uint64, tag = "2")]
    pub(super) since: u64,
    #[prost(int64, tag = "3")]
    pub(super) since_ms: i64,
    #[prost(uint64, tag = "4")]
    pub(super) size: u64,
}
