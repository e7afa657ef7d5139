//! Kafka's wire protocol, both directions: frames, messages of every API and version that [`api::SUPPORTED`] lists,
//! error codes, and record batches.
//!
//! It does no I/O, holds no state and knows no topics. What it must never do:
//! - trust a number from the wire: a length or count is checked against the bytes that are there before anything is
//!   reserved, what decoding builds is bounded, and so is what decompression yields (I11);
//! - panic, whatever the bytes;
//! - copy or re-encode record bytes on their way through: a produced batch is a slice of its frame, a served one is two
//!   slices, its 16 first bytes and the rest (I6).
//!
//! Field names are Kafka's, in snake case. The meaning of each is in Kafka's protocol guide.

pub mod api;
#[macro_use]
mod codec;
pub mod error_code;
pub mod frame;
pub mod messages;
pub mod primitives;
pub mod records;

pub use api::{ApiKey, ApiRange};
pub use error_code::ErrorCode;
pub use frame::{FrameError, RequestHeader};
pub use messages::{Message, Request};
pub use primitives::{DecodeError, Frame, Reader, Records, Writer};
