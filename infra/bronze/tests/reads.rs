//! Reads by offset and by timestamp, with nothing fetched but what the plan names.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use bytes::Bytes;
use proptest::prelude::*;
use std::ops::{ControlFlow, Range};
use std::sync::OnceLock;
use strandline_bronze::{Fetched, FooterError, ReadError, SegmentFooter, join_ranges, plan_timestamp, read, read_timestamp};
use support::{Row, covering, open, spec, write, write_as};

fn fetch(bytes: &Bytes, ranges: &[Range<u64>]) -> Fetched {
    let pieces = ranges.iter().map(|range| (range.start, bytes.slice(range.start as usize..range.end as usize)));
    Fetched::new(bytes.len() as u64, pieces.collect())
}

/// Short, long and very long partitions with gaps in their offsets, so that pages, runs and row groups begin everywhere.
fn sample() -> &'static (Vec<Row>, SegmentFooter, Bytes) {
    static SAMPLE: OnceLock<(Vec<Row>, SegmentFooter, Bytes)> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let mut rows = Vec::new();
        for (partition, count) in [(0, 700), (1, 1), (2, 2_500), (5, 12_345), (6, 900), (7, 11_000), (9, 1_024)] {
            for at in 0..count {
                let mut row = Row::new(partition, 10 + at + at / 7 * 3, format!("{{\"n\":{at}}}").as_bytes());
                row.timestamp_ms = 1_000_000 + at * 10 - (at * 7_919) % 400;
                if at % 50 == 0 {
                    row.timestamp_ms = -1;
                }
                row.key = (at % 3 > 0).then(|| format!("vehicle-{}", at % 100).into_bytes());
                row.headers = vec![("ce_id".to_owned(), Some(at.to_string().into_bytes())); (at % 4) as usize];
                rows.push(row);
            }
        }
        let (footer, bytes) = open(&write(&rows));
        (rows, footer, bytes)
    })
}

fn read_from(partition: i32, start: i64, max_bytes: u64) -> Option<(Vec<Row>, i64, u64)> {
    let (_, footer, bytes) = sample();
    let plan = footer.plan(partition, start, max_bytes)?;
    let fetched = fetch(bytes, plan.ranges());
    let mut rows = Vec::new();
    read(footer, &plan, &fetched, |record, ingest_ms| {
        rows.push(Row::of(partition, ingest_ms, record));
        ControlFlow::Continue(())
    })
    .unwrap();
    Some((rows, plan.next_offset(), plan.ranges().iter().map(|range| range.end - range.start).sum()))
}

fn check_read(partition: i32, start: i64, max_bytes: u64) {
    let (all, footer, _) = sample();
    let expected: Vec<&Row> = all.iter().filter(|row| row.partition == partition && row.offset >= start).collect();
    let Some((rows, next, _)) = read_from(partition, start, max_bytes) else {
        assert!(expected.is_empty(), "partition {partition} from {start}");
        return;
    };
    assert!(!rows.is_empty());
    assert!(rows.iter().eq(expected[..rows.len()].iter().copied()), "partition {partition} from {start}");
    let end = footer.partition(partition).unwrap().end;
    assert_eq!(next, expected.get(rows.len()).map_or(end, |row| row.offset));
}

#[test]
fn reads_begin_at_every_boundary() {
    for partition in [0, 1, 2, 5, 6, 7, 9] {
        let own: Vec<_> = sample().0.iter().filter(|row| row.partition == partition).collect();
        let last = own.last().unwrap().offset;
        check_read(partition, i64::MIN, u64::MAX);
        check_read(partition, last, 1);
        check_read(partition, last + 1, 1);
        for at in (0..own.len()).step_by(256).chain((0..own.len()).filter(|at| at % 1_024 > 1_022 || at % 1_024 < 2)) {
            for start in [own[at].offset - 1, own[at].offset, own[at].offset + 1] {
                check_read(partition, start, 1);
            }
        }
    }
    assert!(read_from(3, 0, 1).is_none());
    assert!(read_from(-1, 0, 1).is_none());
    assert!(read_from(10, 0, 1).is_none());
}

#[test]
fn a_small_read_fetches_little() {
    let (_, footer, bytes) = sample();
    let (rows, _, fetched) = read_from(5, 5_000, 1).unwrap();
    assert!(rows.len() <= 1_024);
    assert!(fetched < bytes.len() as u64 / 8, "{fetched} of {}", bytes.len());
    let plan = footer.plan(5, 5_000, 1).unwrap();
    assert!(join_ranges(plan.ranges().to_vec(), 1 << 20).len() == 1 && plan.ranges().len() > 1);
    assert!(plan.rows() <= 1_024 && plan.record_bytes() > 0);
}

