//! Records that own their bytes, and files of them.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses its part

use bytes::Bytes;
use strandline_bronze::{
    CoveredRange, Fetched, FinishedSegment, Preference, PushError, ReadError, SegmentFooter, SegmentScan, SegmentSpec,
    SegmentWriter,
};
use strandline_types::{HeaderRef, RecordRef, TimestampType, TopicId};

pub const TOPIC: TopicId = TopicId(*b"\x1a\x2b\x3c\x4dstrandlines!");
/// 2026-11-23, 14:15 UTC.
pub const INGEST_MS: i64 = 1_795_443_300_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub partition: i32,
    pub ingest_ms: i64,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub append_time: bool,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Row {
    pub fn new(partition: i32, offset: i64, value: &[u8]) -> Self {
        let timestamp_ms = 1_795_443_000_000 + offset;
        Self {
            partition,
            ingest_ms: INGEST_MS,
            offset,
            timestamp_ms,
            append_time: false,
            key: None,
            value: Some(value.to_vec()),
            headers: Vec::new(),
        }
    }

    pub fn of(partition: i32, ingest_ms: i64, record: &RecordRef<'_>) -> Self {
        Self {
            partition,
            ingest_ms,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            append_time: record.timestamp_type == TimestampType::LogAppend,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
        }
    }

    pub fn push_to(&self, writer: &mut SegmentWriter) -> Result<(), PushError> {
        let headers: Vec<_> = self.headers.iter().map(|(key, value)| HeaderRef { key, value: value.as_deref() }).collect();
        let record = RecordRef {
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            timestamp_type: if self.append_time { TimestampType::LogAppend } else { TimestampType::Create },
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
        };
        writer.push(self.partition, self.ingest_ms, &record)
    }
}

pub fn spec(covered: Vec<CoveredRange>) -> SegmentSpec {
    let plan = "20261123T141500000Z-p00000-o00000000000000000000-g0".to_owned();
    SegmentSpec {
        topic: "veh.events.raw".to_owned(),
        topic_id: TOPIC,
        covered,
        plan,
        key: Preference::Text,
        value: Preference::Text,
    }
}

/// Ranges that cover the rows, three offsets wider on both sides.
pub fn covering(rows: &[Row]) -> Vec<CoveredRange> {
    let mut covered: Vec<CoveredRange> = Vec::new();
    for row in rows {
        match covered.last_mut() {
            Some(range) if range.partition == row.partition => range.end = row.offset + 4,
            _ => covered.push(CoveredRange { partition: row.partition, start: row.offset - 3, end: row.offset + 4 }),
        }
    }
    covered
}

pub fn write_as(spec: SegmentSpec, rows: &[Row]) -> FinishedSegment {
    let mut writer = SegmentWriter::new(spec).unwrap();
    for row in rows {
        row.push_to(&mut writer).unwrap();
    }
    writer.finish().unwrap()
}

pub fn write(rows: &[Row]) -> FinishedSegment {
    write_as(spec(covering(rows)), rows)
}

pub fn whole(segment: &FinishedSegment) -> Bytes {
    segment.bytes.concat().into()
}

pub fn open(segment: &FinishedSegment) -> (SegmentFooter, Bytes) {
    let bytes = whole(segment);
    (SegmentFooter::parse("a.parquet", bytes.len() as u64, &bytes).unwrap(), bytes)
}

pub fn scan(footer: &SegmentFooter, bytes: &Bytes) -> Result<Vec<Row>, ReadError> {
    let mut rows = Vec::new();
    SegmentScan::new(footer, &Fetched::whole(bytes.clone())).for_each_row(|partition, ingest_ms, record| {
        rows.push(Row::of(partition, ingest_ms, record));
        Ok::<_, ReadError>(())
    })?;
    Ok(rows)
}

/// CRC-32C bit by bit, so that tests do not trust the crate's own.
pub fn slow_crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
