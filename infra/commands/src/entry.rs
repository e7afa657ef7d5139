//! The frame of an entry: commits and the commands in them.

use crate::{bronze, cell, groups, produce, topics};

/// The Protobuf body of an entry.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EntryBody {
    /// The appender's time of day, in milliseconds UTC; the fold keeps `now = max(now, time)`.
    #[prost(int64, tag = "1")]
    pub time_ms: i64,
    /// Hash of the entry before, 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub hash_before: Vec<u8>,
    /// The cell's epoch; a rebuilt cell has another one.
    #[prost(uint32, tag = "3")]
    pub cell_epoch: u32,
    /// Length of what rides inline.
    #[prost(uint64, tag = "4")]
    pub payload_length: u64,
    /// CRC-32C of what rides inline.
    #[prost(fixed32, tag = "5")]
    pub payload_crc32c: u32,
    /// The commits, in order.
    #[prost(message, repeated, tag = "6")]
    pub commits: Vec<Commit>,
}

/// One node's commit. Identity is (incarnation, n); the fold applies it only when n is that incarnation's last + 1.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Commit {
    /// The node's run; 0 in the commit that joins.
    #[prost(uint64, tag = "1")]
    pub incarnation: u64,
    /// Counts the incarnation's commits from 1; 0 in the commit that joins.
    #[prost(uint64, tag = "2")]
    pub n: u64,
    /// Where this commit's bytes begin in the entry's payload.
    #[prost(uint64, tag = "3")]
    pub payload_start: u64,
    /// How many bytes of the payload are this commit's.
    #[prost(uint64, tag = "4")]
    pub payload_length: u64,
    /// Objects that commands of this commit introduce, PUT before the commit (I1).
    #[prost(message, repeated, tag = "5")]
    pub objects: Vec<NewObject>,
    /// The commands, in order. None: the commit only uses up its n.
    #[prost(message, repeated, tag = "6")]
    pub commands: Vec<Command>,
}

/// An object that a commit introduces.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct NewObject {
    /// Its whole path in the bucket; the last component is an `ObjectName`, whose seq the fold holds against its horizon (I8).
    #[prost(string, tag = "1")]
    pub path: String,
    /// Its size in bytes.
    #[prost(uint64, tag = "2")]
    pub size: u64,
    /// CRC-32C of the whole object.
    #[prost(fixed32, tag = "3")]
    pub crc32c: u32,
}

/// One command.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Command {
    /// What it asks for. None decodes only from an unknown version and folds to a refusal.
    #[prost(
        oneof = "CommandKind",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 20, 21, 22, 23, 24, 30, 31, 32, 40, 41, 42, 43, 44, 45, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72"
    )]
    pub kind: Option<CommandKind>,
}

impl EntryBody {
    /// The lowest format version that has all of its commands and fields.
    pub fn format_version(&self) -> u16 {
        self.commits.iter().flat_map(|commit| &commit.commands).map(Command::format_version).max().unwrap_or(1)
    }
}

impl Command {
    /// The first format version that has it; what came with a fold version may only be proposed under that one.
    pub fn format_version(&self) -> u16 {
        match &self.kind {
            Some(CommandKind::ClearDisagreement(_) | CommandKind::SealExtents(_)) => 2,
            _ => 1,
        }
    }
}

impl From<CommandKind> for Command {
    fn from(kind: CommandKind) -> Self {
        Self { kind: Some(kind) }
    }
}

macro_rules! command_kinds {
    ($($(#[$doc:meta])* $tag:literal $name:ident($type:path)),* $(,)?) => {
        /// Every command there is.
        #[derive(Clone, PartialEq, prost::Oneof)]
        pub enum CommandKind {
            $($(#[$doc])* #[prost(message, tag = $tag)] $name($type)),*
        }

        $(impl From<$type> for Command {
            fn from(command: $type) -> Self {
                CommandKind::$name(command).into()
            }
        })*
    };
}

command_kinds! {
    /// Makes the cell; only in its first entry.
    "1" CreateCell(cell::CreateCell),
    /// A node's run begins.
    "2" Join(cell::Join),
    /// A node's run ends by its own word.
    "3" Leave(cell::Leave),
    /// A node's run is declared over by another.
    "4" DeclareGone(cell::DeclareGone),
    /// A node says how far it has folded.
    "5" Report(cell::Report),
    /// The fold version rises.
    "6" RaiseFoldVersion(cell::RaiseFoldVersion),
    /// Asks for a lease.
    "7" TakeLease(cell::TakeLease),
    /// Gives a lease back.
    "8" DropLease(cell::DropLease),
    /// A snapshot was put.
    "9" WroteSnapshot(cell::WroteSnapshot),
    /// A second fold agrees, or not.
    "10" AgreeSnapshot(cell::AgreeSnapshot),
    /// The bucket's copy of the log has come so far.
    "11" LogCopied(cell::LogCopied),
    /// The cell goes on after a rebuild.
    "12" Rebuilt(cell::Rebuilt),
    /// A disagreement about a snapshot was looked at and counts no more.
    "13" ClearDisagreement(cell::ClearDisagreement),
    /// Makes a topic.
    "20" CreateTopic(topics::CreateTopic),
    /// Drops a topic.
    "21" DeleteTopic(topics::DeleteTopic),
    /// Adds partitions.
    "22" GrowTopic(topics::GrowTopic),
    /// Changes a topic's configuration.
    "23" ConfigureTopic(topics::ConfigureTopic),
    /// Moves a log start up.
    "24" MoveLogStart(topics::MoveLogStart),
    /// Batches of one partition.
    "30" Produce(produce::Produce),
    /// Asks for a producer id, or bumps an epoch.
    "31" InitProducer(produce::InitProducer),
    /// Forgets idle producers.
    "32" ExpireProducers(produce::ExpireProducers),
    /// Takes a group's coordination.
    "40" ClaimGroup(groups::ClaimGroup),
    /// Stores a group's membership.
    "41" StoreGroup(groups::StoreGroup),
    /// Commits offsets.
    "42" CommitOffsets(groups::CommitOffsets),
    /// Deletes committed offsets.
    "43" DeleteOffsets(groups::DeleteOffsets),
    /// Deletes an empty group.
    "44" DeleteGroup(groups::DeleteGroup),
    /// Forgets an idle group's offsets.
    "45" ExpireGroup(groups::ExpireGroup),
    /// Extents become a fresh segment.
    "60" Convert(bronze::Convert),
    /// Fresh segments become other fresh segments.
    "61" Merge(bronze::Merge),
    /// Runs of batches get another place.
    "62" Rehome(bronze::Rehome),
    /// A sealed file is planned.
    "63" SealPlan(bronze::SealPlan),
    /// A planned file is there.
    "64" Sealed(bronze::Sealed),
    /// A sealed file's rows are in the segment index.
    "65" SealDone(bronze::SealDone),
    /// Retention lets a sealed file go.
    "66" DropSealed(bronze::DropSealed),
    /// Objects were deleted.
    "67" CollectGarbage(bronze::CollectGarbage),
    /// Names below a seq will be refused.
    "68" RaiseHorizon(bronze::RaiseHorizon),
    /// Offsets are declared lost.
    "69" Lost(bronze::Lost),
    /// A sealed file that the log's copy did not know is taken in.
    "70" AdoptSealed(bronze::AdoptSealed),
    /// A deleted topic leaves nothing behind.
    "71" ForgetTopic(bronze::ForgetTopic),
    /// A sealed file is planned straight from extents.
    "72" SealExtents(bronze::SealExtents),
}
