//! Folds the log as it is stored, whoever has read it: what is true at every moment.

use crate::retention::Retention;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use strandline_commands::{Command, CommandKind, DecodedEntry, decode};
use strandline_commit_log::MemoryCommitLog;
use strandline_index::{ExtentPlace, Folded, Index, Outcome, digest};
use strandline_types::{Seq, TopicId, TopicPartition};

/// States that are kept, so that a node that lags can be held against what it must be.
const KEPT: usize = 2_000;

/// The one fold that misses nothing.
#[derive(Default)]
pub(crate) struct Oracle {
    index: Index,
    past: VecDeque<Index>,
    /// Offsets that were ever a hole.
    holes: BTreeMap<TopicPartition, BTreeSet<(i64, i64)>>,
    /// Files that were ever sealed and that nobody has let go of: whose, and when their newest record is from.
    sealed: BTreeMap<String, (TopicId, i64)>,
    pub retention: Retention,
}

impl Oracle {
    pub fn catch_up(&mut self, log: &MemoryCommitLog) -> Result<(), String> {
        while self.index.cell.seq < log.head() {
            let seq = self.index.cell.seq.next();
            let Some(entry) = log.stored(seq) else { return Err(format!("entry {seq} went before it was folded")) };
            let folded = self.index.fold(seq, &entry.bytes).map_err(|error| format!("the log cannot be folded: {error}"))?;
            self.check_groups(seq)?;
            self.check_retention(&entry.bytes, &folded)?;
            let violations = self.index.violations();
            if !violations.is_empty() {
                return Err(format!("after entry {seq}: {}", violations.join("; ")));
            }
            self.note_holes();
            self.note_sealed();
            self.past.push_back(self.index.clone());
            if self.past.len() > KEPT {
                self.past.pop_front();
            }
        }
        Ok(())
    }

    /// Conversion forgets them: a file has no rows there.
    fn note_holes(&mut self) {
        for topic in self.index.topics.values() {
            for (partition, number) in topic.partitions.iter().zip(0..) {
                for extent in partition.extents.iter().filter(|extent| matches!(extent.place, ExtentPlace::Hole)) {
                    let at = TopicPartition { topic_id: topic.id, partition: number };
                    self.holes.entry(at).or_default().insert((extent.start, extent.end));
                }
            }
        }
    }

    fn note_sealed(&mut self) {
        for topic in self.index.topics.values() {
            for file in topic.plans.values().filter_map(|plan| plan.file.as_ref()) {
                let newest_ms = file.ranges.iter().map(|range| range.max_timestamp_ms).max().unwrap_or(-1);
                self.sealed.insert(file.path.clone(), (topic.id, newest_ms));
            }
        }
    }

    fn check_retention(&mut self, bytes: &Bytes, folded: &Folded) -> Result<(), String> {
        let Ok(DecodedEntry::Body(body)) = decode(bytes) else { return Ok(()) };
        for (commit, outcome) in body.commits.iter().zip(&folded.commits) {
            for (command, outcome) in commit.commands.iter().zip(outcome.outcomes.iter().flatten()) {
                self.retention.folded(self.past.back(), &self.index, command, outcome)?;
                self.check_drop(command, outcome)?;
            }
        }
        Ok(())
    }

    /// A sealed file that is let go is old by then; when it is deleted, the clock may be another one.
    fn check_drop(&mut self, command: &Command, outcome: &Outcome) -> Result<(), String> {
        let (Some(CommandKind::DropSealed(command)), Outcome::Done) = (&command.kind, outcome) else { return Ok(()) };
        let Some(file) = &command.file else { return Ok(()) };
        if let Some(why) = self.keeps(&file.path, self.retention.latest_ms()) {
            return Err(format!("entry {}: {} is let go, and {why}", self.index.cell.seq, file.path));
        }
        self.sealed.remove(&file.path);
        Ok(())
    }

    /// Whether nothing is to be found at this offset, because what was there cannot be read and the log says so.
    pub fn is_hole(&self, at: TopicPartition, offset: i64) -> bool {
        let holes = self.holes.get(&at);
        holes.is_some_and(|holes| holes.range(..=(offset, i64::MAX)).any(|(_, end)| offset < *end))
    }

