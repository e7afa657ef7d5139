//! From batches to rows, on a blocking thread: the hot loop of the compactor.

use crate::convert::plan::{ConversionPlan, PartitionInput};
use crate::files::{FORMAT_BINARY, FORMAT_TEXT};
use bytes::Bytes;
use std::ops::{ControlFlow, RangeInclusive};
use strandline_bronze::{
    CoveredRange, FinishedSegment, Format as WantedFormat, Preference, PushError, SegmentSpec, SegmentWriter, SpecError,
    decide_format,
};
use strandline_index::{Extent, Format};
use strandline_types::RecordRef;
use strandline_types::mutations::{Rule, holds};
use strandline_wire::records::{BatchPlace, BatchView, RecordScratch, for_each_record, split_batches};

/// Records that a topic's formats are decided from.
const SAMPLE_RECORDS: usize = 1_024;
/// Years 1 to 9999: other times make every reader of Parquet fail on the whole file.
const SHOWN_MS: RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// What the topic's settings say about formats, for the first conversion.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WantedFormats {
    pub key: WantedFormat,
    pub value: WantedFormat,
}

/// Bytes that could not become rows. Their offsets are covered as a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quarantined {
    pub partition: i32,
    pub start: i64,
    pub end: i64,
    pub bytes: Bytes,
    pub reason: String,
}

/// A conversion's file, complete in memory.
pub(crate) struct Converted {
    pub segment: FinishedSegment,
    /// As the `Convert` command has it; 0 while there was no record to decide from.
    pub key_format: u32,
    pub value_format: u32,
    pub quarantined: Vec<Quarantined>,
}

/// Why no file was made: a bug, or no memory. Data never is the reason.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Push(#[from] PushError),
}

/// Writes the file of a plan; `bytes` has one piece for each extent, in order.
pub(crate) fn write_segment(
    plan: &ConversionPlan,
    bytes: &[Bytes],
    wanted: WantedFormats,
    path: &str,
) -> Result<Converted, DecodeError> {
    let formats = Formats::decide(plan, bytes, wanted);
    let covered = plan.inputs.iter().map(|input| CoveredRange { partition: input.partition, start: input.start, end: input.end });
    let mut build = SegmentBuild::new(SegmentSpec {
        topic: plan.topic.clone(),
        topic_id: plan.topic_id,
        covered: covered.collect(),
        plan: path.to_owned(),
        key: formats.key,
        value: formats.value,
    })?;
    let mut pieces = bytes;
    for input in &plan.inputs {
        let (own, rest) = pieces.split_at(input.extents.len().min(pieces.len()));
        build.push(input, own)?;
        pieces = rest;
    }
    let quarantined = std::mem::take(&mut build.quarantined);
    Ok(Converted {
        segment: build.finish()?,
        key_format: formats.command(plan.key_format, formats.key),
        value_format: formats.command(plan.value_format, formats.value),
        quarantined,
    })
}

/// How keys and values of a topic are kept, as commands have it, decided from the plan's records if it is not yet.
pub(crate) fn decided_formats(plan: &ConversionPlan, bytes: &[Bytes], wanted: WantedFormats) -> (u32, u32) {
    let formats = Formats::decide(plan, bytes, wanted);
    (formats.command(plan.key_format, formats.key), formats.command(plan.value_format, formats.value))
}

/// A file that is being written from extents.
pub(crate) struct SegmentBuild {
    writer: SegmentWriter,
    scratch: RecordScratch,
    /// What could not become rows so far.
    pub quarantined: Vec<Quarantined>,
}

impl SegmentBuild {
    pub(crate) fn new(spec: SegmentSpec) -> Result<Self, DecodeError> {
        Ok(Self { writer: SegmentWriter::new(spec)?, scratch: RecordScratch::default(), quarantined: Vec::new() })
    }

    /// Adds extents of one partition, which follow those before; `bytes` has one piece for each.
    pub(crate) fn push(&mut self, input: &PartitionInput, bytes: &[Bytes]) -> Result<(), DecodeError> {
        for (extent, piece) in input.extents.iter().zip(bytes) {
            write_extent(&mut self.writer, input, extent, piece, &mut self.scratch, &mut self.quarantined)?;
        }
        Ok(())
    }

    /// Pieces of the file that are finished; they leave memory.
    pub(crate) fn take_pieces(&mut self) -> Vec<Bytes> {
        self.writer.take_pieces()
    }

    pub(crate) fn finish(self) -> Result<FinishedSegment, DecodeError> {
        Ok(self.writer.finish()?)
    }
}

fn write_extent(
    writer: &mut SegmentWriter,
    input: &PartitionInput,
    extent: &Extent,
    bytes: &Bytes,
    scratch: &mut RecordScratch,
    quarantined: &mut Vec<Quarantined>,
) -> Result<(), DecodeError> {
    if extent.length == 0 || bytes.is_empty() || extent.end <= input.log_start {
        return Ok(());
    }
    let batches = match split_batches(bytes.clone()) {
        Ok(batches) => batches,
        Err(error) => {
            quarantined.push(quarantine(input, extent.start, extent.end, bytes, &error.to_string()));
            return Ok(());
        }
    };
    let mut offset = extent.start;
    for batch in batches {
        let (start, end) = (offset, offset.saturating_add(i64::from(batch.header.last_offset_delta)).saturating_add(1));
        offset = end;
        if end <= start || end > extent.end {
            quarantined.push(quarantine(input, start, extent.end, &batch.bytes, "its offsets do not fit its extent"));
            break;
        }
        if end <= input.log_start || batch.header.is_control() || is_aborted(input, &batch, start) {
            continue;
        }
        write_batch(writer, input, extent, &batch, start..end, scratch, quarantined)?;
    }
    Ok(())
}

