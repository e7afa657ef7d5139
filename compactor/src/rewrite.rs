//! Several files into one, or into a few by partitions, in the order of (partition, offset): what merges and seals are made of.
//!
//! Inputs that fit into a conversion's memory are read whole; larger ones are read partition by partition, range by range.

use crate::error::WorkError;
use crate::garbage::is_referenced;
use crate::shared::Shared;
use bytes::Bytes;
use std::ops::ControlFlow;
use strandline_bronze::{
    CoveredRange, Fetched, FinishedSegment, FooterError, PushError, ReadError, ReadPlan, SegmentFooter, SegmentScan, SegmentSpec,
    SegmentWriter, TAIL_GUESS_BYTES, merge_rows, read,
};
use strandline_commands::NewFile;
use strandline_object_store::{GetError, Purpose, crc32c};
use strandline_types::{ObjectName, RecordRef, limits};

/// Record bytes that one ranged read brings.
const RANGED_READ_BYTES: u64 = 4 << 20;
/// Ranges this close are read together.
const RANGE_GAP_BYTES: u64 = 64 << 10;

/// One input that is at hand.
struct Input {
    file: NewFile,
    footer: SegmentFooter,
    whole: Option<Bytes>,
}

enum RewriteError {
    Read(ReadError),
    Push(PushError),
}

impl From<ReadError> for RewriteError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl Shared {
    /// Writes one file of `files`: rows within `spec.covered` that lie at or above `keep_from` of their partition. Inputs whose
    /// bytes are damaged are kept under `corrupt/` and left out, as are those that are gone: their offsets are a hole.
    pub(crate) async fn rewrite(
        &self,
        purpose: Purpose,
        files: Vec<NewFile>,
        spec: SegmentSpec,
        keep_from: Vec<(i32, i64)>,
    ) -> Result<FinishedSegment, WorkError> {
        let path = spec.plan.clone();
        let segments = self.rewrite_into(purpose, files, vec![spec], keep_from).await?;
        let missing = || WorkError::Write { path, reason: "there is no output".to_owned() };
        segments.into_iter().next().ok_or_else(missing)
    }

    /// The same into several files, whose partitions ascend from file to file; one for each of `specs`, in their order.
    pub(crate) async fn rewrite_into(
        &self,
        purpose: Purpose,
        files: Vec<NewFile>,
        specs: Vec<SegmentSpec>,
        keep_from: Vec<(i32, i64)>,
    ) -> Result<Vec<FinishedSegment>, WorkError> {
        let bytes: u64 = files.iter().map(|file| file.size).sum();
        let record_bytes: u64 = files.iter().map(|file| file.record_bytes).sum();
        // What is small only because it compresses well is not small to work on.
        let whole = bytes <= self.options.whole_input_bytes && record_bytes <= limits::MERGE_RECORD_BYTES;
        let mut inputs = Vec::new();
        for file in files {
            match self.open_input(purpose, &file, whole).await? {
                Ok(input) => inputs.push(input),
                Err(reason) => self.keep_damaged(purpose, &file, &reason).await?,
            }
        }
        let path = specs.first().map(|spec| spec.plan.clone()).unwrap_or_default();
        let covered: Vec<CoveredRange> = specs.iter().flat_map(|spec| &spec.covered).copied().collect();
        let keep = Keep::new(&covered, &keep_from);
        // An input whose digests fail only when it is read is found, left out, and the file is begun anew.
        loop {
            let attempt = if whole {
                self.rewrite_whole(&inputs, specs.clone(), keep.clone()).await?
            } else {
                self.rewrite_ranged(purpose, &inputs, specs.clone(), keep.clone()).await?
            };
            match attempt {
                Ok(segments) => return Ok(segments),
                Err(RewriteError::Push(error)) => return Err(WorkError::Write { path, reason: error.to_string() }),
                Err(RewriteError::Read(error)) => {
                    let Some(at) = self.first_damaged(purpose, &inputs).await? else {
                        return Err(WorkError::Write { path, reason: error.to_string() });
                    };
                    let input = inputs.remove(at);
                    self.keep_damaged(purpose, &input.file, &error.to_string()).await?;
                }
            }
        }
    }

    /// Opens an input; the inner error says how its bytes are damaged, or that they are gone.
    async fn open_input(&self, purpose: Purpose, file: &NewFile, whole: bool) -> Result<Result<Input, String>, WorkError> {
        match self.try_open_input(purpose, file, whole).await {
            Err(WorkError::Get(error @ (GetError::NotFound { .. } | GetError::OutOfRange { .. })))
                if self.is_lost(purpose, file).await? =>
            {
                Ok(Err(error.to_string()))
            }
            opened => opened,
        }
    }

