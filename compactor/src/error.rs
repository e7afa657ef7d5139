//! What can go wrong in a step of work, and what to do then.

use strandline_cell::{BarrierError, SubmitError};
use strandline_commit_log::{FloorError, ReadError, TrimError};
use strandline_index::Refusal;
use strandline_object_store::{DeleteError, GetError, HeadError, ListError, PutNewError, PutReplaceError};
use strandline_runtime::BlockingError;

/// What a caller of a failed step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Look at the index again and decide anew, in a moment: what the step saw has changed.
    LookAgain,
    /// Try again after a while: something outside failed.
    Later,
    /// Never the same again: an alarm for people. The topic is looked at again after a long while.
    Alarm,
    /// The node stops.
    Stop,
}

/// Why a step of the compactor did not do its work. Nothing is lost: every step can be done again by anyone.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// Another live node has the lease.
    #[error("another node holds the lease for this work")]
    LeaseElsewhere,
    /// The commit has no outcome.
    #[error("the commit has no outcome: {0}")]
    Submit(#[from] SubmitError),
    /// The fold refused the command.
    #[error("the fold refused the command: {0}")]
    Refused(#[from] Refusal),
    /// The fold answered something else than was asked.
    #[error("the fold gave an outcome that does not belong to {command}")]
    Outcome {
        /// What was asked.
        command: &'static str,
    },
    /// No barrier.
    #[error("no barrier: {0}")]
    Barrier(#[from] BarrierError),
    /// An object could not be put.
    #[error(transparent)]
    Put(#[from] PutNewError),
    /// A manifest could not be put.
    #[error(transparent)]
    Replace(#[from] PutReplaceError),
    /// An object could not be read.
    #[error(transparent)]
    Get(#[from] GetError),
    /// An object could not be looked at.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// An object could not be deleted.
    #[error(transparent)]
    Delete(#[from] DeleteError),
    /// A listing failed.
    #[error(transparent)]
    List(#[from] ListError),
    /// The commit log could not be read.
    #[error(transparent)]
    LogRead(#[from] ReadError),
    /// The floor was not raised.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// The log was not trimmed.
    #[error(transparent)]
    Trim(#[from] TrimError),
    /// Work on a thread did not end.
    #[error(transparent)]
    Blocking(#[from] BlockingError),
    /// The segment index failed.
    #[error("the segment index failed: {reason}")]
    SegmentIndex {
        /// What happened.
        reason: String,
        /// Trying again may help.
        retriable: bool,
    },
    /// Bytes that should be there could not be read.
    #[error("the bytes of topic {topic} partition {partition} from offset {start} could not be read: {reason}")]
    Extents {
        /// Whose.
        topic: String,
        /// Which partition.
        partition: i32,
        /// From where.
        start: i64,
        /// What happened.
        reason: String,
    },
    /// Not all that a seal was asked for is sealed: a conversion of the partition has failed, and is tried again later.
    #[error(
        "partition {partition} is in files up to offset {offset} only: what follows cannot be converted for now, see the node's log"
    )]
    HeldBack {
        /// Which partition.
        partition: i32,
        /// The first offset that is in no file.
        offset: i64,
    },
    /// A file could not be written: a bug, or no memory.
    #[error("the Parquet file {path} could not be written: {reason}")]
    Write {
        /// Which.
        path: String,
        /// What happened.
        reason: String,
    },
    /// Another node has put a newer manifest.
    #[error("another node has just written a newer {path}")]
    Overtaken {
        /// Which.
        path: String,
    },
    /// A file is there under a planned name and is not what was planned.
    #[error("the object {path} is not the file that was planned under this name: {reason}")]
    Foreign {
        /// Which.
        path: String,
        /// How that showed.
        reason: String,
    },
    /// The bucket's copy of the log does not come far enough, and another node is the one that makes it.
    #[error("the copy of the log stands at {copied}, {needed} is needed first")]
    NotCopied {
        /// Where it stands.
        copied: u64,
        /// What is needed.
        needed: u64,
    },
    /// Formats of the log that this build does not read.
    #[error("an entry of the log cannot be read: {0}")]
    Entry(#[from] strandline_commands::DecodeError),
    /// A snapshot could not be made or read back.
    #[error("the snapshot {key} cannot be used: {reason}")]
    Snapshot {
        /// Its key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The log was trimmed under this node.
    #[error("the log was trimmed under this node")]
    Trimmed,
}

impl WorkError {
    /// Another node's turn: it is waited for, and nothing is wrong.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Self::LeaseElsewhere | Self::NotCopied { .. })
    }

    /// The disk is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Put(error) => error.is_full(),
            Self::Replace(error) => error.is_full(),
            Self::Delete(error) => error.is_full(),
            _ => false,
        }
    }

    /// What to do.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Submit(SubmitError::Stopped) | Self::Barrier(BarrierError::Stopped) | Self::Trimmed => Retry::Stop,
            Self::Refused(Refusal::Malformed { .. }) | Self::Outcome { .. } | Self::Foreign { .. } | Self::Entry(_) => {
                Retry::Alarm
            }
            // A part of the index is full: other work makes room.
            Self::Refused(Refusal::Limit { .. }) => Retry::Later,
            Self::Refused(_) | Self::Overtaken { .. } => Retry::LookAgain,
            Self::Put(PutNewError::Taken { .. }) | Self::Write { .. } | Self::Snapshot { .. } => Retry::Alarm,
            // Not allowed, or not what this store does: people have to change that.
            Self::Put(PutNewError::Refused { .. })
            | Self::Replace(PutReplaceError::Refused { .. })
            | Self::Get(GetError::Refused { .. })
            | Self::Head(HeadError::Refused { .. })
            | Self::Delete(DeleteError::Refused { .. })
            | Self::List(ListError::Refused { .. }) => Retry::Alarm,
            Self::SegmentIndex { retriable: false, .. } | Self::LogRead(ReadError::Corrupt { .. }) => Retry::Alarm,
            Self::Floor(FloorError::Conflict { .. }) => Retry::LookAgain,
            _ => Retry::Later,
        }
    }
}
