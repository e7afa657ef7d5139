//! Several files into one order: fresh segments that are merged or sealed cover ranges that do not overlap.
//!
//! Runs of a file lie in it in the order of the merge, so each file is read once, from its start to its end: one page of it at a time is
//! decoded. What is held of all files together is bounded; beyond the bound a file gives up its page and decodes it again.

use crate::fetched::Fetched;
use crate::footer::SegmentFooter;
use crate::layout;
use crate::plan::{RECORD_LEAVES, byte_ranges};
use crate::read::ReadError;
use crate::scan::{RowBatch, SegmentScan};
use std::ops::Range;
use strandline_types::{RecordRef, limits};

/// What memory a decoded row takes beside what it weighs, about.
const ROW_BYTES: u64 = 256;

/// Where a merge stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeStep {
    /// It goes on once these bytes of this file are handed to [`Merge::supply`].
    Needs {
        /// The file, by its place among those that the merge was made of.
        file: usize,
        /// Bytes of it: ascending, without overlap.
        ranges: Vec<Range<u64>>,
    },
    /// The next rows are all that this file has of a partition, and lie in row groups of their own: they are copied as they are, in this
    /// order. Only from files that [`Merge::with_copies`] was told of.
    Copies {
        /// The file.
        file: usize,
        /// Its row groups.
        row_groups: Range<usize>,
    },
    /// As many record bytes as were asked for have been handed out, something for each row and header among them.
    Paused,
    /// There is nothing left.
    Done,
}

/// One input, and the page of it that is being read.
struct Input {
    footer: SegmentFooter,
    /// All of the file, or the bytes of the runs below `until`.
    fetched: Option<Fetched>,
    /// The bytes stay at hand whatever is held.
    is_whole: bool,
    until: usize,
    scan: Option<SegmentScan>,
    page: Option<Page>,
    next_run: usize,
    /// Partitions whose row groups are copied.
    copied: Vec<(i32, Range<usize>)>,
}

struct Page {
    batch: RowBatch,
    first_run: usize,
    bytes: u64,
}

impl Input {
    fn held_bytes(&self) -> u64 {
        let window = self.fetched.as_ref().filter(|_| !self.is_whole).map_or(0, Fetched::held_bytes);
        window + self.page.as_ref().map_or(0, |page| page.bytes)
    }

    fn release(&mut self) {
        (self.page, self.scan) = (None, None);
        if !self.is_whole {
            (self.fetched, self.until) = (None, self.next_run);
        }
    }

    /// The page with the next run, decoded.
    fn open_page(&mut self, fetched: &Fetched) -> Result<(), ReadError> {
        let (footer, runs) = (&self.footer, self.next_run..self.until);
        let scan = self.scan.get_or_insert_with(|| SegmentScan::of_runs(footer, fetched, runs));
        let Some(batch) = scan.next_batch()? else { return Err(ReadError::damaged(footer, "rows are missing")) };
        let runs = &footer.runs()[self.next_run..self.next_run + batch.runs()];
        let bytes = runs
            .iter()
            .map(|run| footer.weight(run).saturating_add(u64::from(run.rows) * ROW_BYTES))
            .fold(0, u64::saturating_add);
        self.page = Some(Page { batch, first_run: self.next_run, bytes });
        Ok(())
    }

    /// Runs from the next one on of about so much weight, up to the end of a page, and where their bytes lie.
    fn window(&self, max_bytes: u64) -> (usize, Vec<Range<u64>>) {
        let runs = self.footer.runs();
        let (mut until, mut bytes) = (self.next_run, 0_u64);
        while let Some(run) = runs.get(until) {
            let begins_a_page = (run.first_row as usize).is_multiple_of(limits::PAGE_ROWS);
            let is_copied = self.copied.iter().any(|(partition, _)| *partition == run.partition);
            if until > self.next_run && ((begins_a_page && bytes >= max_bytes) || is_copied) {
                break;
            }
            bytes = bytes.saturating_add(self.footer.weight(run));
            until += 1;
        }
        let pieces = self.footer.pieces(self.next_run..until);
        (until, byte_ranges(self.footer.metadata(), &pieces, &RECORD_LEAVES))
    }
}