/// Whatever is read: spans hold all of it, and two of them are the same or have nothing in common.
#[test]
fn spans_hold_every_read_and_never_overlap() {
    let (_, footer, bytes) = sample();
    for (largest, gap) in [(1, 0), (4_000, 0), (20_000, 500), (100_000, 64 << 10), (4 << 20, 64 << 10)] {
        let mut all = std::collections::BTreeSet::new();
        for partition in [0, 1, 2, 5, 6, 7, 9] {
            let mut next = 0;
            while let Some(plan) = footer.plan(partition, next, 30_000) {
                let spans = footer.spans(&plan, largest, gap);
                let mut rows = 0;
                read(footer, &plan, &fetch(bytes, &spans), |_, _| {
                    rows += 1;
                    ControlFlow::Continue(())
                })
                .unwrap();
                assert!(rows > 0);
                all.extend(spans.into_iter().map(|span| (span.start, span.end)));
                next = plan.next_offset();
            }
        }
        let all: Vec<_> = all.into_iter().collect();
        assert!(all.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{largest}: {all:?}");
        assert!(all.last().unwrap().1 <= bytes.len() as u64);
        // One page alone may be larger.
        let joined = |(start, end): &&(u64, u64)| end - start > largest.max(30_000);
        assert_eq!(all.iter().find(joined), None, "{largest}");
    }
    let count = |largest| footer.spans(&footer.plan(5, 0, u64::MAX).unwrap(), largest, 64 << 10).len();
    assert!(count(4 << 20) < count(20_000) && count(20_000) < count(1), "{} {} {}", count(4 << 20), count(20_000), count(1));
}

#[test]
fn a_reader_may_stop() {
    let (_, footer, bytes) = sample();
    let plan = footer.plan(2, 0, u64::MAX).unwrap();
    let mut seen = 0;
    read(footer, &plan, &Fetched::whole(bytes.clone()), |_, _| {
        seen += 1;
        if seen == 10 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!(seen, 10);
}

#[test]
fn a_missing_range_is_said_to_be_missing() {
    let (_, footer, bytes) = sample();
    let plan = footer.plan(2, 0, u64::MAX).unwrap();
    for left_out in 0..plan.ranges().len() {
        let mut ranges = plan.ranges().to_vec();
        ranges.remove(left_out);
        let error = read(footer, &plan, &fetch(bytes, &ranges), |_, _| ControlFlow::Continue(())).unwrap_err();
        assert!(matches!(error, ReadError::MissingBytes { .. }), "{error}");
    }
}

#[test]
fn the_footer_opens_from_the_tail() {
    let rows: Vec<Row> = (0..3_000).map(|at| Row::new(0, at, b"{}")).collect();
    let segment = write(&rows);
    let (_, bytes) = open(&segment);
    let tail = |length: u64| bytes.slice(bytes.len() - length as usize..);
    assert!(SegmentFooter::parse("a", segment.file_bytes, &tail(segment.tail_bytes)).is_ok());
    let mut length = 8;
    let mut asked = 0;
    while let Err(error) = SegmentFooter::parse("a", segment.file_bytes, &tail(length)) {
        let FooterError::NeedsMore { tail_bytes, .. } = error else { panic!("{error}") };
        assert!(tail_bytes > length);
        length = tail_bytes;
        asked += 1;
    }
    assert!(asked <= 2 && length <= segment.tail_bytes);
    let footer = SegmentFooter::parse("a", segment.file_bytes, &tail(length)).unwrap();
    assert_eq!(footer.rows(), 3_000);
    let end = Fetched::new(segment.file_bytes, vec![(segment.file_bytes - length, tail(length))]);
    assert!(matches!(SegmentFooter::open("a", &end), Err(FooterError::NeedsMore { .. })));
    assert_eq!(SegmentFooter::open("a", &Fetched::whole_in_pieces(&segment.bytes)).unwrap().rows(), 3_000);
    assert_eq!(footer.topic_id(), support::TOPIC);
    assert_eq!(footer.plan_name(), spec(Vec::new()).plan);
    assert!(footer.writer().starts_with("strandline "));
    assert!(footer.memory_bytes() > 0);
}

fn find(partition: i32, from: i64, target: i64) -> Option<(i64, i64)> {
    let (_, footer, bytes) = sample();
    let plan = plan_timestamp(footer, partition, from, target)?;
    assert!(plan.ranges().iter().map(|range| range.end - range.start).sum::<u64>() < 40_000);
    read_timestamp(footer, &plan, &fetch(bytes, plan.ranges())).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn a_read_is_what_the_rows_are(partition in 0_i32..10, start in 0_i64..20_000, max_bytes in 0_u64..300_000) {
        check_read(partition, start, max_bytes);
    }

    #[test]
    fn timestamps_are_found_exactly(partition in 0_i32..10, from in 0_i64..20_000, target in 999_000_i64..1_130_000) {
        let expected = sample().0.iter().find(|row| row.partition == partition && row.offset >= from && row.timestamp_ms >= target);
        prop_assert_eq!(find(partition, from, target), expected.map(|row| (row.offset, row.timestamp_ms)));
    }
}

#[test]
fn a_timestamp_before_the_offset_does_not_count() {
    let mut rows: Vec<Row> = (0..2_000).map(|at| Row::new(0, at, b"x")).collect();
    for row in &mut rows {
        row.timestamp_ms = 5;
    }
    rows[10].timestamp_ms = 100;
    rows[1_500].timestamp_ms = 100;
    let segment = write_as(spec(covering(&rows)), &rows);
    let (footer, bytes) = open(&segment);
    let find = |from, target| {
        let plan = plan_timestamp(&footer, 0, from, target)?;
        read_timestamp(&footer, &plan, &fetch(&bytes, plan.ranges())).unwrap()
    };
    assert_eq!(find(0, 100), Some((10, 100)));
    assert_eq!(find(11, 100), Some((1_500, 100)));
    assert_eq!(find(1_501, 100), None);
    assert_eq!(find(0, 101), None);
    assert_eq!(find(300, 5), Some((300, 5)));
}
