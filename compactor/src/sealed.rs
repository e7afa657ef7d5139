//! Sealed files of a topic, as the segment index lists them: rows put together by file.

use crate::error::WorkError;
use crate::shared::Shared;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_bronze::day_of_sealed_path;
use strandline_commands::{FileRange, NewFile};
use strandline_index::{Index, Topic};
use strandline_segment_index::{PutError, ReadError, RemoveError, RowKey, SealedRow};
use strandline_types::mutations::{Rule, holds};
use strandline_types::{Seq, TopicId, TopicPartition, limits};

/// How often a topic's files are listed anew because they changed meanwhile.
const LOADS: usize = 8;

/// A topic's sealed files by path.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SealedFiles {
    pub files: BTreeMap<String, NewFile>,
    /// Per partition, the end of what they were listed for: where more is sealed by now, another node has sealed it.
    ends: BTreeMap<i32, i64>,
}

impl SealedFiles {
    fn add(&mut self, row: SealedRow) {
        let range = range_of_row(&row);
        let file = self.files.entry(row.path).or_insert_with_key(|path| NewFile {
            path: path.clone(),
            size: row.size,
            crc32c: row.crc32c,
            ingest_day: day_of_sealed_path(path).and_then(Result::ok).map_or(0, |day| day.0),
            ..NewFile::default()
        });
        file.rows += row.rows;
        file.ranges.push(range);
    }

    /// Whether nobody else has sealed more of the topic since.
    fn are_current(&self, topic: &Topic) -> bool {
        done_ends(topic).iter().all(|(partition, end)| self.ends.get(partition).copied().unwrap_or(0) >= *end)
    }

    /// A file that this node has sealed. False if what lies before it was sealed by another node.
    fn insert(&mut self, file: &NewFile) -> bool {
        let follows = |range: &FileRange| self.ends.get(&range.partition).copied().unwrap_or(0) >= range.start;
        if !file.ranges.iter().all(follows) {
            return false;
        }
        for range in &file.ranges {
            let end = self.ends.entry(range.partition).or_default();
            *end = range.end.max(*end);
        }
        self.files.insert(file.path.clone(), file.clone());
        true
    }

    /// The ranges of one partition, in the order of offsets.
    pub fn ranges_of(&self, partition: i32) -> Vec<FileRange> {
        let ranges = self.files.values().flat_map(|file| &file.ranges).filter(|range| range.partition == partition);
        let mut ranges: Vec<FileRange> = ranges.cloned().collect();
        ranges.sort_by_key(|range| range.end);
        ranges
    }
}

/// Per partition, up to where all that is sealed is in the segment index: a plan's rows are there before it is done (docs/rules.md, C2).
fn done_ends(topic: &Topic) -> BTreeMap<i32, i64> {
    let sealed = (0..).zip(&topic.partitions).map(|(number, partition)| (number, partition.sealed_end));
    let mut ends: BTreeMap<i32, i64> = sealed.collect();
    for range in topic.plans.values().flat_map(|plan| &plan.ranges) {
        if let Some(end) = ends.get_mut(&range.partition) {
            *end = range.start.min(*end);
        }
    }
    ends
}

/// What the index tells of a topic's plans, looked at before its rows are read. Rows are read a page at a time, so that of a file whose
/// rows are written meanwhile only those that lie behind the last page may be found. A file that is taken for less than it is goes when
/// its part goes (`DropSealed` names the ranges, and the fold knows no others), and its other records with it.
struct KnownPlans {
    /// The last entry that was folded.
    seq: Seq,
    /// Open plans by their file's path: (partition, start, end).
    open: BTreeMap<String, BTreeSet<(i32, i64, i64)>>,
    /// As [`done_ends`].
    ends: BTreeMap<i32, i64>,
}

impl KnownPlans {
    fn of(index: &Index, topic_id: TopicId) -> Self {
        let topic = index.topics.get(&topic_id);
        let plans = topic.into_iter().flat_map(|topic| &topic.plans);
        let open = plans.map(|(path, plan)| (path.clone(), cover(&plan.ranges)));
        Self { seq: index.cell.seq, open: open.collect(), ends: topic.map(|topic| done_ends(topic)).unwrap_or_default() }
    }

    /// Whether every file was found with all of its rows, of which the youngest was planned at `youngest`. All of a plan's rows are
    /// there before it is done (docs/rules.md, C2): so those of a plan that was done in this view were there before the first page.
    fn show_whole(&self, files: &SealedFiles, youngest: Seq) -> bool {
        let is_whole =
            |(path, ranges): (&String, &BTreeSet<_>)| files.files.get(path).is_none_or(|file| cover(&file.ranges) == *ranges);
        youngest <= self.seq && self.open.iter().all(is_whole)
    }
}

fn cover(ranges: &[FileRange]) -> BTreeSet<(i32, i64, i64)> {
    ranges.iter().map(|range| (range.partition, range.start, range.end)).collect()
}

