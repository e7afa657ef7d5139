//! Several files into one, or into a few by partitions, in the order of (partition, offset): what merges and seals are made of.
//!
//! Small inputs are read whole; larger ones a few pages at a time. Row groups that hold nothing but one partition are copied as they are.

use crate::error::WorkError;
use crate::files::weight;
use crate::garbage::is_referenced;
use crate::shared::Shared;
use crate::work_memory::{Urgency, writer_bytes};
use bytes::Bytes;
use std::ops::Range;
use strandline_bronze::{
    CoveredRange, Fetched, FinishedSegment, FooterError, Merge, MergeStep, PushError, ReadError, SegmentFooter, SegmentScan,
    SegmentSpec, SegmentWriter, SpecError, TAIL_GUESS_BYTES, fresh_path, join_ranges,
};
use strandline_commands::NewFile;
use strandline_object_store::{GetError, NewObject, Purpose, PutRule, TailError, crc32c};
use strandline_types::{ObjectName, RecordRef, limits};

/// Record bytes that are worked on between two looks at what is finished.
const STEP_BYTES: u64 = 4 << 20;
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

/// A spec that cannot be is a write that failed.
impl From<SpecError> for RewriteError {
    fn from(error: SpecError) -> Self {
        match error {
            SpecError::Covered(partition) => Self::Push(PushError::NotCovered { partition, offset: -1 }),
            SpecError::Parquet(error) => Self::Push(PushError::Parquet(error)),
        }
    }
}

/// What is rewritten, between two steps of it.
struct Work {
    merge: Merge,
    outputs: Outputs,
    keep: Keep,
}

/// Why the inputs could not be rewritten.
enum Attempt {
    Work(WorkError),
    Rewrite(RewriteError),
}

impl<E: Into<WorkError>> From<E> for Attempt {
    fn from(error: E) -> Self {
        Self::Work(error.into())
    }
}

impl Shared {
    /// Writes one file of `files` and puts it under the name in its spec: rows within `spec.covered` that lie at or above `keep_from` of
    /// their partition. Its finished parts leave memory as they come. Inputs whose bytes are damaged are kept under `corrupt/` and left
    /// out, as are those that are gone: their offsets are a hole.
    pub(crate) async fn rewrite(
        &self,
        purpose: Purpose,
        files: Vec<NewFile>,
        spec: SegmentSpec,
        keep_from: Vec<(i32, i64)>,
        rule: PutRule,
    ) -> Result<FinishedSegment, WorkError> {
        let path = spec.plan.clone();
        let segments = self.rewrite_into(purpose, files, vec![spec], keep_from, rule).await?;
        let missing = || WorkError::Write { path, reason: "there is no output".to_owned() };
        segments.into_iter().next().map(|(_, segment)| segment).ok_or_else(missing)
    }

