//! The whole-file check behind `bronze verify`.

use crate::columns::at;
use crate::decode::Batches;
use crate::digest::record_bytes;
use crate::fetched::Fetched;
use crate::file_check::FileCheck;
use crate::footer::SegmentFooter;
use crate::footer_keys::TimestampSummary;
use crate::page::NO_TIMESTAMP_MS;
use crate::read::ReadError;
use crate::scan::SegmentScan;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use std::collections::BTreeMap;
use strandline_types::RecordRef;

const PARTITION: [usize; 1] = [at::PARTITION];

/// What [`verify`] says of a file whose checksum of itself differs. If it is all that it says, every record is as it was written.
pub const FILE_CHECKSUM_DIFFERS: &str = "the CRC-32C that the file carries of itself differs";

/// What a check of a file found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Length of the file.
    pub file_bytes: u64,
    /// CRC-32C of all of it.
    pub crc32c: u32,
    /// Records that were read and agree with their digests.
    pub rows: u64,
    /// Their key, value and header bytes.
    pub record_bytes: u64,
    /// Digest runs of the file.
    pub runs: usize,
    /// Partitions that it covers.
    pub partitions: usize,
    /// Everything that is wrong, in plain words; empty if the file is sound.
    pub problems: Vec<String>,
}

impl VerifyReport {
    /// True if nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// What was seen of a partition.
#[derive(Default)]
struct Seen {
    rows: u64,
    last_offset: Option<i64>,
    timestamps: Option<TimestampSummary>,
}

/// Checks a whole file: its CRC-32C where the index knows one, the one that it carries of itself, its footer, every digest, the order of its rows, and that each
/// partition holds what the footer says. Reads on after the first problem where it can.
pub fn verify(file: &str, pieces: &[Bytes], expected_crc32c: Option<u32>) -> VerifyReport {
    let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for piece in pieces {
        crc.update(piece);
    }
    let fetched = Fetched::whole_in_pieces(pieces);
    let file_bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
    let mut report = VerifyReport { file_bytes, crc32c: crc.finalize() as u32, ..VerifyReport::default() };
    if let Some(expected) = expected_crc32c.filter(|expected| *expected != report.crc32c) {
        report.problems.push(format!("the CRC-32C of the file is {:08x}, the index has {expected:08x}", report.crc32c));
    }
    match SegmentFooter::open(file, &fetched) {
        Ok(footer) => {
            if footer.check_file(pieces) == FileCheck::Differs {
                report.problems.push(FILE_CHECKSUM_DIFFERS.to_owned());
            }
            check_rows(&footer, &fetched, &mut report);
        }
        Err(error) => report.problems.push(error.to_string()),
    }
    report
}

fn check_rows(footer: &SegmentFooter, fetched: &Fetched, report: &mut VerifyReport) {
    report.runs = footer.runs().len();
    report.partitions = footer.partitions().len();
    let mut seen = BTreeMap::<i32, Seen>::new();
    let mut previous = None;
    let mut scan = SegmentScan::new(footer, fetched);
    loop {
        let batch = match scan.next_batch() {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(error) => {
                report.problems.push(error.to_string());
                break;
            }
        };
        for run in 0..batch.runs() {
            match batch.run(run) {
                Err(error) => report.problems.push(error.to_string()),
                Ok(rows) => (0..rows.len()).for_each(|row| {
                    let record = rows.record(row);
                    report.rows += 1;
                    report.record_bytes += record_bytes(&record) as u64;
                    let place = (rows.partition(), record.offset);
                    if previous.replace(place).is_some_and(|before| before >= place) {
                        report.problems.push(format!("partition {}, offset {} is not in order", place.0, place.1));
                    }
                    see(seen.entry(rows.partition()).or_default(), &record);
                }),
            }
        }
    }
    check_partitions(footer, &seen, report);
    if let Err(error) = check_partition_column(footer, fetched) {
        report.problems.push(error.to_string());
    }
}

fn see(seen: &mut Seen, record: &RecordRef<'_>) {
    seen.rows += 1;
    seen.last_offset = Some(record.offset);
    if record.timestamp_ms != NO_TIMESTAMP_MS {
        TimestampSummary::include(&mut seen.timestamps, record.timestamp_ms, record.offset);
    }
}

fn check_partitions(footer: &SegmentFooter, seen: &BTreeMap<i32, Seen>, report: &mut VerifyReport) {
    let nothing = Seen::default();
    for summary in footer.partitions() {
        let seen = seen.get(&summary.partition).unwrap_or(&nothing);
        if seen.rows != summary.rows {
            report
                .problems
                .push(format!("partition {} has {} sound rows, the footer says {}", summary.partition, seen.rows, summary.rows));
        } else if seen.timestamps != summary.timestamps {
            report.problems.push(format!("the timestamps of partition {} are not those that the footer says", summary.partition));
        }
    }
}

/// Readers other than ours go by the partition column; ours goes by the digest runs.
fn check_partition_column(footer: &SegmentFooter, fetched: &Fetched) -> Result<(), ReadError> {
    let mut runs = footer.runs().iter().flat_map(|run| std::iter::repeat_n(run.partition, run.rows as usize));
    let mut batches = Batches::new(footer.clone(), fetched.clone(), footer.pieces(0..footer.runs().len()), &PARTITION);
    while let Some(batch) = batches.next() {
        let (_, _, batch) = batch.map_err(|error| ReadError::of_parquet(footer, &error))?;
        let column = batch.columns().first().and_then(|column| column.as_primitive_opt::<Int32Type>());
        let agrees = column.is_some_and(|column| column.values().iter().all(|partition| runs.next() == Some(*partition)));
        if !agrees {
            return Err(ReadError::damaged(footer, "the column kafka_partition differs from the footer"));
        }
    }
    Ok(())
}
