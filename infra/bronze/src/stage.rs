//! Rows of a partition of which it is not known yet whether they fill a row group of their own.

use crate::digest::{record_bytes, record_weight};
use strandline_types::{HeaderRef, RecordRef, TimestampType};

/// Rows as they were pushed, all bytes in one buffer.
#[derive(Default)]
pub(crate) struct Stage {
    rows: Vec<StagedRow>,
    headers: Vec<StagedHeader>,
    bytes: Vec<u8>,
    weight: usize,
}

struct StagedRow {
    ingest_ms: i64,
    offset: i64,
    timestamp_ms: i64,
    timestamp_type: TimestampType,
    key: Option<Span>,
    value: Option<Span>,
    headers: usize,
}

struct StagedHeader {
    key: Span,
    value: Option<Span>,
}

/// Bytes of the buffer.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

impl Stage {
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    pub fn weight(&self) -> usize {
        self.weight
    }

    pub fn push(&mut self, ingest_ms: i64, record: &RecordRef<'_>) {
        self.weight += record_weight(record, record_bytes(record));
        let key = record.key.map(|key| self.keep(key));
        let value = record.value.map(|value| self.keep(value));
        for header in record.headers {
            let staged =
                StagedHeader { key: self.keep(header.key.as_bytes()), value: header.value.map(|value| self.keep(value)) };
            self.headers.push(staged);
        }
        let RecordRef { offset, timestamp_ms, timestamp_type, .. } = *record;
        self.rows.push(StagedRow { ingest_ms, offset, timestamp_ms, timestamp_type, key, value, headers: record.headers.len() });
    }

    fn keep(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span { start, end: self.bytes.len() }
    }

    /// Hands every row to `visit`, in order, until one fails.
    pub fn for_each<E>(&self, mut visit: impl FnMut(i64, &RecordRef<'_>) -> Result<(), E>) -> Result<(), E> {
        let slice = |span: Span| &self.bytes[span.start..span.end];
        // Keys were `str`s when they came in, so nothing is lost here.
        let headers = self.headers.iter().map(|header| HeaderRef {
            key: simdutf8::basic::from_utf8(slice(header.key)).unwrap_or_default(),
            value: header.value.map(slice),
        });
        let headers: Vec<HeaderRef<'_>> = headers.collect();
        let mut at = 0;
        for row in &self.rows {
            let StagedRow { ingest_ms, offset, timestamp_ms, timestamp_type, key, value, headers: count } = *row;
            let own = &headers[at..at + count];
            at += count;
            visit(
                ingest_ms,
                &RecordRef { offset, timestamp_ms, timestamp_type, key: key.map(slice), value: value.map(slice), headers: own },
            )?;
        }
        Ok(())
    }

    /// Empty again; the memory is kept for the next partition.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.headers.clear();
        self.bytes.clear();
        self.weight = 0;
    }
}
