//! I6: what comes out is what went in, byte for byte, for records of every shape.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use strandline_bronze::{CoveredRange, Fetched, Preference, PushError, ReadError, SegmentWriter, SpecError, merge_rows, verify};
use support::{INGEST_MS, Row, covering, open, scan, slow_crc32c, spec, whole, write, write_as};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 0..40),
        "[a-zäöü€𝄞]{0,20}".prop_map(String::into_bytes),
        Just(b"NUL\0inside".to_vec()),
        Just(br#"{"id":1}"#.to_vec()),
    ]
}

fn timestamp() -> impl Strategy<Value = i64> {
    // -1, the first and last millisecond that readers can show, and the ordinary.
    prop_oneof![
        Just(-1),
        Just(-62_135_596_800_000),
        Just(253_402_300_799_999),
        Just(0),
        Just(-2),
        any::<i32>().prop_map(i64::from),
        Just(INGEST_MS)
    ]
}

fn header() -> impl Strategy<Value = (String, Option<Vec<u8>>)> {
    let key = prop_oneof![
        Just("ce_id".to_owned()),
        Just("ce_time".to_owned()),
        Just("content-type".to_owned()),
        Just(String::new()),
        "[a-zä]{0,6}"
    ];
    (key, proptest::option::of(bytes()))
}

fn row() -> impl Strategy<Value = Row> {
    let times = (0_i64..1_000, timestamp(), any::<bool>());
    let body = (proptest::option::of(bytes()), proptest::option::of(bytes()), proptest::collection::vec(header(), 0..6));
    (times, body).prop_map(|((later, timestamp_ms, append_time), (key, value, headers))| Row {
        partition: 0,
        ingest_ms: INGEST_MS + later,
        offset: 0,
        timestamp_ms,
        append_time,
        key,
        value,
        headers,
    })
}

/// Partitions and offsets in order, with gaps in both.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    proptest::collection::vec((row(), 0_i32..3, 1_i64..5, any::<bool>()), 0..120).prop_map(|drawn| {
        let mut partition = 0;
        let mut offset = i64::from(u32::MAX);
        let place = |(mut row, partitions, gap, same): (Row, i32, i64, bool)| {
            offset += gap;
            if !same && partitions > 0 {
                partition += partitions;
                offset = gap + 2;
            }
            (row.partition, row.offset) = (partition, offset);
            row
        };
        drawn.into_iter().map(place).collect()
    })
}

