//! The read cache: blocks of objects, inline payloads and rebuilt batches, bounded in bytes.
//!
//! [`Cache`] answers 'one request however many wait'; [`BlockReader`] reads ranges of objects through it in
//! blocks of 4 MiB. A node keeps the bytes in foyer, a simulation in a small LRU that does the same things
//! every time ([`Cache::simple`]).
//!
//! Kept here: I11 (bounded by the bytes given at the start, with metrics for the fill), and that nothing
//! depends on a cached byte being there: everything can be fetched again. Keys never change their meaning:
//! objects are immutable and names are used once (I8), so nothing ever has to be invalidated for truth. Whoever reads checks the bytes,
//! and has damaged ones forgotten: the object may be put back as it was.
//! Must never: hold the only copy of anything, cache an error, or let one waiter's end be another's.
//!
//! In memory only: foyer's disk tier is left out until a node with a local disk in front of a remote store
//! needs it; on a folder the system's own page cache does that work.

mod block_reader;
mod cache;
mod key;
mod simple;
mod single_flight;

pub use block_reader::{BlockReader, ReadRangeError};
pub use cache::Cache;
pub use key::CacheKey;
pub use single_flight::FetchError;
