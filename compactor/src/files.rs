//! From finished files to the commands that name them.

use std::collections::BTreeMap;
use strandline_bronze::{FinishedSegment, PartitionSummary, Preference};
use strandline_commands::{FileRange, NewFile};
use strandline_index::{Format, Topic};
use strandline_types::limits;

/// `Convert.key_format` and `.value_format`.
pub(crate) const FORMAT_TEXT: u32 = 1;
pub(crate) const FORMAT_BINARY: u32 = 2;

/// The preference that the index holds; text while nothing is decided (what is not text stays bytes anyway).
pub(crate) fn preference(format: Format) -> Preference {
    match format {
        Format::Binary => Preference::Binary,
        Format::Text | Format::Undecided => Preference::Text,
    }
}

/// What a file holds, by partition. `sent_bytes` are those of the batches as they came.
pub(crate) fn file_ranges(partitions: &[PartitionSummary], sent_bytes: &BTreeMap<i32, u64>) -> Vec<FileRange> {
    let mut first_row = 0;
    let ranges = partitions.iter().map(|summary| {
        let at = first_row;
        first_row += summary.rows;
        FileRange {
            partition: summary.partition,
            start: summary.start,
            end: summary.end,
            rows: summary.rows,
            first_row: at,
            max_timestamp_ms: summary.timestamps.map_or(-1, |timestamps| timestamps.max_ms),
            max_timestamp_offset: summary.timestamps.map_or(-1, |timestamps| timestamps.max_offset),
            sent_bytes: sent_bytes.get(&summary.partition).copied().unwrap_or(0),
        }
    });
    ranges.collect()
}

/// Record bytes of a file, and something for each of its rows, which may have none.
pub(crate) fn weight(file: &NewFile) -> u64 {
    file.record_bytes.saturating_add(file.rows.saturating_mul(limits::ROW_WEIGHT))
}

/// The command's view of a finished file.
pub(crate) fn new_file(path: &str, ingest_day: i32, segment: &FinishedSegment, sent_bytes: &BTreeMap<i32, u64>) -> NewFile {
    NewFile {
        path: path.to_owned(),
        size: segment.file_bytes,
        crc32c: segment.crc32c,
        rows: segment.rows,
        record_bytes: segment.record_bytes,
        ingest_day,
        ranges: file_ranges(&segment.partitions, sent_bytes),
    }
}

/// Bytes as sent, by partition, of several files together, as far as they still answer.
pub(crate) fn sent_bytes_of<'a>(files: impl IntoIterator<Item = &'a NewFile>, topic: &Topic) -> BTreeMap<i32, u64> {
    let mut sent = BTreeMap::new();
    for range in files.into_iter().flat_map(|file| &file.ranges) {
        let live = topic.partition(range.partition).is_some_and(|partition| range.end > partition.log_start);
        if live {
            *sent.entry(range.partition).or_default() += range.sent_bytes;
        }
    }
    sent
}
