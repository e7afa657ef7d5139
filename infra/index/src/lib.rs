//! The index and the fold.
//!
//! [`Index::fold`] is the one way in which anything changes. It is pure (I3): no I/O, no clock, no randomness, no
//! configuration from outside, no panic; two nodes that folded the same entries hold the same index, byte for byte, and
//! [`digest`] says so (I2). Nothing happens because time has passed: every expiry is a command.
//!
//! What it must never do: act on a name (everything is keyed by id), iterate in hash order, use a float, or let a
//! part of the index grow without a bound (I11).

mod fold;
mod outcome;
mod snapshot;
mod state;

pub use fold::FOLD_VERSION;
pub use outcome::{BatchOutcome, CommitOutcome, FoldError, Folded, Outcome, Refusal};
pub use snapshot::{SNAPSHOT_VERSION, SnapshotError, decode_snapshot, digest, digest_of, encode_snapshot};
pub use state::{
    AbortedTransaction, CellState, Claim, DroppedTopic, Extent, ExtentPlace, Fill, Format, FreshRange, FreshSegment, Garbage,
    Group, GroupOffset, Index, Lease, MarkerKind, NodeRun, Partition, Plan, Producer, ProducerPartition, RecentBatch,
    SealedObject, Slot, SnapshotState, Topic, WalObject,
};
