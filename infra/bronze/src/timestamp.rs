//! Offsets for timestamps: exact, and only two columns of at most two pages are read.

use crate::columns::at;
use crate::decode::{Batches, time_ms};
use crate::fetched::Fetched;
use crate::footer::SegmentFooter;
use crate::plan::byte_ranges;
use crate::read::ReadError;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use std::ops::Range;

const LEAVES: [usize; 2] = [at::OFFSET, at::TIMESTAMP];

/// Where the first record with a timestamp at or after a target can lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampPlan {
    from_offset: i64,
    target_ms: i64,
    /// One run, or two if the first lies partly before the offset.
    runs: Vec<usize>,
    ranges: Vec<Range<u64>>,
}

impl TimestampPlan {
    /// Bytes of the file that it needs: ascending, without overlap.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }
}

/// Plans the search for the first record of `partition` at or after `from_offset` whose timestamp is at least `target_ms`; none
/// if the file has no such record.
pub fn plan_timestamp(footer: &SegmentFooter, partition: i32, from_offset: i64, target_ms: i64) -> Option<TimestampPlan> {
    let mut runs = Vec::new();
    for index in footer.runs_from(partition, from_offset) {
        let run = &footer.runs()[index];
        if run.max_timestamp_ms < target_ms {
            continue;
        }
        runs.push(index);
        // A run that begins at or after the offset has the record for certain.
        if run.first_offset >= from_offset {
            break;
        }
    }
    if runs.is_empty() {
        return None;
    }
    let pieces: Vec<_> = runs.iter().flat_map(|run| footer.pieces(*run..*run + 1)).collect();
    let ranges = byte_ranges(footer.metadata(), &pieces, &LEAVES);
    Some(TimestampPlan { from_offset, target_ms, runs, ranges })
}

/// The offset and timestamp (milliseconds) of the record that the plan looks for; none if there is none in this file.
///
/// # Errors
/// The bytes are not those of the plan, or they are damaged.
pub fn read_timestamp(footer: &SegmentFooter, plan: &TimestampPlan, fetched: &Fetched) -> Result<Option<(i64, i64)>, ReadError> {
    for index in &plan.runs {
        let rows = run_times(footer, *index, fetched)?;
        let found =
            rows.into_iter().find(|(offset, timestamp_ms)| *offset >= plan.from_offset && *timestamp_ms >= plan.target_ms);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Offsets and timestamps of a run. Its digest covers all columns, so what the footer says of these two is checked instead.
fn run_times(footer: &SegmentFooter, index: usize, fetched: &Fetched) -> Result<Vec<(i64, i64)>, ReadError> {
    let mut batches = Batches::new(footer.clone(), fetched.clone(), footer.pieces(index..index + 1), &LEAVES);
    let mut rows = Vec::new();
    while let Some(batch) = batches.next() {
        let (_, _, batch) = batch.map_err(|error| ReadError::of_parquet(footer, &error))?;
        let [offsets, times] = batch.columns() else { return Err(ReadError::damaged(footer, "columns are missing")) };
        let (Some(offsets), Some(times)) =
            (offsets.as_primitive_opt::<Int64Type>(), times.as_primitive_opt::<TimestampMicrosecondType>())
        else {
            return Err(ReadError::damaged(footer, "a column has another type than the format says"));
        };
        rows.extend((0..batch.num_rows()).map(|row| (offsets.value(row), time_ms(times, row))));
    }
    let run = &footer.runs()[index];
    let ends = rows.first().zip(rows.last()).map(|(first, last)| (first.0, last.0));
    let max = rows.iter().map(|(_, timestamp_ms)| *timestamp_ms).max();
    if ends == Some((run.first_offset, run.last_offset))
        && max == Some(run.max_timestamp_ms)
        && rows.is_sorted_by(|a, b| a.0 < b.0)
    {
        return Ok(rows);
    }
    Err(ReadError::Digest {
        file: footer.file().into(),
        partition: run.partition,
        first_offset: run.first_offset,
        last_offset: run.last_offset,
    })
}
