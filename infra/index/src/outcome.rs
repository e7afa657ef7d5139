//! What became of a command: what the client is told (I4).

use strandline_commands::FileRange;
use strandline_types::{Incarnation, LeaseNumber, NodeId, Seq, TopicPartition};

/// Why the fold refused a command. Deterministic; trying the same again helps only where it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such topic (any more).
    #[error("the topic does not exist")]
    UnknownTopic,
    /// No such partition.
    #[error("the partition does not exist")]
    UnknownPartition,
    /// The name is taken.
    #[error("a topic of that name exists already")]
    TopicExists,
    /// Partitions can only grow.
    #[error("the topic has {current} partitions already")]
    InvalidPartitions {
        /// How many there are.
        current: i32,
    },
    /// A bound of the index (I11) is reached.
    #[error("the cell holds no more {what}")]
    Limit {
        /// Of what.
        what: &'static str,
    },
    /// Another offset than the producer's next.
    #[error("the sequence number is out of order")]
    OutOfOrderSequence,
    /// A newer epoch of this producer is known.
    #[error("the producer epoch is fenced")]
    InvalidProducerEpoch,
    /// The producer id was not given out, or was forgotten.
    #[error("the producer id is unknown")]
    UnknownProducer,
    /// Below the log start or beyond the high watermark.
    #[error("the offset is out of range")]
    OffsetOutOfRange,
    /// The group is not known.
    #[error("the group does not exist")]
    UnknownGroup,
    /// The group has members.
    #[error("the group is not empty")]
    GroupNotEmpty,
    /// The claim is not (any more) the sender's: another node coordinates the group.
    #[error("another node coordinates the group")]
    NotCoordinator,
    /// No such member.
    #[error("the member is unknown to the group")]
    UnknownMember,
    /// Another generation.
    #[error("the generation is not the group's")]
    IllegalGeneration,
    /// Another member has this static id now.
    #[error("the static member was replaced")]
    FencedInstance,
    /// The lease is not (any more) the sender's. Drop the work; whoever has the lease does it again.
    #[error("the lease is not held")]
    LeaseLost,
    /// What the command names has changed since its proposer looked: look again.
    #[error("superseded: {what}")]
    Superseded {
        /// What changed.
        what: &'static str,
    },
    /// The object's name lies below the horizon: it may be deleted already. PUT it again under a new name.
    #[error("the object's name lies below the horizon")]
    BelowHorizon,
    /// The command makes no sense (a bug of its sender, or an unknown version of it).
    #[error("malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
}

impl Refusal {
    /// The cell is too full for more batches at the moment; conversion and collection make room.
    pub fn is_back_pressure(&self) -> bool {
        matches!(self, Self::Limit { what: "extents" | "garbage" })
    }
}

/// What became of one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchOutcome {
    /// It is in the log.
    Appended {
        /// Its first offset.
        base_offset: i64,
        /// Its entry's time.
        append_time_ms: i64,
        /// The log start, for the answer.
        log_start: i64,
    },
    /// It was in the log already.
    Duplicate {
        /// Its first offset there.
        base_offset: i64,
        /// Its entry's time there.
        append_time_ms: i64,
        /// The log start, for the answer.
        log_start: i64,
    },
    /// It is not in the log.
    Refused(Refusal),
}

/// What became of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done; nothing more to tell.
    Done,
    /// Not done, and nothing of it.
    Refused(Refusal),
    /// A node joined.
    Joined {
        /// Its run.
        incarnation: Incarnation,
        /// Its Kafka node id.
        node_id: NodeId,
    },
    /// A lease was granted.
    Leased(LeaseNumber),
    /// Per batch.
    Produced(Vec<BatchOutcome>),
    /// A producer id or a new epoch.
    Producer {
        /// The id.
        producer_id: i64,
        /// The epoch.
        producer_epoch: i32,
    },
    /// The log start now.
    LogStart(i64),
    /// A claim was taken; its epoch.
    Claimed(Seq),
    /// Offsets were committed or deleted, except for partitions that do not exist (any more).
    Offsets {
        /// Those.
        unknown: Vec<TopicPartition>,
    },
    /// A sealed file was planned.
    Planned {
        /// Its path.
        path: String,
        /// What it must cover.
        ranges: Vec<FileRange>,
    },
}

/// What became of one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitOutcome {
    /// Whose.
    pub incarnation: Incarnation,
    /// Which.
    pub n: u64,
    /// Per command, in order; None when the commit itself was refused (unknown incarnation, wrong n).
    pub outcomes: Option<Vec<Outcome>>,
}

/// What one entry did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Folded {
    /// Per commit, in order.
    pub commits: Vec<CommitOutcome>,
    /// Partitions whose readers may have something new (records, a log start, a deletion).
    pub partitions: Vec<TopicPartition>,
    /// Groups that changed.
    pub groups: Vec<String>,
    /// Topics, nodes or leases changed: Metadata may look different.
    pub metadata: bool,
}

/// The fold cannot go on: the node stops folding and serving (I2). Never skipped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The entry is not the next one.
    #[error("entry {found} does not follow {last}")]
    Gap {
        /// The last one folded.
        last: Seq,
        /// What came.
        found: Seq,
    },
    /// The hash chain is broken: this log was not written after the entries folded so far.
    #[error("entry {seq} does not continue the hash chain: the log or the snapshot is damaged")]
    Chain {
        /// Where.
        seq: Seq,
    },
    /// The entry belongs to another epoch of the cell.
    #[error("entry {seq} belongs to cell epoch {found}, this is epoch {expected}")]
    CellEpoch {
        /// Where.
        seq: Seq,
        /// What it says.
        found: u32,
        /// What is folded.
        expected: u32,
    },
    /// A newer format.
    #[error("entry {seq}: {source}")]
    Decode {
        /// Where.
        seq: Seq,
        /// What is wrong.
        source: strandline_commands::DecodeError,
    },
}
