//! Which pages of a file a read needs.

use crate::columns::at;
use crate::footer::SegmentFooter;
use crate::footer_keys::Run;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use std::ops::Range;
use strandline_types::limits;

/// The leaves that make a record.
pub(crate) const RECORD_LEAVES: [usize; 11] = [
    at::OFFSET,
    at::TIMESTAMP,
    at::TIMESTAMP_TYPE,
    at::INGEST,
    at::KEY,
    at::KEY_TEXT,
    at::VALUE,
    at::VALUE_TEXT,
    at::ENCODING,
    at::HEADER_KEY_LEAF,
    at::HEADER_VALUE_LEAF,
];

/// Rows of one row group that are decoded together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub row_group: usize,
    pub rows: Range<usize>,
}

/// A read of consecutive records of one partition: whole digest runs, so that each is checked before it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPlan {
    pub(crate) start_offset: i64,
    pub(crate) runs: Range<usize>,
    ranges: Vec<Range<u64>>,
    rows: u64,
    record_bytes: u64,
    next_offset: i64,
}

impl ReadPlan {
    /// Bytes of the file that it needs: ascending, without overlap. [Join](join_ranges) them as suits the store.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Records that will be decoded, those before the start offset among them.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Their key, value and header bytes.
    pub fn record_bytes(&self) -> u64 {
        self.record_bytes
    }

    /// Where the next read begins: the next record's offset, or the end of what the file covers.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }
}

impl SegmentFooter {
    /// Plans a read of `partition` from `start_offset` that yields about `max_bytes` record bytes, and [`limits::ROW_WEIGHT`] for each
    /// row and header (at least one digest run, and at most one more than fits). None if the file has no record of it at or after that offset: what lies between there and
    /// the end of the covered range is a hole.
    pub fn plan(&self, partition: i32, start_offset: i64, max_bytes: u64) -> Option<ReadPlan> {
        let candidates = self.runs_from(partition, start_offset);
        let (mut record_bytes, mut weight) = (0, 0_u64);
        let mut rows = 0;
        let mut end = candidates.start;
        for run in &self.runs()[candidates.clone()] {
            if end > candidates.start && weight >= max_bytes {
                break;
            }
            record_bytes += run.bytes;
            weight = weight.saturating_add(self.weight(run));
            rows += u64::from(run.rows);
            end += 1;
        }
        if end == candidates.start {
            return None;
        }
        let next_offset = match self.runs()[candidates.clone()].get(end - candidates.start) {
            Some(next) => next.first_offset,
            None => self.partition(partition)?.end,
        };
        let runs = candidates.start..end;
        let ranges = byte_ranges(self.metadata(), &self.pieces(runs.clone()), &RECORD_LEAVES);
        Some(ReadPlan { start_offset, runs, ranges, rows, record_bytes, next_offset })
    }

    /// Record bytes of a run, and something for each row and header, which may have none. Headers are not counted by run: it has its
    /// share of those of its row group.
    pub(crate) fn weight(&self, run: &Run) -> u64 {
        let rows = u64::from(run.rows);
        let group = self.metadata().row_groups().get(run.row_group as usize);
        let headers = group.and_then(|group| {
            // A row without headers has a value, too: a null.
            let values = u64::try_from(group.columns().get(at::HEADER_KEY_LEAF)?.num_values()).ok()?;
            let of_group = u64::try_from(group.num_rows()).ok()?;
            values.saturating_sub(of_group).saturating_mul(rows).checked_div(of_group)
        });
        run.bytes.saturating_add(rows.saturating_add(headers.unwrap_or(0)).saturating_mul(limits::ROW_WEIGHT))
    }

    /// The rows of these runs as pieces of which each batch of a page's rows holds whole runs only.
    pub(crate) fn pieces(&self, runs: Range<usize>) -> Vec<Piece> {
        let mut joined: Vec<Piece> = Vec::new();
        for run in &self.runs()[runs] {
            let (row_group, start, end) = (run.row_group as usize, run.first_row as usize, (run.first_row + run.rows) as usize);
            match joined.last_mut() {
                Some(piece) if piece.row_group == row_group && piece.rows.end == start => piece.rows.end = end,
                _ => joined.push(Piece { row_group, rows: start..end }),
            }
        }
        // One batch takes its runs whole, even over a page's end: what is opened for it, dictionaries above all, is opened once. Of more
        // rows, what begins within a page is read up to the page's end by itself, so that all later batches are pages.
        let cut = joined.into_iter().flat_map(|Piece { row_group, rows }| {
            let page_end = rows.start.next_multiple_of(limits::PAGE_ROWS).min(rows.end);
            let cut = if rows.len() <= limits::PAGE_ROWS { rows.end } else { page_end };
            [rows.start..cut, cut..rows.end].map(|rows| Piece { row_group, rows })
        });
        cut.filter(|piece| !piece.rows.is_empty()).collect()
    }
}

/// The dictionary pages and data pages that hold these rows of these leaves.
pub(crate) fn byte_ranges(metadata: &ParquetMetaData, pieces: &[Piece], leaves: &[usize]) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    for piece in pieces {
        for leaf in leaves {
            let Some((dictionary, pages)) = chunk_pages(metadata, piece.row_group, *leaf) else { continue };
            ranges.extend(dictionary);
            let first = pages.partition_point(|page| page.first_row_index <= piece.rows.start as i64).saturating_sub(1);
            let wanted = pages[first..].iter().take_while(|page| page.first_row_index < piece.rows.end as i64);
            ranges.extend(wanted.map(page_range));
        }
    }
    join_ranges(ranges, 0)
}

/// Every page of a column chunk, its dictionary's first, in the order of the file.
pub(crate) fn chunk_ranges(metadata: &ParquetMetaData, row_group: usize, leaf: usize) -> Vec<Range<u64>> {
    let Some((dictionary, pages)) = chunk_pages(metadata, row_group, leaf) else { return Vec::new() };
    dictionary.into_iter().chain(pages.iter().map(page_range)).collect()
}

/// Where a column chunk has its dictionary page, if it has one, and its data pages.
pub(crate) fn chunk_pages(
    metadata: &ParquetMetaData,
    row_group: usize,
    leaf: usize,
) -> Option<(Option<Range<u64>>, &[PageLocation])> {
    let pages = metadata.offset_index()?.get(row_group)?.get(leaf)?.page_locations().as_slice();
    let (chunk_start, _) = metadata.row_groups().get(row_group)?.columns().get(leaf)?.byte_range();
    let dictionary = pages.first().map(|page| chunk_start..page.offset as u64).filter(|range| !range.is_empty());
    Some((dictionary, pages))
}

fn page_range(page: &PageLocation) -> Range<u64> {
    page.offset as u64..page.offset as u64 + page.compressed_page_size as u64
}

/// The ranges of bytes, ascending, joined where they overlap or lie at most `gap_bytes` apart.
pub fn join_ranges(mut ranges: Vec<Range<u64>>, gap_bytes: u64) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(gap_bytes) => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}
