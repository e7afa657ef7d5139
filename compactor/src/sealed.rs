//! Sealed files of a topic, as the segment index lists them: rows put together by file.

use crate::error::WorkError;
use crate::retain::BronzeRule;
use crate::shared::Shared;
use futures::future;
use futures::stream::{self, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_bronze::{day_of_sealed_path, topic_folder};
use strandline_commands::{FileRange, NewFile};
use strandline_index::{Index, Topic};
use strandline_object_store::Purpose;
use strandline_segment_index::{PutError, ReadError, RemoveError, RowKey, SealedRow};
use strandline_topic_config::TopicConfig;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{Seq, TopicId, TopicPartition, limits};

/// How often a topic's files are listed anew because they changed meanwhile.
const LOADS: usize = 8;

/// A topic's sealed files by path.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SealedFiles {
    pub files: BTreeMap<String, NewFile>,
    /// Those that were on the garbage list, or whose object is no more: what is left of them are rows.
    pub gone: BTreeSet<String>,
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
    /// The topic's files that are garbage.
    garbage: BTreeSet<String>,
    /// As [`done_ends`].
    ends: BTreeMap<i32, i64>,
}

impl KnownPlans {
    fn of(index: &Index, topic_id: TopicId) -> Self {
        let topic = index.topics.get(&topic_id);
        let plans = topic.into_iter().flat_map(|topic| &topic.plans);
        let open = plans.map(|(path, plan)| (path.clone(), cover(&plan.ranges)));
        Self {
            seq: index.cell.seq,
            open: open.collect(),
            garbage: topic.into_iter().flat_map(|topic| garbage_of(index, topic)).cloned().collect(),
            ends: topic.map(|topic| done_ends(topic)).unwrap_or_default(),
        }
    }

    /// Whether every file was found with all of its rows, of which the youngest was planned at `youngest`. All of a plan's rows are
    /// there before it is done (docs/rules.md, C2): so those of a plan that was done in this view were there before the first page.
    fn show_whole(&self, files: &SealedFiles, youngest: Seq) -> bool {
        let is_whole =
            |(path, ranges): (&String, &BTreeSet<_>)| files.files.get(path).is_none_or(|file| cover(&file.ranges) == *ranges);
        youngest <= self.seq && self.open.iter().all(is_whole)
    }
}

/// The topic's sealed files on the garbage list.
pub(crate) fn garbage_of<'a>(index: &'a Index, topic: &Topic) -> impl Iterator<Item = &'a String> + use<'a> {
    let prefix = format!("{}/", topic_folder("bronze", &topic.name, topic.id));
    let paths = index.garbage.range(prefix.clone()..).map(|(path, _)| path);
    paths.take_while(move |path| path.starts_with(&prefix))
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
            let before = self.memory().sealed_marks(topic_id);
            let known = KnownPlans::of(&self.cell.view(), topic_id);
            let (mut files, youngest) = self.scan_sealed_files(topic_id).await?;
            if !known.show_whole(&files, youngest) && holds(Rule::WholeFiles) {
                // Another node is at it: what it has planned or done meanwhile is in the view now.
                self.cell.barrier().await?;
                continue;
            }
            files.ends = known.ends;
            files.gone = known.garbage;
            files.gone.retain(|path| files.files.contains_key(path));
            let files = Arc::new(files);
            if self.keep_sealed(topic_id, &files, before) {
                return Ok(self.mark_zombies(topic_id, files).await);
            }
        }
        let reason = format!("the sealed files of topic {topic_id} change faster than they can be listed");
        Err(WorkError::SegmentIndex { reason, retriable: true })
    }

    /// Remembers what was read, unless it does not count any more.
    fn keep_sealed(&self, topic_id: TopicId, files: &Arc<SealedFiles>, before: (Option<u64>, Option<u64>)) -> bool {
        let mut memory = self.memory();
        if memory.sealed_marks(topic_id) != before {
            return false;
        }
        let remembered: usize = memory.sealed.values().map(|files| files.files.len()).sum();
        if remembered + files.files.len() > limits::SEALED_FILES_REMEMBERED {
            memory.sealed.clear();
        }
        memory.sealed.insert(topic_id, files.clone());
        true
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

    /// Marks rows that another node wrote late, when their file had gone for good: retention has had it, and has it again once it is old
    /// by this node's clock, too, and it is not there. What the store does not say now stays as it is.
    async fn mark_zombies(&self, topic_id: TopicId, files: Arc<SealedFiles>) -> Arc<SealedFiles> {
        let Some(topic) = self.topic(topic_id).filter(|_| !self.cell.is_sole()) else { return files };
        let rule = BronzeRule::of(&TopicConfig::of(&topic.configs));
        // The later time is the safe one here: it has more files looked at, and only those are marked that are not there. Another node may
        // have let them go by a clock that was ahead, which has left its time in the log.
        let now_ms = self.now_ms().max(self.cell.view().cell.now_ms);
        let is_suspect = |file: &&NewFile| !files.gone.contains(&file.path) && rule.lets_go(&topic, file, now_ms);
        let suspects: Vec<String> = files.files.values().filter(is_suspect).map(|file| file.path.clone()).collect();
        let look = |path: String| async move {
            let found = self.objects.head(Purpose::Manifest, &path).await;
            matches!(found, Err(error) if error.is_not_found()).then_some(path)
        };
        let looks = stream::iter(suspects).map(look).buffer_unordered(limits::BLOCKS_IN_FLIGHT);
        let zombies: BTreeSet<String> = looks.filter_map(future::ready).collect().await;
        if zombies.is_empty() {
            return files;
        }
        tracing::warn!(%topic_id, files = zombies.len(), "the segment index has rows of files that are gone: retention removes them");
        if let Some(known) = self.memory().sealed.get_mut(&topic_id) {
            Arc::make_mut(known).gone.extend(zombies.iter().cloned());
        }
        let mut files = (*files).clone();
        files.gone.extend(zombies);
        Arc::new(files)
    }

    /// Marks the files that joined the garbage list, as of the seq that it returns: before this node says that it has folded so far, after
    /// which the list may forget them.
    pub fn mark_dropped(&self) -> Seq {
        let view = self.cell.view();
        let mut memory = self.memory();
        let seq = view.cell.seq;
        let last = std::mem::replace(&mut memory.dropped_up_to, seq);
        if self.cell.is_sole() {
            // What this node drops it forgets by itself.
            return seq;
        }
        let sealed = view.garbage.range("bronze/".to_owned()..).take_while(|(path, _)| path.starts_with("bronze/"));
        let mut dropped: BTreeMap<TopicId, Vec<String>> = BTreeMap::new();
        for (path, _) in sealed.filter(|(_, garbage)| garbage.since > last) {
            if let Some(topic) = view.topic_of_object(path) {
                dropped.entry(topic.id).or_default().push(path.clone());
            }
        }
        drop(view);
        for (topic_id, paths) in dropped {
            *memory.dropped_marked.entry(topic_id).or_default() += 1;
            if let Some(files) = memory.sealed.get_mut(&topic_id) {
                let known = paths.into_iter().filter(|path| files.files.contains_key(path)).collect::<Vec<_>>();
                if !known.is_empty() {
                    Arc::make_mut(files).gone.extend(known);
                }
            }
        }
        seq
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
            let known = Arc::make_mut(known);
            known.files.remove(path);
            known.gone.remove(path);
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
