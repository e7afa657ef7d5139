//! The cell's own state.

use strandline_types::{ChainHash, Incarnation, LeaseNumber, NodeId, Seq};

/// What is one for the whole cell.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CellState {
    /// Kafka's cluster id; empty before the first entry.
    pub cluster_id: String,
    /// 1, and one more with each rebuild.
    pub cell_epoch: u32,
    /// The rules that the fold follows.
    pub fold_version: u32,
    /// The last entry folded.
    pub seq: Seq,
    /// Its hash.
    pub hash: ChainHash,
    /// The largest time of any entry so far, in milliseconds: never falls.
    pub now_ms: i64,
    /// Names of objects whose seq lies below are refused.
    pub horizon: Seq,
    /// The bucket's copy of the log covers this.
    pub log_copied: Seq,
    /// The next producer id to give out.
    pub next_producer_id: i64,
    /// Raised whenever finalized features would change; Metadata and ApiVersions report it.
    pub features_epoch: i64,
    /// What is known of snapshots.
    pub snapshot: SnapshotState,
}

/// Snapshots that the log speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotState {
    /// The newest one written: seq, digest, key, fold version.
    pub written: Option<(Seq, [u8; 32], String, u32)>,
    /// The newest one that a second fold agreed to; only such a one may move the floor.
    pub agreed: Option<(Seq, [u8; 32], String, u32)>,
    /// A second fold found another digest: no trimming and no garbage collection until someone looks, and a newer snapshot is
    /// agreed to.
    pub disagreed: bool,
}

/// One live run of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRun {
    /// Its Kafka node id.
    pub node_id: NodeId,
    /// Its join's nonce.
    pub nonce: Vec<u8>,
    /// What it does: `Role` numbers.
    pub roles: Vec<i32>,
    /// Its zone.
    pub zone: String,
    /// The last n of its commits.
    pub last_n: u64,
    /// How far it has said to have folded.
    pub folded: Seq,
    /// The highest fold version it supports.
    pub fold_version_supported: u32,
}

/// A Kafka node id and its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The host that clients are told.
    pub host: String,
    /// The port that clients are told.
    pub port: u32,
    /// The zone.
    pub zone: String,
    /// Who has it now.
    pub holder: Option<Incarnation>,
}

/// A right to do one kind of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The seq of the entry that granted it.
    pub number: LeaseNumber,
    /// Who has it.
    pub holder: Incarnation,
}

/// A WAL segment that extents refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalObject {
    /// Size in bytes.
    pub size: u64,
    /// CRC-32C of all of it.
    pub crc32c: u32,
    /// How many extents refer to it.
    pub references: u64,
}

/// An object that nothing refers to any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// The seq that dropped its last reference.
    pub since: Seq,
    /// `now` at that seq; the grace counts from here.
    pub since_ms: i64,
    /// Its size in bytes, where known.
    pub size: u64,
}