/// A merge of files whose offsets do not overlap, as those of the index never do (I5), step by step and without I/O.
pub struct Merge {
    inputs: Vec<Input>,
    /// (partition, first offset, file) of every run. Runs never overlap, so their order is that of the records.
    order: Vec<(i32, i64, usize)>,
    at: usize,
    held_bytes: u64,
}

impl Merge {
    /// A merge of these files, of which no bytes are at hand yet.
    pub fn new(footers: impl IntoIterator<Item = SegmentFooter>) -> Self {
        let inputs = footers.into_iter().map(|footer| Input {
            footer,
            fetched: None,
            is_whole: false,
            until: 0,
            scan: None,
            page: None,
            next_run: 0,
            copied: Vec::new(),
        });
        let inputs: Vec<Input> = inputs.collect();
        let mut order: Vec<(i32, i64, usize)> = Vec::new();
        for (file, input) in inputs.iter().enumerate() {
            order.extend(input.footer.runs().iter().map(|run| (run.partition, run.first_offset, file)));
        }
        order.sort_unstable();
        Self { inputs, order, at: 0, held_bytes: 0 }
    }

    /// Where `may_copy` says so of a file's partition, its row groups are copied if they are its own and large enough.
    pub fn with_copies(mut self, may_copy: impl Fn(&SegmentFooter, i32) -> bool) -> Self {
        for Input { footer, copied, .. } in &mut self.inputs {
            let partitions = footer.partitions().iter().map(|summary| summary.partition);
            let own = partitions.filter_map(|partition| Some((partition, footer.own_row_groups(partition)?)));
            *copied = own.filter(|(partition, _)| may_copy(footer, *partition)).collect();
        }
        self
    }

    /// Whether row groups of this file are going to be copied, so that no digest of theirs is looked at.
    pub fn copies_from(&self, file: usize) -> bool {
        self.inputs.get(file).is_some_and(|input| !input.copied.is_empty())
    }

    /// Hands in a whole file, which stays at hand.
    pub fn supply_whole(&mut self, file: usize, fetched: Fetched) {
        if let Some(input) = self.inputs.get_mut(file) {
            (input.until, input.is_whole) = (input.footer.runs().len(), true);
            input.fetched = Some(fetched);
        }
    }

    /// Hands in what [`MergeStep::Needs`] asked for.
    pub fn supply(&mut self, file: usize, fetched: Fetched) {
        let max_bytes = self.window_bytes();
        if let Some(input) = self.inputs.get_mut(file) {
            self.held_bytes += fetched.held_bytes();
            (input.until, _) = input.window(max_bytes);
            input.fetched = Some(fetched);
        }
    }

