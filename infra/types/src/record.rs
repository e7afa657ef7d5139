//! One record, borrowed: what the wire hands to bronze and bronze hands back, without a copy.

/// Whose time a record carries (Kafka's `message.timestamp.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum TimestampType {
    /// The producer's.
    #[default]
    Create,
    /// The entry's time, set by the reader.
    LogAppend,
}

/// One header. Order and repeated keys are kept (I6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderRef<'a> {
    /// The key; UTF-8 is checked at ingest.
    pub key: &'a str,
    /// The value; null is not empty.
    pub value: Option<&'a [u8]>,
}

/// One record as a consumer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970, UTC; -1 is Kafka's 'none'.
    pub timestamp_ms: i64,
    /// Whose time that is.
    pub timestamp_type: TimestampType,
    /// The key; null is not empty.
    pub key: Option<&'a [u8]>,
    /// The value; null (a tombstone) is not empty.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: &'a [HeaderRef<'a>],
}

impl RecordRef<'_> {
    /// Hands out, piece by piece, the bytes that a digest of this record covers. The form is part of the bronze
    /// format (`strandline.digests`), so it never changes. Each field is fixed-width big-endian, lengths are -1 for null.
    pub fn digest_into(&self, mut update: impl FnMut(&[u8])) {
        update(&self.offset.to_be_bytes());
        update(&self.timestamp_ms.to_be_bytes());
        update(&[u8::from(self.timestamp_type == TimestampType::LogAppend)]);
        for bytes in [self.key, self.value] {
            optional(bytes, &mut update);
        }
        update(&(self.headers.len() as u32).to_be_bytes());
        for header in self.headers {
            optional(Some(header.key.as_bytes()), &mut update);
            optional(header.value, &mut update);
        }
    }
}

fn optional(bytes: Option<&[u8]>, update: &mut impl FnMut(&[u8])) {
    match bytes {
        None => update(&(-1_i64).to_be_bytes()),
        Some(bytes) => {
            update(&(bytes.len() as i64).to_be_bytes());
            update(bytes);
        }
    }
}
