//! Commands about the cell itself: nodes, leases, snapshots.

/// Makes the cell. Accepted once, in entry 1.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateCell {
    /// Kafka's cluster id: 22 characters of URL-safe base64, as Kafka makes them.
    #[prost(string, tag = "1")]
    pub cluster_id: String,
    /// The fold version that the cell starts with.
    #[prost(uint32, tag = "2")]
    pub fold_version: u32,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Role {
    /// Takes records in.
    Ingest = 0,
    /// Serves them.
    Reader = 1,
    /// Makes bronze of them.
    Compactor = 2,
}

/// A node's run begins. The incarnation is the seq of the entry; at most one join an entry.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Join {
    /// Random, so that the joiner knows its own join again.
    #[prost(bytes = "vec", tag = "1")]
    pub nonce: Vec<u8>,
    /// The name that clients are told.
    #[prost(string, tag = "2")]
    pub host: String,
    /// The port that clients are told.
    #[prost(uint32, tag = "3")]
    pub port: u32,
    /// The node's zone; empty where zones do not matter.
    #[prost(string, tag = "4")]
    pub zone: String,
    /// What the node does.
    #[prost(enumeration = "Role", repeated, tag = "5")]
    pub roles: Vec<i32>,
    /// The highest fold version that the node can fold.
    #[prost(uint32, tag = "6")]
    pub fold_version_supported: u32,
    /// The joiner holds the lock of an embedded log: all earlier incarnations are dead, are declared gone by
    /// this command, and their slot and claims pass to the joiner.
    #[prost(bool, tag = "7")]
    pub sole: bool,
}

/// The sender's run ends: it has answered everything.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Leave {}

/// Declares a run over. Refused if the node has committed anything since.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeclareGone {
    /// Who.
    #[prost(uint64, tag = "1")]
    pub incarnation: u64,
    /// The last n that the proposer saw of it.
    #[prost(uint64, tag = "2")]
    pub last_n: u64,
}

/// The sender has folded up to here (deletion waits for it, and it counts as a sign of life).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Report {
    /// The seq.
    #[prost(uint64, tag = "1")]
    pub folded: u64,
}

/// Raises the fold version. Refused unless every live node supports it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RaiseFoldVersion {
    /// The new version.
    #[prost(uint32, tag = "1")]
    pub to: u32,
}

/// Work that one node at a time may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum LeaseKind {
    /// Extents to fresh segments, per topic.
    Convert = 0,
    /// Fresh to larger fresh segments, per topic.
    Merge = 1,
    /// Fresh to sealed, per topic.
    Seal = 2,
    /// Snapshots of the index, per cell.
    Snapshot = 3,
    /// Deletion of objects, per cell.
    Garbage = 4,
    /// Retention, per cell.
    Retention = 5,
}

/// Asks for a lease. Its number is the seq of the entry that grants it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TakeLease {
    /// What for.
    #[prost(enumeration = "LeaseKind", tag = "1")]
    pub kind: i32,
    /// The topic's id, or empty for the cell's own.
    #[prost(bytes = "vec", tag = "2")]
    pub scope: Vec<u8>,
    /// The lease that the proposer saw and found expired; 0 for none. Refused if another is held.
    #[prost(uint64, tag = "3")]
    pub replaces: u64,
}

/// Gives a lease back.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DropLease {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub lease: u64,
    /// What it was for.
    #[prost(enumeration = "LeaseKind", tag = "2")]
    pub kind: i32,
    /// Its scope.
    #[prost(bytes = "vec", tag = "3")]
    pub scope: Vec<u8>,
}

/// A snapshot was put. It counts only once a second fold agrees.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WroteSnapshot {
    /// The last entry that it holds.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// SHA-256 of the index's canonical encoding, 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
    /// Its key.
    #[prost(string, tag = "3")]
    pub key: String,
    /// The fold version under which it was made.
    #[prost(uint32, tag = "4")]
    pub fold_version: u32,
}

/// A second fold looked at a snapshot.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AgreeSnapshot {
    /// Which.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// The digest that the second fold found.
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
}

/// The bucket's copy of the log covers this seq: objects whose last reference went at or before it may go.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogCopied {
    /// The seq.
    #[prost(uint64, tag = "1")]
    pub to: u64,
}

/// The cell goes on from a snapshot and the log's copies: a new epoch, next offsets and the next producer id
/// moved up, open transactions aborted (I10). Accepted only as the first command of a rebuilt log.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Rebuilt {
    /// The new epoch.
    #[prost(uint32, tag = "1")]
    pub cell_epoch: u32,
}

/// Someone has looked at a disagreement about a snapshot, and a newer one was agreed to: trimming and garbage collection go on.
/// Refused unless the newest snapshot that was written is the one that was agreed to last, and is this one. Fold version 2.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClearDisagreement {
    /// The seq of that snapshot.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
}
