//! Merges: in order, within memory, and copies of what needs no look.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use parquet::file::metadata::{ParquetMetaDataOptions, ParquetMetaDataReader};
use strandline_bronze::{
    CoveredRange, Fetched, FinishedSegment, Merge, MergeStep, PushError, ReadError, SegmentFooter, SegmentWriter, verify,
};
use strandline_types::{RecordRef, limits};
use support::{Row, open, scan, spec, write, write_as};

struct File {
    footer: SegmentFooter,
    bytes: Bytes,
}

fn file(rows: &[Row]) -> File {
    let (_, bytes) = open(&write(rows));
    File { footer: SegmentFooter::parse_to_copy("a", bytes.len() as u64, &bytes).unwrap(), bytes }
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Read(ReadError),
    #[error(transparent)]
    Push(PushError),
}

impl From<ReadError> for Failed {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// Everything that a merge came to.
struct Merged {
    segment: FinishedSegment,
    pieces: Vec<Bytes>,
    most_held_bytes: u64,
    copies: usize,
}

fn run(files: &[File], covered: Vec<CoveredRange>, may_copy: bool) -> Merged {
    let mut writer = SegmentWriter::new(spec(covered)).unwrap();
    let copied = |footer: &SegmentFooter, _| may_copy && writer.can_copy_from(footer);
    let mut merge = Merge::new(files.iter().map(|file| file.footer.clone())).with_copies(copied);
    let (mut pieces, mut most_held_bytes, mut copies) = (Vec::new(), 0, 0);
    loop {
        let visit =
            |partition, ingest_ms, record: &RecordRef<'_>| writer.push(partition, ingest_ms, record).map_err(Failed::Push);
        let step = merge.step(1, visit).unwrap();
        most_held_bytes = most_held_bytes.max(merge.held_bytes());
        pieces.extend(writer.take_pieces());
        match step {
            MergeStep::Done => break,
            MergeStep::Paused => {}
            MergeStep::Needs { file, ranges } => {
                let part = |range: std::ops::Range<u64>| {
                    (range.start, files[file].bytes.slice(range.start as usize..range.end as usize))
                };
                let size = files[file].bytes.len() as u64;
                merge.supply(file, Fetched::new(size, ranges.into_iter().map(part).collect()));
            }
            MergeStep::Copies { file, row_groups } => {
                for row_group in row_groups {
                    let range = files[file].footer.row_group_range(row_group).unwrap();
                    let bytes = files[file].bytes.slice(range.start as usize..range.end as usize);
                    let fetched = Fetched::new(files[file].bytes.len() as u64, vec![(range.start, bytes)]);
                    writer.copy_row_group(&files[file].footer, row_group, &fetched).unwrap();
                    copies += 1;
                }
            }
        }
    }
    let mut segment = writer.finish().unwrap();
    pieces.append(&mut segment.bytes);
    Merged { segment, pieces, most_held_bytes, copies }
}

/// The file of a merge is sound, and holds these rows.
fn check(merged: &Merged, expected: &[Row]) {
    let report = verify("a", &merged.pieces, Some(merged.segment.crc32c));
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!((report.rows, report.record_bytes), (merged.segment.rows, merged.segment.record_bytes));
    assert_eq!(report.file_bytes, merged.segment.file_bytes);
    let bytes: Bytes = merged.pieces.concat().into();
    let footer = SegmentFooter::parse("a", bytes.len() as u64, &bytes).unwrap();
    assert!(scan(&footer, &bytes).unwrap() == expected, "other rows");
}

#[test]
fn one_huge_record_in_each_of_many_files_stays_within_the_bound() {
    const RECORD_BYTES: usize = 5 << 20;
    // Each page has rows of two partitions, so all files' pages are wanted at once, and then again.
    let rows = |of: usize| {
        let first = Row::new(0, of as i64 * 10, b"small");
        [first, Row::new(1, of as i64 * 10, &vec![b'a' + of as u8; RECORD_BYTES])]
    };
    let all: Vec<[Row; 2]> = (0..16).map(rows).collect();
    let files: Vec<File> = all.iter().map(|rows| file(rows)).collect();
    let covered = vec![CoveredRange { partition: 0, start: 0, end: 200 }, CoveredRange { partition: 1, start: 0, end: 200 }];
    let merged = run(&files, covered, true);
    let mut expected: Vec<Row> = all.concat();
    expected.sort_by_key(|row| (row.partition, row.offset));
    check(&merged, &expected);
    let bound = (limits::MERGE_HELD_BYTES + RECORD_BYTES + (1 << 20)) as u64;
    assert!(merged.most_held_bytes <= bound, "{} of {bound} bytes", merged.most_held_bytes);
    assert!(merged.most_held_bytes > (limits::MERGE_HELD_BYTES / 2) as u64, "the bound was not put to the test");
}

/// 20,000 rows of one partition from an offset on, with a time that has its greatest in the middle.
fn many(partition: i32, from: i64) -> Vec<Row> {
    let row = |at: i64| {
        let mut row = Row::new(partition, from + at, format!("{{\"vehicle\":{at},\"speed\":{}}}", at * 7 % 50).as_bytes());
        row.key = Some(format!("vehicle-{}", at % 100).into_bytes());
        row.timestamp_ms = if at == 15_000 { row.timestamp_ms + from + 1_000_000 } else { row.timestamp_ms };
        row.headers = vec![("trace".to_owned(), (at % 3 == 0).then(|| at.to_string().into_bytes()))];
        row
    };
    (0..20_000).map(row).collect()
}

#[test]
fn row_groups_of_one_partition_are_copied_and_the_file_is_as_sound_as_any() {
    let few = |partition: i32, from: i64| (0..5).map(|at| Row::new(partition, from + at, b"few")).collect::<Vec<_>>();
    let inputs = [
        [few(0, 0), many(1, 0), few(2, 0), many(3, 0)].concat(),
        [few(0, 10), many(1, 20_000), many(3, 20_000)].concat(),
        [few(1, 40_000), few(3, 40_000), few(4, 0)].concat(),
        [many(1, 50_000), few(2, 10)].concat(),
    ];
    let files: Vec<File> = inputs.iter().map(|rows| file(rows)).collect();
    let mut expected: Vec<Row> = inputs.concat();
    expected.sort_by_key(|row| (row.partition, row.offset));
    let covered: Vec<_> = (0..5).map(|partition| CoveredRange { partition, start: 0, end: 100_000 }).collect();
    let plain = write_as(spec(covered.clone()), &expected);
    for may_copy in [false, true] {
        let merged = run(&files, covered.clone(), may_copy);
        check(&merged, &expected);
        assert_eq!(merged.copies, if may_copy { 5 } else { 0 });
        for (found, wanted) in merged.segment.partitions.iter().zip(&plain.partitions) {
            assert_eq!((found.partition, found.rows, found.timestamps), (wanted.partition, wanted.rows, wanted.timestamps));
        }
        assert_eq!(merged.segment.day, plain.day);
        let bytes: Bytes = merged.pieces.concat().into();
        let footer = SegmentFooter::parse_to_copy("a", bytes.len() as u64, &bytes).unwrap();
        let again = run(&[File { footer, bytes }], covered.clone(), true);
        check(&again, &expected);
    }
}

#[test]
fn what_was_copied_can_be_copied_again() {
    let inputs = [many(1, 0), many(1, 20_000)];
    let covered = vec![CoveredRange { partition: 1, start: 0, end: 40_000 }];
    let mut files: Vec<File> = inputs.iter().map(|rows| file(rows)).collect();
    for _ in 0..2 {
        let merged = run(&files, covered.clone(), true);
        check(&merged, &inputs.concat());
        assert_eq!(merged.copies, 2);
        let bytes: Bytes = merged.pieces.concat().into();
        files = vec![File { footer: SegmentFooter::parse_to_copy("a", bytes.len() as u64, &bytes).unwrap(), bytes }];
    }
}

#[test]
fn what_does_not_fit_is_not_copied() {
    let files = [file(&many(1, 0))];
    let mut other = spec(vec![CoveredRange { partition: 1, start: 0, end: 20_000 }]);
    other.value = strandline_bronze::Preference::Binary;
    assert!(!SegmentWriter::new(other).unwrap().can_copy_from(&files[0].footer));
    let whole = Fetched::whole(files[0].bytes.clone());
    for covered in [(1, 0, 19_999), (1, 1, 20_000), (2, 0, 20_000)] {
        let (partition, start, end) = covered;
        let mut writer = SegmentWriter::new(spec(vec![CoveredRange { partition, start, end }])).unwrap();
        let error = writer.copy_row_group(&files[0].footer, 0, &whole).unwrap_err();
        assert!(matches!(error, PushError::NotCovered { .. }), "{error}");
    }
    let mut writer = SegmentWriter::new(spec(vec![CoveredRange { partition: 1, start: 0, end: 30_000 }])).unwrap();
    writer.copy_row_group(&files[0].footer, 0, &whole).unwrap();
    assert!(matches!(writer.copy_row_group(&files[0].footer, 0, &whole), Err(PushError::OutOfOrder { .. })));
    let mut next_day = Row::new(1, 20_000, b"");
    next_day.ingest_ms += 86_400_000;
    assert!(matches!(next_day.push_to(&mut writer), Err(PushError::OtherDay { .. })));
}

#[test]
fn a_copied_row_group_keeps_its_encoding_statistics() {
    let rows: Vec<Row> = (0..12_000).map(|at| Row::new(0, at, format!("value {at}").as_bytes())).collect();
    let files = [file(&rows)];
    let merged = run(&files, vec![CoveredRange { partition: 0, start: 0, end: 12_000 }], true);
    assert_eq!(merged.copies, 1);
    let statistics = |bytes: &Bytes| {
        let options = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
        let metadata = ParquetMetaDataReader::new().with_metadata_options(Some(options)).parse_and_finish(bytes).unwrap();
        let columns = metadata.row_group(0).columns().iter();
        columns.map(|column| column.page_encoding_stats().cloned()).collect::<Vec<_>>()
    };
    let expected = statistics(&files[0].bytes);
    assert!(expected.iter().any(Option::is_some));
    assert_eq!(statistics(&merged.pieces.concat().into()), expected);
}
