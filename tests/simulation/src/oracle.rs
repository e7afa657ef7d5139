//! Folds the log as it is stored, whoever has read it: what is true at every moment.

use crate::committed::Committed;
use crate::copies::Copies;
use crate::retention::Retention;
use crate::steps::Steps;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use strandline_commands::{Command, CommandKind, DecodedEntry, EntryBody, decode};
use strandline_commit_log::{MemoryCommitLog, Row};
use strandline_index::{ExtentPlace, Folded, Index, Outcome, digest};
use strandline_types::{Seq, TopicId, TopicPartition};

/// States that are kept, so that a node that lags can be held against what it must be.
const KEPT: usize = 2_000;

/// The one fold that misses nothing.
#[derive(Default)]
pub(crate) struct Oracle {
    index: Index,
    past: VecDeque<Index>,
    /// Files that were ever sealed and that nobody has let go of: whose, and when their newest record is from.
    sealed: BTreeMap<String, (TopicId, i64)>,
    pub retention: Retention,
    pub committed: Committed,
    pub copies: Copies,
    pub steps: Steps,
}

/// What an entry says; of one that does not decode, nothing, as in the fold.
fn body_of(bytes: &Bytes) -> EntryBody {
    match decode(bytes) {
        Ok(DecodedEntry::Body(body)) => body,
        _ => EntryBody::default(),
    }
}

impl Oracle {
    pub fn catch_up(&mut self, log: &MemoryCommitLog) -> Result<(), String> {
        while self.index.cell.seq < log.head() {
            let seq = self.index.cell.seq.next();
            let Some(entry) = log.stored(seq) else { return Err(format!("entry {seq} went before it was folded")) };
            let folded = self.index.fold(seq, &entry.bytes).map_err(|error| format!("the log cannot be folded: {error}"))?;
            let body = body_of(&entry.bytes);
            self.copies.note(Row { payload_length: body.payload_length, ..entry.row(seq) });
            self.steps.folded(&body, &folded);
            self.committed.folded(self.past.back(), &self.index, &body, &folded)?;
            self.check_retention(&body, &folded)?;
            let violations = self.index.violations();
            if !violations.is_empty() {
                return Err(format!("after entry {seq}: {}", violations.join("; ")));
            }
            self.check_holes(seq)?;
            self.note_sealed();
            self.past.push_back(self.index.clone());
            if self.past.len() > KEPT {
                self.past.pop_front();
            }
        }
        self.copies.check(self.index.cell.log_copied, log)
    }

    /// No offset that can be read becomes a hole (I1). Nodes make one where bytes are gone or damaged for a minute, which nothing in a run
    /// explains, and a rebuild does, of which there is none.
    fn check_holes(&self, seq: Seq) -> Result<(), String> {
        for topic in self.index.topics.values() {
            for (partition, number) in topic.partitions.iter().zip(0..) {
                let mut holes = partition.extents.iter().filter(|extent| matches!(extent.place, ExtentPlace::Hole));
                if let Some(hole) = holes.find(|hole| hole.end > partition.log_start) {
                    return Err(format!(
                        "entry {seq}: {}-{number} has a hole at [{}, {}), its records are lost, and nothing explains it (I1)",
                        topic.name, hole.start, hole.end
                    ));
                }
            }
        }
        Ok(())
    }

    fn note_sealed(&mut self) {
        for topic in self.index.topics.values() {
            for file in topic.plans.values().filter_map(|plan| plan.file.as_ref()) {
                let newest_ms = file.ranges.iter().map(|range| range.max_timestamp_ms).max().unwrap_or(-1);
                self.sealed.insert(file.path.clone(), (topic.id, newest_ms));
            }
        }
    }

    fn check_retention(&mut self, body: &EntryBody, folded: &Folded) -> Result<(), String> {
        for (commit, outcome) in body.commits.iter().zip(&folded.commits) {
            for (command, outcome) in commit.commands.iter().zip(outcome.outcomes.iter().flatten()) {
                self.retention.folded(self.past.back(), &self.index, command, outcome)?;
                self.check_drop(command, outcome)?;
            }
        }
        self.retention.check_log_starts(&self.index)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use strandline_index::{Extent, Partition, Topic};

    fn extent(start: i64, end: i64, place: ExtentPlace) -> Extent {
        let none = -1;
        Extent {
            start,
            end,
            place,
            length: 0,
            ingest_ms: 0,
            log_append_time: false,
            max_timestamp_ms: none,
            max_timestamp_offset: none,
        }
    }

    #[test]
    fn what_can_be_read_is_no_hole() {
        let is_right = |log_start| {
            let inline = ExtentPlace::Inline { seq: Seq(1), position: 0 };
            let extents = [extent(0, 4, ExtentPlace::Hole), extent(4, 9, inline)];
            let partition = Partition { log_start, extents: extents.into(), ..Partition::default() };
            let topic = Topic { partitions: vec![partition], ..Topic::default() };
            let mut oracle = Oracle::default();
            oracle.index.topics.insert(topic.id, Arc::new(topic));
            oracle.check_holes(Seq(1)).is_ok()
        };
        assert!(!is_right(0) && !is_right(3));
        assert!(is_right(4) && is_right(5));
    }
}
