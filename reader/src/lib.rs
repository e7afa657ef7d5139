//! The reader: Fetch, ListOffsets and OffsetForLeaderEpoch, from the hot tail and from Parquet.
//!
//! A fetch is planned from the index in memory ([`plan`]), waits on the index and never on storage, and is answered from
//! extents, fresh segments or sealed ones: exactly one of them for every offset (I5). A record reads the same from each (I6).
//!
//! What it must never do:
//! - serve what is not committed, or an offset at or above the served end (I1);
//! - tell a client 'no', 'end' or 'last' from a view that is older than its request: such answers wait for a barrier;
//! - take a missing object for an end: it means that the view is old; if the new view names it too, it is a storage error
//!   with an alarm, never OFFSET_OUT_OF_RANGE and never an empty answer;
//! - hold bytes without a bound: answers, sessions, footers, read-ahead and searches for times each have theirs in `limits` (I11).

mod answer;
mod byte_room;
mod chunks;
mod error;
mod fetch;
mod footers;
mod history;
mod hole;
mod hot;
mod leader_epoch;
mod list_offsets;
mod pages;
mod plan;
mod read_ahead;
mod read_records;
mod reader;
mod rebuild;
mod resolve;
mod room;
mod rope;
mod serve;
mod session;
mod timestamps;

pub use read_records::ReadRecordsError;
pub use reader::{Reader, ReaderOptions};
pub use session::ConnectionId;