fn preference() -> impl Strategy<Value = Preference> {
    prop_oneof![Just(Preference::Text), Just(Preference::Binary)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_record_comes_back(rows in rows(), key in preference(), value in preference()) {
        let mut spec = spec(covering(&rows));
        (spec.key, spec.value) = (key, value);
        let covered = spec.covered.clone();
        let segment = write_as(spec, &rows);
        let (footer, bytes) = open(&segment);
        prop_assert_eq!(&scan(&footer, &bytes).unwrap(), &rows);
        prop_assert_eq!(segment.crc32c, slow_crc32c(&bytes));
        prop_assert_eq!(segment.file_bytes, bytes.len() as u64);
        prop_assert_eq!(footer.partitions(), &segment.partitions[..]);
        prop_assert_eq!(footer.preferences(), (key, value));
        let ranges: Vec<_> = footer.partitions().iter().map(|one| CoveredRange { partition: one.partition, start: one.start, end: one.end }).collect();
        prop_assert_eq!(ranges, covered);
        let report = verify("a.parquet", &segment.bytes, Some(segment.crc32c));
        prop_assert!(report.is_sound(), "{:?}", report.problems);
        prop_assert_eq!(report.rows, rows.len() as u64);
        prop_assert_eq!(report.record_bytes, segment.record_bytes);
        let ingest = rows.iter().map(|row| row.ingest_ms);
        prop_assert_eq!(footer.ingest_ms(), ingest.clone().min().zip(ingest.max()));
    }

    #[test]
    fn a_merge_is_the_rows_of_its_files_in_order(rows in rows(), cuts in proptest::collection::vec(0_usize..4, 120)) {
        // Ten rows at a time go to one of four files. A file that a partition has left is not gone back to: its offsets there would
        // surround another's, which the index never has.
        let mut kept: Vec<Vec<Row>> = vec![Vec::new(); 4];
        let mut last = std::collections::BTreeMap::<i32, (usize, Vec<usize>)>::new();
        for (at, row) in rows.iter().enumerate() {
            let file = cuts[at / 10];
            let (current, left) = last.entry(row.partition).or_insert((file, Vec::new()));
            if *current != file {
                left.push(*current);
                *current = file;
            }
            if !left.contains(&file) {
                kept[file].push(row.clone());
            }
        }
        let mut expected: Vec<Row> = kept.concat();
        expected.sort_by_key(|row| (row.partition, row.offset));
        let files: Vec<_> = kept.iter().map(|rows| {
            let (footer, bytes) = open(&write(rows));
            (footer, Fetched::whole(bytes))
        }).collect();
        let mut merged = Vec::new();
        merge_rows(&files, |partition, ingest_ms, record| {
            merged.push(Row::of(partition, ingest_ms, record));
            Ok::<_, ReadError>(())
        }).unwrap();
        prop_assert_eq!(merged, expected);
    }
}

#[test]
fn huge_records_come_back() {
    let mut rows: Vec<Row> = (0..12).map(|at| Row::new(at / 4, i64::from(at) + 5, &vec![b'a' + at as u8; 3 << 20])).collect();
    rows[3].value = Some((0..20 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect());
    rows[5].headers = vec![("big".to_owned(), Some(vec![7; 5 << 20])); 2];
    rows[7].headers = vec![(String::new(), None); 400_000];
    let segment = write(&rows);
    let (footer, bytes) = open(&segment);
    assert!(scan(&footer, &bytes).unwrap() == rows);
}

#[test]
fn a_file_without_rows_covers_its_holes() {
    let covered = vec![CoveredRange { partition: 2, start: 5, end: 9 }, CoveredRange { partition: 4, start: 0, end: 0 }];
    let segment = write_as(spec(covered), &[]);
    let (footer, bytes) = open(&segment);
    assert_eq!(footer.rows(), 0);
    assert_eq!(footer.row_groups(), 0);
    assert_eq!(footer.partition(2).map(|summary| (summary.start, summary.end, summary.rows)), Some((5, 9, 0)));
    assert!(footer.plan(2, 5, 100).is_none());
    assert_eq!(scan(&footer, &bytes).unwrap(), []);
    assert!(verify("a", &[whole(&segment)], Some(segment.crc32c)).is_sound());
    assert_eq!(segment.day, None);
}

#[test]
fn summaries_say_where_the_greatest_timestamp_is() {
    let mut rows: Vec<Row> = (0..5).map(|at| Row::new(1, 10 + at, b"x")).collect();
    for (row, timestamp_ms) in rows.iter_mut().zip([-1, 50, 70, 70, 60]) {
        row.timestamp_ms = timestamp_ms;
    }
    let segment = write(&rows);
    let times = segment.partitions[0].timestamps.unwrap();
    assert_eq!((times.min_ms, times.max_ms, times.max_offset), (50, 70, 12));
    rows.truncate(1);
    assert_eq!(write(&rows).partitions[0].timestamps, None);
    assert_eq!(segment.day.unwrap().to_string(), "2026-11-23");
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let writer = || {
        let covered = [(1, 10, 20), (3, 0, 5)].map(|(partition, start, end)| CoveredRange { partition, start, end });
        let mut writer = SegmentWriter::new(spec(covered.to_vec())).unwrap();
        Row::new(1, 12, b"first").push_to(&mut writer).unwrap();
        writer
    };
    for (partition, offset) in [(1, 20), (1, 25), (2, 0), (3, 5), (0, 11)] {
        let error = Row::new(partition, offset, b"").push_to(&mut writer()).unwrap_err();
        assert!(matches!(error, PushError::NotCovered { .. }), "{partition} {offset}: {error}");
    }
    for offset in [12, 11, 9] {
        assert!(matches!(Row::new(1, offset, b"").push_to(&mut writer()), Err(PushError::OutOfOrder { .. })));
    }
    let mut later = writer();
    Row::new(3, 0, b"").push_to(&mut later).unwrap();
    assert!(matches!(Row::new(1, 13, b"").push_to(&mut later), Err(PushError::OutOfOrder { .. })));
    for time_ms in [i64::MIN, -62_135_596_800_001, 253_402_300_800_000, i64::MAX] {
        let row = Row { timestamp_ms: time_ms, ..Row::new(1, 13, b"") };
        assert!(matches!(row.push_to(&mut writer()), Err(PushError::Time { .. })));
    }
    let row = Row { ingest_ms: INGEST_MS + 86_400_000, ..Row::new(1, 13, b"") };
    assert!(matches!(row.push_to(&mut writer()), Err(PushError::OtherDay { .. })));
    for covered in [[(1, 0, 1), (1, 1, 2)], [(2, 0, 1), (1, 1, 2)], [(1, 5, 4), (2, 0, 0)]] {
        let covered = covered.map(|(partition, start, end)| CoveredRange { partition, start, end });
        assert!(matches!(SegmentWriter::new(spec(covered.to_vec())), Err(SpecError::Covered(_))));
    }
}