    /// The same into one or several files, whose partitions ascend from file to file; one for each of `specs`, in their order, each with its
    /// path. Several are fresh files, and their paths are others than their specs say where an attempt was given up.
    pub(crate) async fn rewrite_into(
        &self,
        purpose: Purpose,
        files: Vec<NewFile>,
        mut specs: Vec<SegmentSpec>,
        keep_from: Vec<(i32, i64)>,
        rule: PutRule,
    ) -> Result<Vec<(String, FinishedSegment)>, WorkError> {
        let bytes: u64 = files.iter().map(|file| file.size).sum();
        let record_bytes: u64 = files.iter().map(weight).fold(0, u64::saturating_add);
        let whole = bytes <= self.options.whole_input_bytes;
        let held_bytes = (limits::MERGE_HELD_BYTES as u64).min(record_bytes.saturating_mul(2));
        let need_bytes = if whole { bytes + held_bytes } else { held_bytes } + writer_bytes(record_bytes);
        let _memory = self.work_memory.take(Urgency::Upkeep, need_bytes).await;
        let mut inputs = Vec::new();
        for file in files {
            match self.open_input(purpose, &file, whole).await? {
                Ok(input) => inputs.push(input),
                Err(reason) => self.keep_damaged(purpose, &file, &reason).await?,
            }
        }
        let covered: Vec<CoveredRange> = specs.iter().flat_map(|spec| &spec.covered).copied().collect();
        let keep = Keep::new(&covered, &keep_from);
        // An input whose digests fail only when it is read is found, left out, and the files are begun anew.
        loop {
            let path = specs.first().map(|spec| spec.plan.clone()).unwrap_or_default();
            match self.rewrite_inputs(purpose, &inputs, specs.clone(), keep.clone(), &rule).await {
                Ok(segments) => return Ok(specs.into_iter().map(|spec| spec.plan).zip(segments).collect()),
                Err(Attempt::Work(error)) => return Err(error),
                Err(Attempt::Rewrite(RewriteError::Push(error))) => {
                    return Err(WorkError::Write { path, reason: error.to_string() });
                }
                Err(Attempt::Rewrite(RewriteError::Read(error))) => {
                    let Some(at) = self.first_damaged(purpose, &inputs).await? else {
                        return Err(WorkError::Write { path, reason: error.to_string() });
                    };
                    let input = inputs.remove(at);
                    self.keep_damaged(purpose, &input.file, &error.to_string()).await?;
                    // The first of several may be in the store already, with rows of that input: what is made now is another file. One
                    // alone is put once it is whole.
                    if specs.len() > 1 {
                        let anew = |spec: &SegmentSpec| fresh_path(&spec.topic, spec.topic_id, self.cell.name_object());
                        specs.iter_mut().for_each(|spec| spec.plan = anew(spec));
                    }
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
            let footer = SegmentFooter::parse_to_copy(&file.path, file.size, &bytes);
            return Ok(opened(footer, Some(bytes)));
        }
        Ok(opened(self.parse_footer(purpose, &file.path, file.size).await?, None))
    }

    /// The footer of an object of this size; the inner error says how it is damaged.
    pub(crate) async fn parse_footer(
        &self,
        purpose: Purpose,
        path: &str,
        size: u64,
    ) -> Result<Result<SegmentFooter, FooterError>, WorkError> {
        let name = path.to_owned();
        let parse = move |tail: &Bytes| SegmentFooter::parse_to_copy(&name, size, tail);
        match self.objects.parse_tail(purpose, path, size, TAIL_GUESS_BYTES, parse, FooterError::needed_bytes).await {
            Ok(footer) => Ok(Ok(footer)),
            Err(TailError::Parse(error)) => Ok(Err(error)),
            Err(TailError::Get(error)) => Err(error.into()),
            Err(TailError::Blocking(error)) => Err(error.into()),
        }
    }

    async fn rewrite_inputs(
        &self,
        purpose: Purpose,
        inputs: &[Input],
        specs: Vec<SegmentSpec>,
        keep: Keep,
        rule: &PutRule,
    ) -> Result<Vec<FinishedSegment>, Attempt> {
        let mut puts = Puts::new(self, purpose, &specs, rule)?;
        let outputs = Outputs::new(specs).map_err(Attempt::Rewrite)?;
        let may_copy = |footer: &SegmentFooter, partition| outputs.can_copy_from(footer) && keep.all_of(footer, partition);
        let mut merge = Merge::new(inputs.iter().map(|input| input.footer.clone())).with_copies(may_copy);
        for (file, input) in inputs.iter().enumerate() {
            match &input.whole {
                Some(bytes) => merge.supply_whole(file, Fetched::whole(bytes.clone())),
                // No digest is looked at where row groups are copied, so the whole file is held against its checksum first.
                None if merge.copies_from(file) => self.check_whole(purpose, input).await?,
                None => {}
            }
        }
        let spawner = &self.cell.runtime().spawner;
        let mut work = Work { merge, outputs, keep };
        loop {
            let step = move || {
                let Work { merge, outputs, keep } = &mut work;
                let step =
                    merge.step(STEP_BYTES, |partition, ingest_ms, record| keep.push(outputs, partition, ingest_ms, record));
                let made = work.outputs.take();
                (work, step, made)
            };
            let (returned, step, made) = spawner.background("rewrite", step).await?;
            work = returned;
            puts.put(made).await?;
            match step.map_err(Attempt::Rewrite)? {
                MergeStep::Needs { file, ranges } => work.merge.supply(file, self.fetch(purpose, &inputs[file], ranges).await?),
                MergeStep::Copies { file, row_groups } => {
                    for row_group in row_groups {
                        let fetched = self.fetch_row_group(purpose, &inputs[file], row_group).await?;
                        let footer = inputs[file].footer.clone();
                        let copy = move || {
                            let copied = work.outputs.copy(&footer, row_group, &fetched);
                            let made = work.outputs.take();
                            (work, copied, made)
                        };
                        let (returned, copied, made) = spawner.background("rewrite", copy).await?;
                        work = returned;
                        copied.map_err(Attempt::Rewrite)?;
                        puts.put(made).await?;
                    }
                }
                MergeStep::Paused => {}
                MergeStep::Done => break,
            }
        }
        let mut outputs = work.outputs;
        let finish = move || outputs.finish().map(|()| outputs.take());
        let made = spawner.background("rewrite", finish).await?.map_err(Attempt::Rewrite)?;
        puts.put(made).await?;
        Ok(puts.finished)
    }

    async fn check_whole(&self, purpose: Purpose, input: &Input) -> Result<(), Attempt> {
        let found = self.objects.checksum(purpose, &input.file.path).await?;
        if (found.size, found.crc32c) == (input.file.size, input.file.crc32c) {
            return Ok(());
        }
        let reason = "its size or checksum is not the one in the index".to_owned();
        Err(Attempt::Rewrite(RewriteError::Read(ReadError::Damaged { file: input.file.path.as_str().into(), reason })))
    }

    async fn fetch_row_group(&self, purpose: Purpose, input: &Input, row_group: usize) -> Result<Fetched, WorkError> {
        if let Some(bytes) = &input.whole {
            return Ok(Fetched::whole(bytes.clone()));
        }
        let range = input.footer.row_group_range(row_group).unwrap_or_default();
        let bytes = self.objects.get_range(purpose, &input.file.path, range.clone()).await?;
        Ok(Fetched::new(input.file.size, vec![(range.start, bytes)]))
    }

    async fn fetch(&self, purpose: Purpose, input: &Input, ranges: Vec<Range<u64>>) -> Result<Fetched, WorkError> {
        let mut pieces = Vec::new();
        for range in join_ranges(ranges, RANGE_GAP_BYTES) {
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
            let (size, crc) = (input.file.size, input.file.crc32c);
            let work = move || {
                (bytes.len() as u64, crc32c(std::slice::from_ref(&bytes))) != (size, crc)
                    || SegmentScan::new(&footer, &Fetched::whole(bytes)).for_each_row(|_, _, _| Ok::<(), ReadError>(())).is_err()
            };
            if self.cell.runtime().spawner.background("verify", work).await? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Keeps what there is of a damaged input under `corrupt/`; its offsets become a hole. It may be damaged otherwise when this is done
    /// again, so its checksum is in the name.
    async fn keep_damaged(&self, purpose: Purpose, file: &NewFile, reason: &str) -> Result<(), WorkError> {
        metrics::counter!("strandline_corrupt_files_total").increment(1);
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
        Ok(self.objects.put_new(purpose, &format!("corrupt/{}-{crc:08x}", file.path), chunks, crc).await?)
    }
}

/// What was made since the last look, in the order of the files.
enum Made {
    /// Bytes of the file at hand.
    Pieces(Vec<Bytes>),
    /// The last of it.
    End(FinishedSegment),
}

/// The files that are written, one after the other.
struct Outputs {
    /// Those that are not begun, the next one first.
    specs: std::vec::IntoIter<SegmentSpec>,
    /// The one that is written, and its last partition.
    current: Option<(SegmentWriter, i32)>,
    made: Vec<Made>,
}

impl Outputs {
    fn new(specs: Vec<SegmentSpec>) -> Result<Self, RewriteError> {
        let mut outputs = Self { specs: specs.into_iter(), current: None, made: Vec::new() };
        outputs.begin_next()?;
        Ok(outputs)
    }

    /// All files are laid out alike, so what holds for the first holds for all.
    fn can_copy_from(&self, footer: &SegmentFooter) -> bool {
        self.current.as_ref().is_some_and(|(writer, _)| writer.can_copy_from(footer))
    }

    fn writer(&mut self, partition: i32, offset: i64) -> Result<&mut SegmentWriter, RewriteError> {
        while self.current.as_ref().is_some_and(|(_, last)| *last < partition) {
            self.begin_next()?;
        }
        let writer = self.current.as_mut().map(|(writer, _)| writer);
        writer.ok_or(RewriteError::Push(PushError::NotCovered { partition, offset }))
    }

    fn copy(&mut self, footer: &SegmentFooter, row_group: usize, fetched: &Fetched) -> Result<(), RewriteError> {
        let Some((partition, offset)) = footer.first_of_row_group(row_group) else { return Ok(()) };
        self.writer(partition, offset)?.copy_row_group(footer, row_group, fetched).map_err(RewriteError::Push)
    }

    /// Finishes the file at hand and begins the next one, if there is one.
    fn begin_next(&mut self) -> Result<(), RewriteError> {
        if let Some((writer, _)) = self.current.take() {
            self.made.push(Made::End(writer.finish().map_err(RewriteError::Push)?));
        }
        if let Some(spec) = self.specs.next() {
            let last = spec.covered.iter().map(|range| range.partition).max().unwrap_or(i32::MIN);
            self.current = Some((SegmentWriter::new(spec)?, last));
        }
        Ok(())
    }

    /// What is finished of the files leaves.
    fn take(&mut self) -> Vec<Made> {
        let mut made = std::mem::take(&mut self.made);
        made.extend(self.current.as_mut().map(|(writer, _)| Made::Pieces(writer.take_pieces())));
        made
    }

    /// All files, also those for which no row came.
    fn finish(&mut self) -> Result<(), RewriteError> {
        while self.current.is_some() {
            self.begin_next()?;
        }
        Ok(())
    }
}

/// The puts of those files.
struct Puts<'a> {
    shared: &'a Shared,
    purpose: Purpose,
    paths: std::vec::IntoIter<String>,
    rule: &'a PutRule,
    object: Option<NewObject>,
    finished: Vec<FinishedSegment>,
}

impl<'a> Puts<'a> {
    fn new(shared: &'a Shared, purpose: Purpose, specs: &[SegmentSpec], rule: &'a PutRule) -> Result<Self, WorkError> {
        let paths: Vec<String> = specs.iter().map(|spec| spec.plan.clone()).collect();
        let mut puts = Self { shared, purpose, paths: paths.into_iter(), rule, object: None, finished: Vec::new() };
        puts.begin_next()?;
        Ok(puts)
    }

    fn begin_next(&mut self) -> Result<(), WorkError> {
        let next = self.paths.next();
        let begun = next.map(|path| self.shared.objects.new_object(self.purpose, &path, self.rule.clone()));
        self.object = begun.transpose()?;
        Ok(())
    }

    async fn put(&mut self, made: Vec<Made>) -> Result<(), WorkError> {
        for made in made {
            let Some(object) = &mut self.object else { return Ok(()) };
            match made {
                Made::Pieces(pieces) => object.push(pieces).await?,
                Made::End(mut segment) => {
                    object.push(std::mem::take(&mut segment.bytes)).await?;
                    if let Some(object) = self.object.take() {
                        self.finish(object).await?;
                    }
                    self.finished.push(segment);
                    self.begin_next()?;
                }
            }
        }
        Ok(())
    }

    async fn finish(&mut self, object: NewObject) -> Result<(), WorkError> {
        if self.purpose == Purpose::Seal {
            return self.shared.finish_planned(object).await;
        }
        object.finish().await?;
        Ok(())
    }
}

/// Which rows go into the output.
#[derive(Clone)]
struct Keep(Vec<CoveredRange>);

impl Keep {
    /// Both ascend by partition.
    fn new(covered: &[CoveredRange], keep_from: &[(i32, i64)]) -> Self {
        let from = |partition| {
            let at = keep_from.binary_search_by_key(&partition, |(number, _)| *number);
            at.map_or(i64::MIN, |at| keep_from[at].1)
        };
        Self(covered.iter().map(|range| CoveredRange { start: range.start.max(from(range.partition)), ..*range }).collect())
    }

    /// Whether everything that a file has of a partition goes in.
    fn all_of(&self, footer: &SegmentFooter, partition: i32) -> bool {
        let (Some(summary), Ok(at)) =
            (footer.partition(partition), self.0.binary_search_by_key(&partition, |range| range.partition))
        else {
            return false;
        };
        self.0[at].start <= summary.start && summary.end <= self.0[at].end
    }

    fn push(&self, outputs: &mut Outputs, partition: i32, ingest_ms: i64, record: &RecordRef<'_>) -> Result<(), RewriteError> {
        let Ok(at) = self.0.binary_search_by_key(&partition, |range| range.partition) else { return Ok(()) };
        if !(self.0[at].start..self.0[at].end).contains(&record.offset) {
            return Ok(());
        }
        outputs.writer(partition, record.offset)?.push(partition, ingest_ms, record).map_err(RewriteError::Push)
    }
}
