//! Rows and headers that have no bytes are bounded all the same.
#![allow(clippy::unwrap_used)]

mod support;

use strandline_bronze::{CoveredRange, SegmentWriter};
use strandline_types::{HeaderRef, RecordRef, TimestampType, limits};
use support::{INGEST_MS, open, spec};

fn write(rows: i64, headers: usize) -> strandline_bronze::FinishedSegment {
    let headers = vec![HeaderRef { key: "", value: None }; headers];
    let mut writer = SegmentWriter::new(spec(vec![CoveredRange { partition: 0, start: 0, end: rows }])).unwrap();
    for offset in 0..rows {
        let record = RecordRef {
            offset,
            timestamp_ms: INGEST_MS,
            timestamp_type: TimestampType::Create,
            key: None,
            value: Some(b""),
            headers: &headers,
        };
        writer.push(0, INGEST_MS, &record).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn a_read_of_records_without_bytes_has_an_end() {
    const ROWS: u64 = 300_000;
    let (footer, _) = open(&write(ROWS as i64, 0));
    let most = limits::HISTORY_CHUNK_BYTES as u64;
    let (mut at, mut rows) = (0, 0);
    while let Some(plan) = footer.plan(0, at, most) {
        assert_eq!(plan.record_bytes(), 0);
        assert!(plan.rows() <= most / limits::ROW_WEIGHT + limits::PAGE_ROWS as u64, "{}", plan.rows());
        (at, rows) = (plan.next_offset(), rows + plan.rows());
    }
    assert_eq!(rows, ROWS);
}

#[test]
fn headers_without_bytes_count() {
    let (footer, _) = open(&write(5_000, 100));
    let plan = footer.plan(0, 0, limits::HISTORY_CHUNK_BYTES as u64).unwrap();
    assert_eq!(plan.record_bytes(), 0);
    assert_eq!(plan.rows(), limits::PAGE_ROWS as u64, "100,000 headers alone weigh more");
}
