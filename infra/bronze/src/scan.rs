//! Records out of a file, run by run, each checked against its digest before it is handed out.

use crate::decode::{Batches, RecordArrays};
use crate::digest::{RunDigest, record_bytes};
use crate::fetched::Fetched;
use crate::footer::SegmentFooter;
use crate::footer_keys::Run;
use crate::plan::RECORD_LEAVES;
use crate::read::ReadError;
use std::ops::Range;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{HeaderRef, RecordRef};

/// A walk over the records of a file in its order, (partition, offset): for merge, seal and replay.
pub struct SegmentScan {
    footer: SegmentFooter,
    batches: Batches,
    runs: Range<usize>,
}

/// Decoded rows, at most as many as a page has: one or more digest runs.
pub struct RowBatch {
    footer: SegmentFooter,
    arrays: RecordArrays,
    first_row: usize,
    runs: Range<usize>,
}

/// The records of one digest run, checked.
pub struct Rows<'a> {
    arrays: &'a RecordArrays,
    run: Run,
    first: usize,
    headers: Vec<HeaderRef<'a>>,
}

impl SegmentScan {
    /// All records of the file, of which all bytes are at hand.
    pub fn new(footer: &SegmentFooter, fetched: &Fetched) -> Self {
        Self::of_runs(footer, fetched, 0..footer.runs().len())
    }

    pub(crate) fn of_runs(footer: &SegmentFooter, fetched: &Fetched, runs: Range<usize>) -> Self {
        let batches = Batches::new(footer.clone(), fetched.clone(), footer.pieces(runs.clone()), &RECORD_LEAVES);
        Self { footer: footer.clone(), batches, runs }
    }

    /// The next rows, not yet checked; none at the end.
    ///
    /// # Errors
    /// The bytes cannot be decoded: see [`ReadError`].
    pub fn next_batch(&mut self) -> Result<Option<RowBatch>, ReadError> {
        let Some(next) = self.batches.next() else {
            return if self.runs.is_empty() { Ok(None) } else { Err(ReadError::damaged(&self.footer, "rows are missing")) };
        };
        let (row_group, first_row, batch) = next.map_err(|error| ReadError::of_parquet(&self.footer, &error))?;
        let arrays = RecordArrays::new(&batch).map_err(|error| ReadError::of_parquet(&self.footer, &error))?;
        let end = first_row + batch.num_rows();
        let own = self.footer.runs()[self.runs.clone()].iter();
        let count =
            own.take_while(|run| run.row_group as usize == row_group && ((run.first_row + run.rows) as usize) <= end).count();
        let runs = self.runs.start..self.runs.start + count;
        self.runs.start = runs.end;
        if runs.is_empty() {
            return Err(ReadError::damaged(&self.footer, "a digest run crosses a page"));
        }
        Ok(Some(RowBatch { footer: self.footer.clone(), arrays, first_row, runs }))
    }

    /// Hands every record to `visit` as (partition, time of ingest in milliseconds, record), until it fails.
    ///
    /// # Errors
    /// The bytes cannot be decoded, a digest differs, or `visit` failed.
    pub fn for_each_row<E: From<ReadError>>(
        mut self,
        mut visit: impl FnMut(i32, i64, &RecordRef<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(batch) = self.next_batch()? {
            for run in 0..batch.runs() {
                let rows = batch.run(run)?;
                for row in 0..rows.len() {
                    visit(rows.partition(), rows.ingest_ms(row), &rows.record(row))?;
                }
            }
        }
        Ok(())
    }
}

impl RowBatch {
    /// How many digest runs it holds, at least one.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// The records of one of its runs.
    ///
    /// # Errors
    /// The digest differs or a value is of an encoding that this version does not know.
    ///
    /// # Panics
    /// If `run` is not below [`Self::runs`].
    pub fn run(&self, run: usize) -> Result<Rows<'_>, ReadError> {
        let run = self.footer.runs()[self.runs.clone()][run];
        let first = run.first_row as usize - self.first_row;
        let range = first..first + run.rows as usize;
        if let Some(encoding) = self.arrays.unknown_encoding(range.clone()) {
            return Err(ReadError::Encoding { file: self.footer.file().into(), encoding });
        }
        let headers = self.arrays.headers(range).map_err(|error| ReadError::of_parquet(&self.footer, &error))?;
        let rows = Rows { arrays: &self.arrays, run, first, headers };
        if holds(Rule::Digest) {
            rows.check(&self.footer)?;
        }
        Ok(rows)
    }
}

impl Rows<'_> {
    /// How many records, at least one.
    #[allow(clippy::len_without_is_empty)] // a run is never empty
    pub fn len(&self) -> usize {
        self.run.rows as usize
    }

    /// Their partition.
    pub fn partition(&self) -> i32 {
        self.run.partition
    }

    /// Offset of the first.
    pub fn first_offset(&self) -> i64 {
        self.run.first_offset
    }

    /// The time of ingest of a record, in milliseconds.
    pub fn ingest_ms(&self, row: usize) -> i64 {
        self.arrays.ingest_ms(self.first + row)
    }

    /// A record, as it was pushed.
    pub fn record(&self, row: usize) -> RecordRef<'_> {
        let row = self.first + row;
        self.arrays.record(row, &self.headers[self.arrays.header_range(row, self.first)])
    }

    fn check(&self, footer: &SegmentFooter) -> Result<(), ReadError> {
        let mut digest = RunDigest::new();
        for row in 0..self.len() {
            let record = self.record(row);
            digest.update(self.ingest_ms(row), record_bytes(&record), &record);
        }
        if digest.finish() == (self.run.crc32c, self.run.ingest_crc32c) {
            return Ok(());
        }
        let Run { partition, first_offset, last_offset, .. } = self.run;
        Err(ReadError::Digest { file: footer.file().into(), partition, first_offset, last_offset })
    }
}
