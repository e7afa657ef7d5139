//! The commit log: the totally ordered list of a cell's entries, and the only place where order is decided (I2).
//!
//! [`CommitLog`] is one small seam with several homes: [`embedded`] files for one process, [`memory`] for tests
//! and simulations. All of them run the suite in [`conformance`].
//!
//! What it must never do: store two entries at one seq; show an entry that a power cut could take back (I1);
//! lower the floor; trim above it. It knows nothing of commands: an entry is bytes, a hash and a payload.

pub mod conformance;
pub mod disk;
pub mod embedded;
mod entry;
pub mod lock;
pub mod memory;
mod seam;

pub use embedded::EmbeddedCommitLog;
pub use entry::{Entry, Payload, Row, parts};
pub use memory::MemoryCommitLog;
pub use seam::{AppendError, CommitLog, Floor, FloorError, ReadAgain, ReadError, SnapshotRef, Tail, TrimError};
