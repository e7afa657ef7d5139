//! Record batches, format 2 (KIP-98): check, serve, read and build.
//!
//! A batch is 61 bytes of header and its records, which may be compressed. Base offset and leader epoch are not covered
//! by the checksum, so a batch is served with other ones as two slices: 16 new bytes and the rest as it came.

mod builder;
mod compression;
mod control;
mod error;
mod header;
mod iterate;
mod recompress;
mod serve;
mod split;
mod validate;
mod varint;
mod walk;

pub use builder::{BatchBuilder, BatchOptions};
pub use compression::{Compression, decompress, is_within};
pub use control::{ControlKind, ControlRecord, control_batch, hole_batch};
pub use error::{BatchError, RecordRule};
pub use header::{BATCH_HEADER_BYTES, BatchHeader, MAGIC, NO_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP};
pub use iterate::{BatchPlace, RecordScratch, for_each_record};
pub use recompress::recompress;
pub use serve::{rebase, rebase_in_place, restamp};
pub use split::{BatchView, split_batches, split_whole_batches};
pub use validate::{BatchSummary, ValidationRules, validate_batch};
