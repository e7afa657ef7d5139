//! Entries, commits and commands: what is written into the commit log, and how.
//!
//! An entry is two bytes of format version, then Protobuf. Commands state intent and preconditions, never
//! results computed from an index, so that a commit means the same wherever it lands in the log.
//!
//! What this crate must never do: change the meaning of a tag, or drop what it does not know. Every new
//! command or field raises [`FORMAT_VERSION`]; a node that meets a higher one stops (I2, I3).

mod bronze;
mod cell;
mod encoding;
mod entry;
mod groups;
mod produce;
mod topics;

pub use bronze::{
    AdoptSealed, CollectGarbage, Convert, DropSealed, FileRange, ForgetTopic, Lost, Merge, NewFile, OffsetRange, RaiseHorizon,
    Rehome, RehomedRun, SealDone, SealExtents, SealPlan, Sealed,
};
pub use cell::{
    AgreeSnapshot, ClearDisagreement, CreateCell, DeclareGone, DropLease, Join, LeaseKind, Leave, LogCopied, RaiseFoldVersion,
    Rebuilt, Report, Role, TakeLease, WroteSnapshot,
};
pub use encoding::{DecodeError, DecodedEntry, EncodeError, FORMAT_VERSION, chain_hash, command_bytes, decode, encode};
pub use entry::{Command, CommandKind, Commit, EntryBody, NewObject};
pub use groups::{
    ClaimGroup, CommitOffsets, CommittedOffset, DeleteGroup, DeleteOffsets, ExpireGroup, GroupMember, GroupPartition,
    MemberProtocol, StoreGroup,
};
pub use produce::{Batch, ExpireProducer, ExpireProducers, InitProducer, Produce};
pub use topics::{ConfigChange, ConfigEntry, ConfigOperation, ConfigureTopic, CreateTopic, DeleteTopic, GrowTopic, MoveLogStart};
