//! The seam itself.

use crate::{Entry, Row};
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use strandline_types::Seq;

/// The snapshot that a floor names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRef {
    /// The last entry that the snapshot holds.
    pub seq: Seq,
    /// Its key in the object store.
    pub key: String,
    /// SHA-256 of the index's canonical encoding.
    pub digest: [u8; 32],
}

/// The lowest seq that is still to be read, and the snapshot to start from. Written conditionally, never lowered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// Entries from here on can be read.
    pub seq: Seq,
    /// None while the log reaches back to entry 1.
    pub snapshot: Option<SnapshotRef>,
}

impl Floor {
    /// Whether a floor may move from here to `to` in a log whose next seq is `next`: never down, never past the
    /// end, and only to where a snapshot of stored entries reaches.
    pub fn may_move_to(&self, to: &Floor, next: Seq) -> bool {
        let reached = match &to.snapshot {
            Some(snapshot) => snapshot.seq.next() >= to.seq && snapshot.seq < next,
            None => to.seq <= Seq(1) && self.snapshot.is_none(),
        };
        let snapshot_seq = |floor: &Floor| floor.snapshot.as_ref().map_or(Seq::ZERO, |snapshot| snapshot.seq);
        to.seq >= self.seq && to.seq <= next && snapshot_seq(to) >= snapshot_seq(self) && reached
    }
}

impl Default for Floor {
    fn default() -> Self {
        Self { seq: Seq(1), snapshot: None }
    }
}

/// What a read finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// Rows from the asked seq on, without a gap; empty at the head.
    Rows {
        /// The rows.
        rows: Vec<Row>,
        /// The last seq of the log when the read was made. Rows may stop before it (`max_bytes`).
        head: Seq,
        /// The store's time of day, where it tells one.
        store_time_ms: Option<i64>,
    },
    /// The asked seq lies below the floor: join anew from its snapshot.
    Trimmed {
        /// The floor.
        floor: Floor,
    },
}

/// Why an append did not (surely) happen.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another entry is at that seq. Fold it and append at the next.
    #[error("another entry is at seq {}", winner.seq)]
    Conflict {
        /// The entry that is there, without its payload.
        winner: Row,
    },
    /// `at` lies beyond the log's next seq: only a node that has folded n-1 appends at n.
    #[error("the log's next seq is {next}, not {at}")]
    Gap {
        /// What was asked.
        at: Seq,
        /// Where the log goes on.
        next: Seq,
    },
    /// The entry may or may not be there. Read, or append the same bytes at the same seq again.
    #[error("it is not known whether the append took effect: {reason}")]
    Ambiguous {
        /// What happened.
        reason: String,
    },
    /// Surely not written; the store has no room. Produce is refused, deletes go on.
    #[error("no room for the log: {reason}")]
    Full {
        /// What happened.
        reason: String,
    },
    /// Surely not written; trying again later may help.
    #[error("the log could not be written: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// The entry breaks a limit; never try it again.
    #[error("an entry of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The log can no longer be trusted in this process (failed fsync). End the process.
    #[error("the log has failed and the process must end: {reason}")]
    Fatal {
        /// What happened.
        reason: String,
    },
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Try again.
    #[error("the log could not be read: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// What is there is not what was written. Stop; never skip.
    #[error("the log is corrupt at {place}: {reason}")]
    Corrupt {
        /// Where.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The payload is not there any more (below the floor).
    #[error("entry {seq} is no longer in the log")]
    Gone {
        /// What was asked.
        seq: Seq,
    },
}

/// Why the floor was not raised.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// The floor is not the expected one; look again.
    #[error("the floor is at {} already", found.seq)]
    Conflict {
        /// What it is.
        found: Floor,
    },
    /// The new floor lies below the expected one or above the log's next seq, or no snapshot reaches up to it
    /// (then nobody could start).
    #[error("the floor cannot move from {from} to {to}")]
    Refused {
        /// From.
        from: Seq,
        /// To.
        to: Seq,
    },
    /// Try again.
    #[error("the floor could not be written: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
}

/// Why a trim was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum TrimError {
    /// Raise the floor first.
    #[error("entries up to {below} cannot go while the floor is at {floor}")]
    AboveFloor {
        /// What was asked.
        below: Seq,
        /// The floor.
        floor: Seq,
    },
    /// Try again.
    #[error("the log could not be trimmed: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
}

/// Whether the bytes of a read are likely to be read again soon. A hint: it decides what stays in the system's page cache, never what is
/// answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAgain {
    /// They may be.
    Maybe,
    /// Whoever asks is the last for a while.
    No,
}

/// Linearizable: at most one entry is ever stored at a seq. Seqs start at 1.
#[async_trait]
pub trait CommitLog: Send + Sync + 'static {
    /// Appends at `at`. `Ok` only when the entry is durable. `at` must be the log's next seq, else `Gap` or `Conflict`
    /// (with the row that is there; a row below the floor may be gone, then `Conflict` is not possible and the
    /// answer is `Gap`).
    async fn append(&self, at: Seq, entry: Entry) -> Result<(), AppendError>;

    /// Strongly consistent: sees every append that returned before the read began. Rows first and then the floor.
    /// At least one row if there is any, then as many as `max_bytes` allows.
    async fn read(&self, from: Seq, max_bytes: usize) -> Result<Tail, ReadError>;

    /// The bytes at `range` of the payload that rode inline in entry `at`.
    async fn read_payload(&self, at: Seq, range: Range<u64>) -> Result<Bytes, ReadError>;

    /// The same for several, in their order; the first failure is the answer. An implementation for which a read costs less than handing
    /// it to a thread does them together.
    async fn read_payloads(&self, reads: Vec<(Seq, Range<u64>)>, _again: ReadAgain) -> Result<Vec<Bytes>, ReadError> {
        let mut found = Vec::with_capacity(reads.len());
        for (at, range) in reads {
            found.push(self.read_payload(at, range).await?);
        }
        Ok(found)
    }

    /// The floor.
    async fn floor(&self) -> Result<Floor, ReadError>;

    /// Raises the floor from `expected` to `to`.
    async fn raise_floor(&self, expected: Floor, to: Floor) -> Result<(), FloorError>;

    /// Lets go of entries below `below`, which must not lie above the floor. An implementation may keep more.
    async fn trim(&self, below: Seq) -> Result<(), TrimError>;

    /// Payload of any size may ride inline (embedded: one sequential write is the whole commit).
    fn takes_any_payload(&self) -> bool;

    /// Whether there is room for records. Without, Produce is refused while small entries go on.
    fn has_room(&self) -> bool {
        true
    }

    /// The disk is full and something that frees space needs some: lets the log's reserve go, if it has one.
    fn release_reserve(&self) -> bool {
        false
    }

    /// Nothing was appended for a while: what is kept in memory only to be at hand may go.
    fn let_go(&self) {}

    /// Closes cleanly, so that the next start has nothing to recover. Appends after it fail.
    async fn close(&self) -> Result<(), AppendError>;
}