    /// Bytes that are held at the moment: windows of files that are not at hand whole, and decoded pages.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    fn window_bytes(&self) -> u64 {
        (limits::MERGE_HELD_BYTES as u64 / 2 / self.inputs.len().max(1) as u64).min(limits::BLOCK_BYTES as u64)
    }

    /// Hands the next records, about `max_bytes` of them, to `visit` as (partition, time of ingest in milliseconds, record), ascending by
    /// (partition, offset), until it fails. Each was checked against its digest.
    ///
    /// # Errors
    /// A file is damaged, or `visit` failed; the merge is of no more use.
    pub fn step<E: From<ReadError>>(
        &mut self,
        max_bytes: u64,
        mut visit: impl FnMut(i32, i64, &RecordRef<'_>) -> Result<(), E>,
    ) -> Result<MergeStep, E> {
        let mut handed_out = 0_u64;
        while let Some((partition, _, file)) = self.order.get(self.at).copied() {
            if handed_out >= max_bytes {
                return Ok(MergeStep::Paused);
            }
            let window_bytes = self.window_bytes();
            let input = &mut self.inputs[file];
            if let Some((_, row_groups)) = input.copied.iter().find(|(of, _)| *of == partition) {
                let row_groups = row_groups.clone();
                self.pass(file, partition);
                return Ok(MergeStep::Copies { file, row_groups });
            }
            let before = input.held_bytes();
            if input.page.is_none() {
                let Some(fetched) = input.fetched.clone().filter(|_| input.next_run < input.until) else {
                    input.release();
                    let (_, ranges) = input.window(window_bytes);
                    self.held_bytes = self.held_bytes + input.held_bytes() - before;
                    return Ok(MergeStep::Needs { file, ranges });
                };
                input.open_page(&fetched)?;
            }
            let Some(page) = &input.page else { continue };
            let run = input.next_run - page.first_run;
            let rows = page.batch.run(run)?;
            for row in 0..rows.len() {
                visit(rows.partition(), rows.ingest_ms(row), &rows.record(row))?;
            }
            handed_out = handed_out.saturating_add(input.footer.weight(&input.footer.runs()[input.next_run]));
            let is_last = run + 1 == page.batch.runs();
            input.next_run += 1;
            self.at += 1;
            let held_bytes = self.held_bytes + input.held_bytes() - before;
            let is_next = self.order.get(self.at).is_some_and(|(_, _, next)| *next == file);
            if is_last {
                input.page = None;
            }
            if input.next_run == input.until || (held_bytes > limits::MERGE_HELD_BYTES as u64 && !is_next) {
                input.release();
            }
            self.held_bytes = self.held_bytes + input.held_bytes() - before;
        }
        Ok(MergeStep::Done)
    }

    /// Passes over what a file has of a partition.
    fn pass(&mut self, file: usize, partition: i32) {
        let input = &mut self.inputs[file];
        let before = input.held_bytes();
        while self.order.get(self.at).is_some_and(|(of, _, next)| (*of, *next) == (partition, file)) {
            self.at += 1;
            input.next_run += 1;
        }
        // The partition has row groups of its own, so whatever is open ends before them.
        (input.page, input.scan) = (None, None);
        if input.next_run >= input.until {
            input.release();
        }
        self.held_bytes = self.held_bytes + input.held_bytes() - before;
    }
}

impl SegmentFooter {
    /// The row groups of a partition that hold nothing else, if they are large enough to be copied as they are.
    fn own_row_groups(&self, partition: i32) -> Option<Range<usize>> {
        let runs = &self.runs()[self.runs_from(partition, i64::MIN)];
        let (first, last) = (runs.first()?.row_group as usize, runs.last()?.row_group as usize);
        let groups = self.metadata().row_groups().get(first..=last)?;
        let rows: u64 = runs.iter().map(|run| u64::from(run.rows)).sum();
        let of_groups: i64 = groups.iter().map(|group| group.num_rows()).sum();
        let bytes: i64 = groups.iter().map(|group| group.compressed_size()).sum();
        let many = rows >= (layout::COPIED_ROW_GROUP_ROWS * groups.len()) as u64;
        let large = bytes as u64 >= (layout::COPIED_ROW_GROUP_BYTES * groups.len()) as u64;
        (i64::try_from(rows) == Ok(of_groups) && (many || large)).then_some(first..last + 1)
    }

    /// Partition and offset of a row group's first row.
    pub fn first_of_row_group(&self, row_group: usize) -> Option<(i32, i64)> {
        let at = self.runs().partition_point(|run| (run.row_group as usize) < row_group);
        let run = self.runs().get(at).filter(|run| run.row_group as usize == row_group)?;
        Some((run.partition, run.first_offset))
    }

    /// The bytes of one row group, of all its columns.
    pub fn row_group_range(&self, row_group: usize) -> Option<Range<u64>> {
        let columns = self.metadata().row_groups().get(row_group)?.columns();
        let ranges = columns.iter().map(|column| column.byte_range());
        ranges.map(|(start, length)| start..start + length).reduce(|all, one| all.start.min(one.start)..all.end.max(one.end))
    }
}

/// A [`Merge`] of files that are all at hand, in one go.
///
/// # Errors
/// A file is damaged, or `visit` failed.
pub fn merge_rows<E: From<ReadError>>(
    files: &[(SegmentFooter, Fetched)],
    visit: impl FnMut(i32, i64, &RecordRef<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut merge = Merge::new(files.iter().map(|(footer, _)| footer.clone()));
    for (file, (_, fetched)) in files.iter().enumerate() {
        merge.supply_whole(file, fetched.clone());
    }
    merge.step(u64::MAX, visit).map(|_| ())
}