    /// Whether a file is gone or cut off although the index of now names it: else it is only the view that was old.
    async fn is_lost(&self, purpose: Purpose, file: &NewFile) -> Result<bool, WorkError> {
        self.cell.barrier().await?;
        let Ok(name) = file.path.parse::<ObjectName>() else { return Ok(false) };
        if !is_referenced(&self.cell.view(), &file.path, name) {
            return Ok(false);
        }
        match self.objects.head(purpose, &file.path).await {
            Ok(object) => Ok(object.size != file.size),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    async fn try_open_input(&self, purpose: Purpose, file: &NewFile, whole: bool) -> Result<Result<Input, String>, WorkError> {
        let opened = |footer: Result<SegmentFooter, FooterError>, whole| match footer {
            Ok(footer) => Ok(Input { file: file.clone(), footer, whole }),
            Err(error) => Err(error.to_string()),
        };
        if whole {
            let bytes = self.objects.get(purpose, &file.path).await?;
            if bytes.len() as u64 != file.size || crc32c(std::slice::from_ref(&bytes)) != file.crc32c {
                return Ok(Err("its size or checksum is not the one in the index".to_owned()));
            }
            let footer = SegmentFooter::parse(&file.path, file.size, &bytes);
            return Ok(opened(footer, Some(bytes)));
        }
        let mut tail_bytes = TAIL_GUESS_BYTES.min(file.size);
        loop {
            let tail = self.objects.get_range(purpose, &file.path, file.size - tail_bytes..file.size).await?;
            match SegmentFooter::parse(&file.path, file.size, &tail) {
                Err(FooterError::NeedsMore { tail_bytes: more, .. }) if more > tail_bytes && more <= file.size => {
                    tail_bytes = more
                }
                other => return Ok(opened(other, None)),
            }
        }
    }

    async fn rewrite_whole(
        &self,
        inputs: &[Input],
        specs: Vec<SegmentSpec>,
        keep: Keep,
    ) -> Result<Result<Vec<FinishedSegment>, RewriteError>, WorkError> {
        let files: Vec<(SegmentFooter, Fetched)> =
            inputs.iter().filter_map(|input| Some((input.footer.clone(), Fetched::whole(input.whole.clone()?)))).collect();
        let work = move || -> Result<Vec<FinishedSegment>, RewriteError> {
            let mut outputs = Outputs::new(specs);
            merge_rows(&files, |partition, ingest_ms, record| keep.push(&mut outputs, partition, ingest_ms, record))?;
            outputs.finish()
        };
        Ok(self.cell.runtime().spawner.blocking("rewrite", work).await?)
    }

    async fn rewrite_ranged(
        &self,
        purpose: Purpose,
        inputs: &[Input],
        specs: Vec<SegmentSpec>,
        keep: Keep,
    ) -> Result<Result<Vec<FinishedSegment>, RewriteError>, WorkError> {
        let partitions: Vec<CoveredRange> = specs.iter().flat_map(|spec| &spec.covered).copied().collect();
        let mut outputs = Outputs::new(specs);
        for covered in partitions {
            let of_partition = inputs.iter().filter_map(|input| Some((input.footer.partition(covered.partition)?.start, input)));
            let mut of_partition: Vec<_> = of_partition.collect();
            of_partition.sort_by_key(|(start, _)| *start);
            for (start, input) in of_partition {
                let mut next = start;
                while let Some(plan) = input.footer.plan(covered.partition, next, RANGED_READ_BYTES) {
                    if plan.next_offset() <= next {
                        break;
                    }
                    next = plan.next_offset();
                    let fetched = self.fetch(purpose, input, &plan).await?;
                    let (footer, keep) = (input.footer.clone(), keep.clone());
                    let partition = covered.partition;
                    let work = move || {
                        let result = push_plan(&mut outputs, &footer, &plan, &fetched, &keep, partition);
                        (outputs, result)
                    };
                    let (returned, result) = self.cell.runtime().spawner.blocking("rewrite", work).await?;
                    outputs = returned;
                    if let Err(error) = result {
                        return Ok(Err(error));
                    }
                }
            }
        }
        Ok(self.cell.runtime().spawner.blocking("rewrite", move || outputs.finish()).await?)
    }

    async fn fetch(&self, purpose: Purpose, input: &Input, plan: &ReadPlan) -> Result<Fetched, WorkError> {
        let mut pieces = Vec::new();
        for range in plan.coalesced(RANGE_GAP_BYTES) {
            pieces.push((range.start, self.objects.get_range(purpose, &input.file.path, range).await?));
        }
        Ok(Fetched::new(input.file.size, pieces))
    }

    /// The first input whose rows do not all agree with their digests.
    async fn first_damaged(&self, purpose: Purpose, inputs: &[Input]) -> Result<Option<usize>, WorkError> {
        for (at, input) in inputs.iter().enumerate() {
            let bytes = match &input.whole {
                Some(bytes) => bytes.clone(),
                None => self.objects.get(purpose, &input.file.path).await?,
            };
            let footer = input.footer.clone();
            let work = move || {
                SegmentScan::new(&footer, &Fetched::whole(bytes)).for_each_row(|_, _, _| Ok::<(), ReadError>(())).is_err()
            };
            if self.cell.runtime().spawner.blocking("verify", work).await? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Keeps what there is of a damaged input under `corrupt/`; its offsets become a hole.
    async fn keep_damaged(&self, purpose: Purpose, file: &NewFile, reason: &str) -> Result<(), WorkError> {
        metrics::counter!("strandline_corrupt_files").increment(1);
        tracing::error!(
            path = file.path,
            reason,
            "a Parquet file is damaged or gone: what there is of it is kept under corrupt/ and its offsets become a hole"
        );
        let bytes = match self.objects.get(purpose, &file.path).await {
            Err(GetError::NotFound { .. }) => return Ok(()),
            got => got?,
        };
        let chunks = vec![bytes];
        let crc = crc32c(&chunks);
        Ok(self.objects.put_new(purpose, &format!("corrupt/{}", file.path), chunks, crc).await?)
    }
}

/// Which rows go into the output.
#[derive(Clone)]
struct Keep(Vec<CoveredRange>);

impl Keep {
    fn new(covered: &[CoveredRange], keep_from: &[(i32, i64)]) -> Self {
        let from = |partition| keep_from.iter().find(|(number, _)| *number == partition).map_or(i64::MIN, |(_, from)| *from);
        Self(covered.iter().map(|range| CoveredRange { start: range.start.max(from(range.partition)), ..*range }).collect())
/// The files that are being written: rows come ascending by partition, so one is written at a time.
struct Outputs {
    /// Those that are not begun, the next one first.
    specs: std::vec::IntoIter<SegmentSpec>,
    /// The one that is written, and its last partition.
    current: Option<(SegmentWriter, i32)>,
    finished: Vec<FinishedSegment>,
}

impl Outputs {
    fn new(specs: Vec<SegmentSpec>) -> Self {
        Self { specs: specs.into_iter(), current: None, finished: Vec::new() }
    }

    fn push(&mut self, partition: i32, ingest_ms: i64, record: &RecordRef<'_>) -> Result<(), RewriteError> {
        while self.current.as_ref().is_none_or(|(_, last)| *last < partition) {
            if !self.begin_next()? {
                return Err(RewriteError::Push(PushError::NotCovered { partition, offset: record.offset }));
            }
        }
        let Some((writer, _)) = &mut self.current else { return Ok(()) };
        writer.push(partition, ingest_ms, record).map_err(RewriteError::Push)
    }

    /// Finishes the file at hand and begins the next one, if there is one.
    fn begin_next(&mut self) -> Result<bool, RewriteError> {
        if let Some((writer, _)) = self.current.take() {
            self.finished.push(writer.finish().map_err(RewriteError::Push)?);
        }
        let Some(spec) = self.specs.next() else { return Ok(false) };
        let last = spec.covered.iter().map(|range| range.partition).max().unwrap_or(i32::MAX);
        self.current = Some((new_writer(spec)?, last));
        Ok(true)
    }

    /// Also those for which no row came.
    fn finish(mut self) -> Result<Vec<FinishedSegment>, RewriteError> {
        while self.begin_next()? {}
        Ok(self.finished)
    }
}

    }

    fn push(&self, outputs: &mut Outputs, partition: i32, ingest_ms: i64, record: &RecordRef<'_>) -> Result<(), RewriteError> {
        let Ok(at) = self.0.binary_search_by_key(&partition, |range| range.partition) else { return Ok(()) };
        if !(self.0[at].start..self.0[at].end).contains(&record.offset) {
            return Ok(());
        }
        outputs.push(partition, ingest_ms, record)
    }
}

fn new_writer(spec: SegmentSpec) -> Result<SegmentWriter, RewriteError> {
    use parquet_error::spec_error;
    SegmentWriter::new(spec).map_err(spec_error)
}

/// A spec that cannot be is a write that failed.
mod parquet_error {
    use super::RewriteError;
    use strandline_bronze::{PushError, SpecError};

    pub(super) fn spec_error(error: SpecError) -> RewriteError {
        match error {
            SpecError::Covered(partition) => RewriteError::Push(PushError::NotCovered { partition, offset: -1 }),
            SpecError::Parquet(error) => RewriteError::Push(PushError::Parquet(error)),
        }
    }
}

fn push_plan(
    outputs: &mut Outputs,
    footer: &SegmentFooter,
    plan: &ReadPlan,
    fetched: &Fetched,
    keep: &Keep,
    partition: i32,
) -> Result<(), RewriteError> {
    let mut failed = None;
    read(footer, plan, fetched, |record, ingest_ms| match keep.push(outputs, partition, ingest_ms, record) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(()), Err)
}
