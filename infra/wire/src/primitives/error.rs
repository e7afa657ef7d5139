//! What can be wrong with bytes that should be a Kafka message.

use thiserror::Error;

/// Bytes that are not the message they should be: what is wrong, at which byte, in which field.
///
/// Never worth a retry with the same bytes. A server answers INVALID_REQUEST when the header could be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind} at byte {position}{}{}", if self.field.is_empty() { "" } else { " in " }, self.field)]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// Bytes into the frame.
    pub position: usize,
    /// The innermost field that was being read, as `Struct.field`; empty outside of a message.
    pub field: &'static str,
}

impl DecodeError {
    /// The same error with the field it happened in, unless a field further inside is known already.
    #[must_use]
    pub(crate) fn in_field(mut self, field: &'static str) -> Self {
        if self.field.is_empty() {
            self.field = field;
        }
        self
    }
}

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeErrorKind {
    /// The frame ends too early.
    #[error("{needed} bytes are needed and {remaining} are left")]
    Truncated {
        /// Bytes that the value takes.
        needed: usize,
        /// Bytes that are there.
        remaining: usize,
    },
    /// A length that is neither -1 where null is allowed, nor 0 or more.
    #[error("a length of {0}")]
    NegativeLength(i64),
    /// More elements than the remaining bytes can hold.
    #[error("an array of {count} elements in {remaining} bytes")]
    ArrayBeyondEnd {
        /// Elements announced.
        count: usize,
        /// Bytes that are there.
        remaining: usize,
    },
    /// Null where this version has none.
    #[error("null where a value is required")]
    Null,
    /// A string that is not UTF-8.
    #[error("a string that is not UTF-8")]
    NotUtf8,
    /// A varint that does not end.
    #[error("a varint that does not end")]
    Varint,
    /// The decoded form would take more memory than one message may.
    #[error("the decoded message would take more than the {0} bytes that one message may")]
    OverBudget(usize),
    /// Bytes after the end of a value.
    #[error("{0} bytes too many")]
    Trailing(usize),
    /// A version that this crate does not decode.
    #[error("version {0}, which is not spoken here,")]
    Version(i16),
}