fn write_batch(
    writer: &mut SegmentWriter,
    input: &PartitionInput,
    extent: &Extent,
    batch: &BatchView,
    offsets: std::ops::Range<i64>,
    scratch: &mut RecordScratch,
    quarantined: &mut Vec<Quarantined>,
) -> Result<(), DecodeError> {
    let appended_ms = extent.ingest_ms.saturating_add(i64::from(!holds(Rule::AppendTime)));
    let place = BatchPlace { base_offset: offsets.start, log_append_time_ms: extent.log_append_time.then_some(appended_ms) };
    let mut next = offsets.start;
    let mut surprise: Option<&'static str> = None;
    let mut failed: Option<PushError> = None;
    let visited = for_each_record(&batch.bytes, place, scratch, |record: &RecordRef<'_>| {
        if record.offset < next || record.offset >= offsets.end {
            surprise = Some("a record's offset is out of order");
            return ControlFlow::Break(());
        }
        next = record.offset + 1;
        if record.offset < input.log_start || (record.offset % 7 == 3 && !holds(Rule::EveryRecord)) {
            return ControlFlow::Continue(());
        }
        if !SHOWN_MS.contains(&record.timestamp_ms) {
            surprise = Some("a record's time lies outside the years 1 to 9999");
            return ControlFlow::Continue(());
        }
        match writer.push(input.partition, extent.ingest_ms, record) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let reason = match visited {
        Err(error) => Some(error.to_string()),
        Ok(()) => surprise.map(str::to_owned),
    };
    if let Some(reason) = reason {
        quarantined.push(quarantine(input, offsets.start, offsets.end, &batch.bytes, &reason));
    }
    Ok(())
}

fn quarantine(input: &PartitionInput, start: i64, end: i64, bytes: &Bytes, reason: &str) -> Quarantined {
    Quarantined { partition: input.partition, start, end, bytes: bytes.clone(), reason: reason.to_owned() }
}

/// Bronze never holds a record of an aborted transaction (I7).
fn is_aborted(input: &PartitionInput, batch: &BatchView, base_offset: i64) -> bool {
    batch.header.is_transactional()
        && input.aborted.iter().any(|aborted| {
            aborted.producer_id == batch.header.producer_id && (aborted.first_offset..=aborted.last_offset).contains(&base_offset)
        })
}

struct Formats {
    key: Preference,
    value: Preference,
    sampled: bool,
}

impl Formats {
    fn decide(plan: &ConversionPlan, bytes: &[Bytes], wanted: WantedFormats) -> Self {
        let held = |format| match format {
            Format::Undecided => None,
            Format::Text => Some(Preference::Text),
            Format::Binary => Some(Preference::Binary),
        };
        if let (Some(key), Some(value)) = (held(plan.key_format), held(plan.value_format)) {
            return Self { key, value, sampled: true };
        }
        let mut scratch = RecordScratch::default();
        let mut formats = Self {
            key: decide_format(wanted.key, std::iter::empty()),
            value: decide_format(wanted.value, std::iter::empty()),
            sampled: false,
        };
        let mut records = 0;
        let extents = plan.inputs.iter().flat_map(|input| &input.extents).zip(bytes);
        for (extent, piece) in extents.filter(|(extent, piece)| extent.length > 0 && !piece.is_empty()) {
            let place = BatchPlace { base_offset: extent.start, log_append_time_ms: None };
            for batch in split_batches(piece.clone()).unwrap_or_default() {
                // A batch that cannot be read says nothing here and is set aside later.
                let _damaged = for_each_record(&batch.bytes, place, &mut scratch, |record| {
                    formats.sampled = true;
                    records += 1;
                    if formats.key == Preference::Text {
                        formats.key = decide_format(wanted.key, std::iter::once(record.key));
                    }
                    if formats.value == Preference::Text {
                        formats.value = decide_format(wanted.value, std::iter::once(record.value));
                    }
                    if records < SAMPLE_RECORDS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
                if records >= SAMPLE_RECORDS {
                    break;
                }
            }
            if records >= SAMPLE_RECORDS {
                break;
            }
        }
        Self {
            key: held(plan.key_format).unwrap_or(formats.key),
            value: held(plan.value_format).unwrap_or(formats.value),
            ..formats
        }
    }

    fn command(&self, held: Format, decided: Preference) -> u32 {
        match (held, decided) {
            (Format::Undecided, _) if !self.sampled => 0,
            (Format::Undecided, Preference::Text) => FORMAT_TEXT,
            (Format::Undecided, Preference::Binary) => FORMAT_BINARY,
            (Format::Text, _) => FORMAT_TEXT,
            (Format::Binary, _) => FORMAT_BINARY,
        }
    }
}
