//! Kafka's primitive types: a bounded reader over a frame, and a writer that keeps large pieces as they are.

mod error;
mod frame;
mod reader;
mod records;
mod writer;

pub use error::{DecodeError, DecodeErrorKind};
pub use frame::Frame;
pub use reader::Reader;
pub use records::Records;
pub use writer::{SHARED_FROM_BYTES, Writer};
