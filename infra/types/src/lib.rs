//! The words of the design as types: ids, places in the commit log, object names, and every bound (I11).
//!
//! This crate depends on nothing of ours and does no I/O.

pub mod calendar;
mod caller;
pub mod file_names;
mod fixed_hash;
mod ids;
pub mod limits;
pub mod mutations;
mod object_name;
mod record;
mod rendezvous;

pub use caller::{Caller, Gone};
pub use fixed_hash::{FixedHashMap, FixedHashSet};
pub use ids::{ChainHash, Incarnation, LeaseNumber, NodeId, ProducerId, Seq, TopicId, TopicPartition};
pub use object_name::{ObjectName, ObjectNameError};
pub use record::{HeaderRef, RecordRef, TimestampType};
pub use rendezvous::rendezvous_weight;
