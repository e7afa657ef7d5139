//! The bytes of extents: the commit log's payloads and WAL segments, read in blocks, through the cache.
//!
//! Readers and compactors both need them, and roles do not import one another.
//!
//! What it must never do: give bytes that are not what the producer sent (every batch is held against its own CRC and
//! the batches against the extent's offsets, I6); tell 'not there' from a view that may be old (the caller takes a
//! barrier and plans again).

mod check;
mod error;
mod read;
mod salvage;
mod span;

pub use error::ExtentError;
pub use read::{ExtentReader, Pieces};
pub use salvage::{Damaged, Salvaged};

/// Whether a part is kept as a slice of the whole, and all of it in memory as long; else it is copied, since who counts bytes counts the part's.
pub const fn is_most_of(part: u64, whole: u64) -> bool {
    part >= whole / 4 * 3
}
