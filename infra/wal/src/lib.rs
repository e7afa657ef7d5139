//! The WAL segment: one object with many partitions' batches, as they came, and a footer that describes it.
//!
//! ```text
//! batches, grouped by (topic id, partition), ascending, from byte 0
//! footer      Protobuf: per run its topic id, partition, byte range and the digest of its batch headers
//! trailer     16 bytes: footer length, CRC-32C of the footer, version (each u32, big-endian), magic `SWAL`
//! ```
//!
//! What it must never do: copy or change a batch. Bytes go in and come out as the producer sent them; the reader
//! patches base offsets, which lie outside the batch's own CRC.
//!
//! It keeps I6 (the same bytes) and serves I10: a segment found alone can be read, and says when it is damaged.
//! The format is frozen in `tests/golden/`.

mod batches;
mod builder;
mod footer;

pub use batches::{BATCH_HEADER_BYTES, BatchWalkError, headers_digest, verify_batches};
pub use builder::{WalBuildError, WalSegment, WalSegmentBuilder};
pub use footer::{FORMAT_VERSION, TRAILER_BYTES, WalFooter, WalReadError, WalRun};
