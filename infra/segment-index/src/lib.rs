//! The segment index: (partition, end offset) to the sealed segment that ends there.
//!
//! Rows are keyed by partition and *end* offset, so that the segment that holds an offset is the first row
//! whose end is greater. The trait is the seam; [`MemorySegmentIndex`] serves simulations,
//! [`RedbSegmentIndex`] a single node. [`conformance`] says what any implementation has to do.
//!
//! Kept here: a row gives way only to a higher generation, so that a delayed write cannot undo a rewrite
//! (I9); a batch of rows is one durable transaction; reads see every put that returned before they began (I5
//! rests on it); batches and answers are bounded, by `limits` (I11).
//! Must never: be a source of truth. It is derived, and rebuilt from the footers of the sealed objects. A
//! reader takes a row only if its start is at or below the offset; a row that starts behind it means that
//! the reader's view is old.

pub mod conformance;
mod encoding;
mod errors;
mod memory;
mod redb;
mod row;
mod seam;

pub use self::redb::{OpenError, RedbSegmentIndex};
pub use encoding::{RowEncodingError, decode_row, encode_row};
pub use errors::{PutError, ReadError, RemoveError};
pub use memory::MemorySegmentIndex;
pub use row::{RowKey, SealedRow};
pub use seam::{PutOutcome, SegmentIndex, for_each};
