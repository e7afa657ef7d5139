//! One event, ready to be sent.

use bytes::Bytes;
use strandline_types::HeaderRef;

/// Headers of every event, in this order.
pub const HEADERS: [&str; 7] = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_subject", "content-type"];

/// One event. Its parts share one piece of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it goes.
    pub topic: &'static str,
    /// The key.
    pub key: Bytes,
    /// JSON.
    pub value: Bytes,
    /// The values of [`HEADERS`].
    pub headers: [Bytes; 7],
    /// When it happened, in milliseconds since 1970, UTC.
    pub timestamp_ms: i64,
}

impl Event {
    /// The headers as a producer wants them.
    pub fn header_refs(&self) -> [HeaderRef<'_>; 7] {
        std::array::from_fn(|index| HeaderRef { key: HEADERS[index], value: Some(&self.headers[index]) })
    }

    /// Bytes of key, value and headers.
    pub fn bytes(&self) -> usize {
        let headers: usize = HEADERS.iter().zip(&self.headers).map(|(key, value)| key.len() + value.len()).sum();
        self.key.len() + self.value.len() + headers
    }
}
