use super::*;
use crate::columns::at;
use crate::decode::Batches;
use crate::plan::{Piece, RECORD_LEAVES};
use crate::{CoveredRange, Preference, SegmentSpec, SegmentWriter};
use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use proptest::prelude::*;
use std::io::Write;
use strandline_types::{HeaderRef, RecordRef, TimestampType, TopicId, limits};

fn segment(rows: &[(bool, u32, u32, u32)], large: usize) -> (SegmentFooter, Bytes) {
    let partitions = 1 + rows.iter().filter(|row| row.0).count() as i32;
    let covered = (0..partitions).map(|partition| CoveredRange { partition, start: 0, end: 1 << 40 }).collect();
    let spec = SegmentSpec {
        topic: "t".to_owned(),
        topic_id: TopicId([7; 16]),
        covered,
        plan: "plan".to_owned(),
        key: Preference::Text,
        value: Preference::Text,
    };
    let mut writer = SegmentWriter::new(spec).unwrap();
    let (mut partition, mut offset) = (0, 0);
    for (at, (next_partition, times, key, value)) in rows.iter().enumerate() {
        partition += i32::from(*next_partition);
        // Many rows of one shape, so that pages and row groups begin between them.
        for time in 0..*times {
            let bytes = match value % 5 {
                0 => None,
                1 => Some(vec![0xff, *value as u8]),
                2 if at % 7 == 0 && time == 0 => Some(vec![b'x'; large]),
                _ => Some(format!("{{\"n\":{value},\"at\":{time}}}").into_bytes()),
            };
            let key = (key % 3 > 0).then(|| [key.to_le_bytes().to_vec(), format!("k{}", time % 50).into_bytes()][at % 2].clone());
            let headers = [
                HeaderRef { key: "a", value: bytes.as_deref() },
                HeaderRef { key: "", value: None },
                HeaderRef { key: "a", value: Some(b"") },
            ];
            let record = RecordRef {
                offset,
                timestamp_ms: if time % 9 == 0 { -1 } else { i64::from(*value) },
                timestamp_type: TimestampType::Create,
                key: key.as_deref(),
                value: bytes.as_deref(),
                headers: &headers[..(value % 4) as usize],
            };
            writer.push(partition, 1_795_443_300_000 + i64::from(time), &record).unwrap();
            offset += 1 + i64::from(time % 3);
        }
    }
    let bytes = Bytes::from(writer.finish().unwrap().bytes.concat());
    (SegmentFooter::parse("a", bytes.len() as u64, &bytes).unwrap(), bytes)
}

/// What the Parquet library's own reader makes of a piece.
fn library(footer: &SegmentFooter, bytes: &Bytes, piece: &Piece, leaves: &[usize]) -> Vec<RecordBatch> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_schema(crate::columns::read_schema());
    let metadata = ArrowReaderMetadata::try_new(Arc::new(footer.metadata().clone()), options).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes.clone(), metadata);
    let mask = ProjectionMask::leaves(builder.parquet_schema(), leaves.iter().copied());
    let selection = vec![RowSelector::skip(piece.rows.start), RowSelector::select(piece.rows.len())];
    builder
        .with_batch_size(limits::PAGE_ROWS)
        .with_row_groups(vec![piece.row_group])
        .with_projection(mask)
        .with_row_selection(RowSelection::from(selection))
        .build()
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn check(footer: &SegmentFooter, bytes: &Bytes, pieces: Vec<Piece>, leaves: &'static [usize]) {
    let expected: Vec<_> = pieces.iter().flat_map(|piece| library(footer, bytes, piece, leaves)).collect();
    let mut batches = Batches::new(footer.clone(), Fetched::whole(bytes.clone()), pieces, leaves);
    let mut found = Vec::new();
    while let Some(batch) = batches.next() {
        found.push(batch.unwrap().2);
    }
    assert_eq!(found, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn arrays_are_those_of_the_parquet_library(
        rows in proptest::collection::vec((any::<bool>(), 1_u32..700, any::<u32>(), any::<u32>()), 1..12),
        long in prop_oneof![4 => Just(1_u32), 1 => Just(12_000_u32)],
        large in prop_oneof![Just(10_usize), Just(300_000), Just(5 << 20)],
        ranges in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 4),
    ) {
        let mut rows = rows;
        rows[0].1 = rows[0].1.max(long);
        let (footer, bytes) = segment(&rows, large);
        let runs = footer.runs().len();
        check(&footer, &bytes, footer.pieces(0..runs), &RECORD_LEAVES);
        for (a, b) in ranges {
            let (a, b) = (a.index(runs), b.index(runs));
            let pieces = footer.pieces(a.min(b)..a.max(b) + 1);
            check(&footer, &bytes, pieces.clone(), &RECORD_LEAVES);
            check(&footer, &bytes, pieces, &[at::OFFSET, at::TIMESTAMP]);
        }
        check(&footer, &bytes, footer.pieces(0..runs), &[at::PARTITION]);
    }
}

/// What is opened for a batch is opened once.
#[test]
fn a_batch_takes_a_short_partition_whole_over_a_page_s_end() {
    let (footer, bytes) = segment(&[(false, 700, 1, 3), (true, 700, 2, 3), (true, 1_500, 1, 3)], 1);
    let pieces = |partition| footer.pieces(footer.runs_from(partition, 0));
    assert_eq!(pieces(1), [Piece { row_group: 0, rows: 700..1_400 }]);
    assert_eq!(pieces(2), [Piece { row_group: 0, rows: 1_400..2_048 }, Piece { row_group: 0, rows: 2_048..2_900 }]);
    check(&footer, &bytes, pieces(1), &RECORD_LEAVES);
    let mut scan = crate::SegmentScan::of_runs(&footer, &Fetched::whole(bytes), footer.runs_from(1, 0));
    assert_eq!(scan.next_batch().unwrap().map(|batch| batch.runs()), Some(2));
    assert!(scan.next_batch().unwrap().is_none());
}

#[test]
fn a_frame_is_read_if_it_says_how_much_it_holds() {
    let plain = vec![7_u8; 100_000];
    let mut sized = zstd::bulk::compress(&plain, 1).unwrap();
    assert_eq!(frame(&sized, 100_000).unwrap().unwrap(), plain);
    assert!(frame(&sized, 99_999).is_err(), "more than the column says that it has");
    assert_eq!(frame(&zstd::bulk::compress(b"", 1).unwrap(), 0).unwrap().unwrap(), b""[..]);
    let mut streamed = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    streamed.write_all(&plain).unwrap();
    assert_eq!(frame(&streamed.finish().unwrap(), 100_000).unwrap(), None);
    assert_eq!(frame(b"", 100).unwrap(), None);
    assert_eq!(frame(b"no frame at all", 100).unwrap(), None);
    assert_eq!(frame(&sized[..3], 100_000).unwrap(), None);
    assert!(frame(&sized[..sized.len() - 1], 100_000).is_err(), "it ends too early");
    // A frame of one segment has its size in the four bytes after its magic number and its flags.
    assert_eq!(sized[4..9], [0xa0, 0xa0, 0x86, 1, 0]);
    for lie in [99_999_u32, 100_001, 200_000] {
        sized[5..9].copy_from_slice(&lie.to_le_bytes());
        assert!(frame(&sized, i64::MAX).is_err(), "{lie}");
    }
    sized[5..9].copy_from_slice(&100_000_u32.to_le_bytes());
    assert_eq!(frame(&sized, i64::MAX).unwrap().unwrap(), plain, "the context is as good as new after an error");
}
