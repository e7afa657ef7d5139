//! Commands about consumer groups. Every one but the claim carries the claim's epoch: the fold refuses a
//! coordinator that has been replaced (I9).

/// Takes a group's coordination for the sender. The epoch is the seq of the entry.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClaimGroup {
    /// The group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// The claim that the proposer saw; 0 for none. Refused if another is there.
    #[prost(uint64, tag = "2")]
    pub replaces: u64,
}

/// One protocol that a member offers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemberProtocol {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The member's metadata for it.
    #[prost(bytes = "bytes", tag = "2")]
    pub metadata: bytes::Bytes,
}

/// One member of a classic group.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GroupMember {
    /// The id that the coordinator gave.
    #[prost(string, tag = "1")]
    pub member_id: String,
    /// The static id (KIP-345), if it has one.
    #[prost(string, optional, tag = "2")]
    pub group_instance_id: Option<String>,
    /// From its requests.
    #[prost(string, tag = "3")]
    pub client_id: String,
    /// From its connection.
    #[prost(string, tag = "4")]
    pub client_host: String,
    /// In milliseconds.
    #[prost(int32, tag = "5")]
    pub session_timeout_ms: i32,
    /// In milliseconds.
    #[prost(int32, tag = "6")]
    pub rebalance_timeout_ms: i32,
    /// What it offers, in its order of preference.
    #[prost(message, repeated, tag = "7")]
    pub protocols: Vec<MemberProtocol>,
    /// What the leader gave it.
    #[prost(bytes = "bytes", tag = "8")]
    pub assignment: bytes::Bytes,
}

/// Stores a group's membership as a rebalance or a departure left it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StoreGroup {
    /// The group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// The claim's epoch.
    #[prost(uint64, tag = "2")]
    pub claim: u64,
    /// The generation that the sender saw; refused if it is another.
    #[prost(int32, tag = "3")]
    pub expected_generation: i32,
    /// The new generation, not lower.
    #[prost(int32, tag = "4")]
    pub generation: i32,
    /// `consumer`, `connect`, …; empty for a group of offsets alone.
    #[prost(string, tag = "5")]
    pub protocol_type: String,
    /// The assignor that was chosen.
    #[prost(string, tag = "6")]
    pub protocol_name: String,
    /// The leader's member id.
    #[prost(string, tag = "7")]
    pub leader: String,
    /// The members; none: the group is empty.
    #[prost(message, repeated, tag = "8")]
    pub members: Vec<GroupMember>,
    /// The assignments are in (Stable); else the members only hold a place (a rebalance had ended, the sync not).
    #[prost(bool, tag = "9")]
    pub stable: bool,
}

/// One committed offset.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CommittedOffset {
    /// Which topic.
    #[prost(bytes = "vec", tag = "1")]
    pub topic_id: Vec<u8>,
    /// Which partition.
    #[prost(int32, tag = "2")]
    pub partition: i32,
    /// The next offset to read.
    #[prost(int64, tag = "3")]
    pub offset: i64,
    /// As the client gave it; -1 for none.
    #[prost(sint32, tag = "4")]
    pub leader_epoch: i32,
    /// As the client gave it.
    #[prost(string, tag = "5")]
    pub metadata: String,
}

/// Commits offsets. Refused as Kafka refuses: unknown member, wrong generation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CommitOffsets {
    /// The group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// The claim's epoch.
    #[prost(uint64, tag = "2")]
    pub claim: u64,
    /// The member's generation; negative for a consumer that assigns itself.
    #[prost(sint32, tag = "3")]
    pub generation: i32,
    /// The member's id; empty for a consumer that assigns itself.
    #[prost(string, tag = "4")]
    pub member_id: String,
    /// The static id, if it has one.
    #[prost(string, optional, tag = "5")]
    pub group_instance_id: Option<String>,
    /// What.
    #[prost(message, repeated, tag = "6")]
    pub offsets: Vec<CommittedOffset>,
}

/// A partition in a group command.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupPartition {
    /// Which topic.
    #[prost(bytes = "vec", tag = "1")]
    pub topic_id: Vec<u8>,
    /// Which partition.
    #[prost(int32, tag = "2")]
    pub partition: i32,
}

/// Deletes committed offsets (KIP-496).
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteOffsets {
    /// The group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// The claim's epoch.
    #[prost(uint64, tag = "2")]
    pub claim: u64,
    /// Which.
    #[prost(message, repeated, tag = "3")]
    pub partitions: Vec<GroupPartition>,
}

/// Deletes a group with its offsets. Refused while it has members.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteGroup {
    /// The group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// The claim's epoch.
    #[prost(uint64, tag = "2")]
    pub claim: u64,
}

/// Forgets an idle group. Refused if anything of it changed since the proposer looked.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExpireGroup {
    /// The group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// The claim's epoch.
    #[prost(uint64, tag = "2")]
    pub claim: u64,
    /// The seq of its last change.
    #[prost(uint64, tag = "3")]
    pub last_changed: u64,
}