/// What a row of the segment index says of its file, as commands have it.
pub fn range_of_row(row: &SealedRow) -> FileRange {
    FileRange {
        partition: row.topic_partition.partition,
        start: row.start_offset,
        end: row.end_offset,
        rows: row.rows,
        first_row: row.first_row,
        max_timestamp_ms: row.max_timestamp_ms,
        max_timestamp_offset: row.max_timestamp_offset,
        sent_bytes: row.sent_bytes,
    }
}

/// The keys of a file's rows.
pub(crate) fn row_keys(topic_id: TopicId, ranges: &[FileRange]) -> Vec<RowKey> {
    let keys = ranges
        .iter()
        .map(|range| RowKey { topic_partition: TopicPartition { topic_id, partition: range.partition }, end_offset: range.end });
    keys.collect()
}

impl Shared {
    /// The sealed files that the segment index lists, remembered as long as no other node seals in the topic. A file that is missing
    /// in the list would be taken for a gap by retention, as old as what follows, and would not be in manifests.
    pub async fn sealed_files(&self, topic_id: TopicId) -> Result<Arc<SealedFiles>, WorkError> {
        let known = self.memory().sealed.get(&topic_id).cloned();
        let topic = self.topic(topic_id);
        let is_current =
            |known: &Arc<SealedFiles>| !holds(Rule::WholeFiles) || topic.is_none_or(|topic| known.are_current(&topic));
        match known.filter(is_current) {
            Some(known) => Ok(known),
            None => self.load_sealed_files(topic_id).await,
        }
    }

    /// The same, read anew. A file that is added or removed while the rows are read may be missed by the scan, be found after it is
    /// gone, or be found with some of its rows: the list counts only if no file was, as far as this run's changes and the plans of all
    /// nodes tell.
    pub async fn load_sealed_files(&self, topic_id: TopicId) -> Result<Arc<SealedFiles>, WorkError> {
        for _ in 0..LOADS {
            let before = self.memory().sealed_changed.get(&topic_id).copied();
            let known = KnownPlans::of(&self.cell.view(), topic_id);
            let (mut files, youngest) = self.scan_sealed_files(topic_id).await?;
            if !known.show_whole(&files, youngest) && holds(Rule::WholeFiles) {
                // Another node is at it: what it has planned or done meanwhile is in the view now.
                self.cell.barrier().await?;
                continue;
            }
            files.ends = known.ends;
            let files = Arc::new(files);
            let mut memory = self.memory();
            if memory.sealed_changed.get(&topic_id).copied() != before {
                continue;
            }
            let remembered: usize = memory.sealed.values().map(|files| files.files.len()).sum();
            if remembered + files.files.len() > limits::SEALED_FILES_REMEMBERED {
                memory.sealed.clear();
            }
            memory.sealed.insert(topic_id, files.clone());
            return Ok(files);
        }
        let reason = format!("the sealed files of topic {topic_id} change faster than they can be listed");
        Err(WorkError::SegmentIndex { reason, retriable: true })
    }

    /// The files that the rows tell of, and the seq of the youngest plan among theirs.
    async fn scan_sealed_files(&self, topic_id: TopicId) -> Result<(SealedFiles, Seq), WorkError> {
        let (mut files, mut youngest) = (SealedFiles::default(), Seq::ZERO);
        // Ends are above 0, so this key lies before every row of the topic.
        let mut after = Some(RowKey { topic_partition: TopicPartition { topic_id, partition: 0 }, end_offset: 0 });
        loop {
            let rows = self.segment_index.scan_all(after, limits::SEGMENT_INDEX_SCAN_ROWS).await?;
            let Some(last) = rows.last() else { return Ok((files, youngest)) };
            after = Some(last.key());
            for row in rows {
                if row.topic_partition.topic_id != topic_id {
                    return Ok((files, youngest));
                }
                youngest = youngest.max(row.sealed_seq);
                files.add(row);
            }
        }
    }

    /// A file's rows were written: what is remembered follows.
    pub fn remember_sealed(&self, topic_id: TopicId, file: &NewFile) {
        let mut memory = self.memory();
        memory.sealed_has_changed(topic_id);
        if memory.sealed.get_mut(&topic_id).is_some_and(|known| !Arc::make_mut(known).insert(file)) {
            memory.sealed.remove(&topic_id);
        }
    }

    /// A file's rows were removed.
    pub fn forget_sealed(&self, topic_id: TopicId, path: &str) {
        let mut memory = self.memory();
        memory.sealed_has_changed(topic_id);
        if let Some(known) = memory.sealed.get_mut(&topic_id) {
            Arc::make_mut(known).files.remove(path);
        }
    }
}

impl From<ReadError> for WorkError {
    fn from(error: ReadError) -> Self {
        Self::SegmentIndex { reason: error.to_string(), retriable: error.is_retriable() }
    }
}

impl From<PutError> for WorkError {
    fn from(error: PutError) -> Self {
        Self::SegmentIndex { reason: error.to_string(), retriable: error.is_retriable() }
    }
}

impl From<RemoveError> for WorkError {
    fn from(error: RemoveError) -> Self {
        Self::SegmentIndex { reason: error.to_string(), retriable: error.is_retriable() }
    }
}
