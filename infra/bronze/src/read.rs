//! A planned read of one partition.

use crate::fetched::Fetched;
use crate::footer::SegmentFooter;
use crate::plan::ReadPlan;
use crate::scan::SegmentScan;
use parquet::errors::ParquetError;
use std::ops::ControlFlow;
use std::sync::Arc;
use strandline_types::RecordRef;

/// A read that failed. Nothing that was handed out before it is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The caller did not hand in all bytes of the plan. A fault of the caller.
    #[error("{file} was read without all the bytes that the plan names: {reason}")]
    MissingBytes {
        /// The file.
        file: Arc<str>,
        /// Which bytes.
        reason: String,
    },
    /// The records are not those that were written. Never worth a retry with the same bytes.
    #[error("{file} is damaged: the digest of partition {partition}, offsets {first_offset} to {last_offset}, differs")]
    Digest {
        /// The file.
        file: Arc<str>,
        /// The partition.
        partition: i32,
        /// First offset of the run.
        first_offset: i64,
        /// Last offset of the run.
        last_offset: i64,
    },
    /// A value in an encoding that this version does not know.
    #[error("{file} holds values of the encoding `{encoding}`, which this version does not know: run a newer version")]
    Encoding {
        /// The file.
        file: Arc<str>,
        /// Its name.
        encoding: String,
    },
    /// The pages cannot be decoded. Never worth a retry with the same bytes.
    #[error("{file} is damaged: {reason}")]
    Damaged {
        /// The file.
        file: Arc<str>,
        /// What is wrong.
        reason: String,
    },
}

impl ReadError {
    pub(crate) fn of_parquet(footer: &SegmentFooter, error: &ParquetError) -> Self {
        let (file, reason) = (footer.file().into(), error.to_string());
        // The library wraps our own error in text of its own.
        if reason.contains(crate::fetched::NOT_FETCHED) {
            Self::MissingBytes { file, reason }
        } else {
            Self::Damaged { file, reason }
        }
    }

    pub(crate) fn damaged(footer: &SegmentFooter, reason: &str) -> Self {
        Self::Damaged { file: footer.file().into(), reason: reason.to_owned() }
    }
}

/// Reads the records of a plan that [`SegmentFooter::plan`] made: from its start offset on, each with its time of ingest in
/// milliseconds, until `visit` breaks. Keys, values and headers are views into the decoded pages.
///
/// # Errors
/// The bytes are not those of the plan, or they are damaged. Records of a run are handed out only after its digest was checked.
pub fn read(
    footer: &SegmentFooter,
    plan: &ReadPlan,
    fetched: &Fetched,
    mut visit: impl FnMut(&RecordRef<'_>, i64) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let mut scan = SegmentScan::of_runs(footer, fetched, plan.runs.clone());
    while let Some(batch) = scan.next_batch()? {
        for run in 0..batch.runs() {
            let rows = batch.run(run)?;
            for row in 0..rows.len() {
                let record = rows.record(row);
                if record.offset >= plan.start_offset && visit(&record, rows.ingest_ms(row)).is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