    /// What members of a group have committed never goes back, nor does its generation.
    fn check_groups(&self, seq: Seq) -> Result<(), String> {
        let Some(before) = self.past.back() else { return Ok(()) };
        for (name, group) in self.index.groups.iter().filter(|(name, _)| name.starts_with("team-")) {
            let Some(was) = before.groups.get(name) else { continue };
            if Arc::ptr_eq(was, group) {
                continue;
            }
            if group.generation < was.generation {
                return Err(format!("entry {seq}: {name} goes from generation {} to {}", was.generation, group.generation));
            }
            for (place, offset) in &was.offsets {
                let now = group.offsets.get(place).map_or(-1, |offset| offset.offset);
                if now < offset.offset && self.has_topic(place.topic_id) {
                    return Err(format!(
                        "entry {seq}: what {name} has committed of {place:?} goes from {} to {now}",
                        offset.offset
                    ));
                }
            }
        }
        Ok(())
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    pub fn has_topic(&self, topic: TopicId) -> bool {
        self.index.topics.contains_key(&topic)
    }

    /// (log start, high watermark)
    pub fn bounds(&self, at: TopicPartition) -> Option<(i64, i64)> {
        let partition = self.index.partition(at.topic_id, at.partition)?;
        Some((partition.log_start, partition.next_offset))
    }

    /// I2: what a node that has folded `seq` holds. None if that is too long ago.
    pub fn digest_at(&self, seq: Seq) -> Option<[u8; 32]> {
        let first = self.past.front()?.cell.seq;
        let at = usize::try_from(seq.0.checked_sub(first.0)?).ok()?;
        self.past.get(at).map(digest)
    }

    /// Why an object of the garbage list must not go yet: a rebuilt cell might refer to it (B10), or a node that lives (C5, B7).
    pub fn must_wait(&self, path: &str) -> Option<String> {
        let garbage = self.index.garbage.get(path)?;
        let of_dropped = |id8: &str| self.index.dropped.keys().any(|id| id.id8() == id8);
        if path.starts_with("bronze/") && path.split('/').nth(2).is_some_and(of_dropped) {
            return None;
        }
        if self.index.cell.log_copied < garbage.since {
            return Some(format!("the bucket's copy of the log does not reach {}, which dropped it", garbage.since));
        }
        let behind = self.index.nodes.iter().find(|(_, run)| run.folded < garbage.since)?;
        Some(format!("{} has not said to have folded {}, which dropped it", behind.0, garbage.since))
    }

    /// Why a sealed file must not go yet by what its topic asks for.
    pub fn keeps(&self, path: &str, now_ms: i64) -> Option<String> {
        let (topic_id, newest_ms) = self.sealed.get(path)?;
        let topic = self.index.topics.get(topic_id)?;
        self.retention.keeps_sealed(topic, *newest_ms, now_ms)
    }

    /// Sealed files that must be there whatever their age is, of one topic or of all.
    pub fn kept_for_ever(&self, of: Option<TopicId>) -> impl Iterator<Item = &String> {
        let sealed = self.sealed.iter().filter(move |(_, (topic, _))| of.is_none_or(|of| of == *topic));
        sealed.map(|(path, _)| path).filter(|path| self.keeps(path, i64::MAX / 2).is_some())
    }

    /// Why an object must not be deleted now, if so.
    pub fn refers_to(&self, path: &str) -> Option<String> {
        if path.starts_with("wal/") {
            let name = path.parse().ok()?;
            return self.index.wal_objects.contains_key(&name).then(|| "extents refer to it".to_owned());
        }
        if path.starts_with("fresh/") {
            let known = self.index.topics.values().find(|topic| topic.fresh.values().any(|segment| segment.file.path == path))?;
            return Some(format!("it is a fresh segment of {}", known.name));
        }
        if path.starts_with("bronze/") {
            let known = self.index.topics.values().find(|topic| topic.plans.contains_key(path))?;
            return Some(format!("an open plan of {} names it", known.name));
        }
        None
    }
}
