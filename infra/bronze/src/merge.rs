//! Several files into one order: fresh segments that are merged or sealed cover ranges that do not overlap.

use crate::fetched::Fetched;
use crate::footer::SegmentFooter;
use crate::read::ReadError;
use crate::scan::{RowBatch, SegmentScan};
use strandline_types::RecordRef;

/// One input, and the page of it that is being read.
struct Input {
    scan: SegmentScan,
    batch: Option<RowBatch>,
    next_run: usize,
}

impl Input {
    /// The page with its next run.
    fn advance(&mut self) -> Result<Option<(&RowBatch, usize)>, ReadError> {
        if self.batch.as_ref().is_none_or(|batch| self.next_run >= batch.runs()) {
            self.batch = self.scan.next_batch()?;
            self.next_run = 0;
        }
        let run = self.next_run;
        self.next_run += 1;
        Ok(self.batch.as_ref().map(|batch| (batch, run)))
    }
}

/// Hands the records of all files to `visit` as (partition, time of ingest in milliseconds, record), ascending by
/// (partition, offset), until it fails. The files' offsets must not overlap, as those of the index never do (I5). Holds one page of
/// each file in memory.
///
/// # Errors
/// A file is damaged, or `visit` failed.
pub fn merge_rows<E: From<ReadError>>(
    files: &[(SegmentFooter, Fetched)],
    mut visit: impl FnMut(i32, i64, &RecordRef<'_>) -> Result<(), E>,
) -> Result<(), E> {
    // Runs never overlap, so the order of runs is the order of records.
    let mut order: Vec<(i32, i64, usize)> = Vec::new();
    for (file, (footer, _)) in files.iter().enumerate() {
        order.extend(footer.runs().iter().map(|run| (run.partition, run.first_offset, file)));
    }
    order.sort_unstable();
    let mut inputs: Vec<Input> = files
        .iter()
        .map(|(footer, fetched)| Input { scan: SegmentScan::new(footer, fetched), batch: None, next_run: 0 })
        .collect();
    for (_, _, file) in order {
        let Some((batch, run)) = inputs[file].advance()? else {
            return Err(ReadError::damaged(&files[file].0, "rows are missing").into());
        };
        let rows = batch.run(run)?;
        for row in 0..rows.len() {
            visit(rows.partition(), rows.ingest_ms(row), &rows.record(row))?;
        }
    }
    Ok(())
}
