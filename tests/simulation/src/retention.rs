//! What retention may take and must take, reckoned from the batches as the log has them: not from extents, files or rows, and
//! by nothing of the code under test.

use std::collections::BTreeMap;
use std::ops::Range;
use strandline_commands::{Command, CommandKind, MoveLogStart, Produce};
use strandline_index::{BatchOutcome, Index, Outcome, Topic};
use strandline_types::{TopicId, TopicPartition};

/// Kafka's default of `retention.ms`.
const WEEK_MS: i64 = 604_800_000;
/// A node has looked at its clock, and what it then asks for is in the log at most so much later: pauses and waits in between.
const ON_ITS_WAY_MS: i64 = 120_000;

struct Batch {
    end: i64,
    bytes: u64,
    /// Of its newest record.
    time_ms: i64,
    /// When the log took it.
    append_ms: i64,
}

/// What a topic has asked for; below 0: without a limit.
struct Limits {
    ms: i64,
    bytes: i64,
    /// Its sealed files stay longer than its log keeps records: nothing leaves that before it is sealed.
    only_sealed: bool,
}

impl Limits {
    fn of(topic: &Topic) -> Self {
        let number = |name, default| topic.configs.get(name).and_then(|value: &String| value.parse().ok()).unwrap_or(default);
        let (ms, bytes, kept_ms) =
            (number("retention.ms", WEEK_MS), number("retention.bytes", -1), number("strandline.bronze.retention.ms", -2));
        Self { ms, bytes, only_sealed: kept_ms == -1 || (kept_ms >= 0 && (bytes >= 0 || kept_ms > ms)) }
    }

    fn is_old(&self, time_ms: i64, now_ms: i64) -> bool {
        self.ms >= 0 && now_ms - time_ms > self.ms
    }

    fn is_enough(&self, bytes: u64) -> bool {
        u64::try_from(self.bytes).is_ok_and(|wanted| bytes >= wanted)
    }
}

/// Every batch that was ever appended, and where logs begin.
#[derive(Default)]
pub(crate) struct Retention {
    batches: BTreeMap<TopicPartition, BTreeMap<i64, Batch>>,
    log_starts: BTreeMap<TopicPartition, i64>,
    /// What operators have asked for, as in their commands, and how many of these are not in the log yet.
    asked: BTreeMap<(TopicPartition, i64), u32>,
    /// The true time.
    now_ms: i64,
    /// How far the clock of each slot is ahead, if it is.
    ahead_ms: BTreeMap<usize, i64>,
    /// Clocks that were put right: (how far they were ahead, when).
    were_ahead: Vec<(i64, i64)>,
    /// Log starts that retention has moved, by age and by size.
    pub moves: (u64, u64),
}

impl Retention {
    /// An operator is about to ask for this log start.
    pub fn ask(&mut self, at: TopicPartition, to: i64) {
        *self.asked.entry((at, to)).or_default() += 1;
    }

    /// Whether an operator has asked for this. Each time that one has is an answer once: what moves a log start later is retention.
    fn was_asked(&mut self, at: TopicPartition, to: i64) -> bool {
        let Some(times) = self.asked.get_mut(&(at, to)) else { return false };
        *times -= 1;
        if *times == 0 {
            self.asked.remove(&(at, to));
        }
        true
    }

    /// What is done from here on is done at this time.
    pub fn set_now(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    /// The clock of a slot is set.
    pub fn clock_is_ahead(&mut self, slot: usize, by_ms: i64) {
        if let Some(before_ms) = self.ahead_ms.insert(slot, by_ms.max(0)) {
            self.were_ahead.push((before_ms, self.now_ms));
        }
    }

    /// The latest that a node may have taken the time for: its clock's. Not the log's, in which a clock that was ahead leaves its time. (What
    /// was asked for by such a clock may be on its way when it is put right: for a while it counts as it was.)
    pub fn latest_ms(&self) -> i64 {
        let lately =
            self.were_ahead.iter().filter(|(_, until_ms)| self.now_ms - until_ms <= ON_ITS_WAY_MS).map(|(by_ms, _)| *by_ms);
        let ahead_ms = self.ahead_ms.values().copied().chain(lately).max().unwrap_or(0);
        self.now_ms + ahead_ms
    }

    /// A command was folded; `before` is what its entry found, and `index` what came out of it.
    pub fn folded(&mut self, before: Option<&Index>, index: &Index, command: &Command, outcome: &Outcome) -> Result<(), String> {
        match (&command.kind, outcome) {
            (Some(CommandKind::Produce(produce)), Outcome::Produced(outcomes)) => self.appended(index, produce, outcomes),
            (Some(CommandKind::MoveLogStart(command)), Outcome::LogStart(to)) => return self.moved(before, index, command, *to),
            _ => {}
        }
        Ok(())
    }

    /// A log start moves to where it is asked to be, no further and no less, and never back.
    fn moved(&mut self, before: Option<&Index>, index: &Index, command: &MoveLogStart, to: i64) -> Result<(), String> {
        let Some(topic_id) = TopicId::from_slice(&command.topic_id) else { return Ok(()) };
        let at = TopicPartition { topic_id, partition: command.partition };
        let from = self.log_starts.insert(at, to).unwrap_or(0);
        let (was_asked, end) = (self.was_asked(at, command.to), self.end_of(at));
        let wanted = if command.to == -1 { end } else { command.to };
        if to != wanted.max(from) {
            return Err(format!(
                "entry {}: the log start of {at:?} goes from {from} to {to} for a command that says {}, of a log up to {end}",
                index.cell.seq, command.to
            ));
        }
        if from == to || was_asked {
            return Ok(());
        }
        let partition = before.and_then(|index| index.partition(at.topic_id, at.partition));
        self.check_move(index, at, from, to, partition.map_or(0, |partition| partition.sealed_end))
    }

    fn appended(&mut self, index: &Index, produce: &Produce, outcomes: &[BatchOutcome]) {
        let Some(topic_id) = TopicId::from_slice(&produce.topic_id) else { return };
        let by_log = index.topics.get(&topic_id).is_some_and(|topic| {
            topic.configs.get("message.timestamp.type").is_some_and(|value: &String| value == "LogAppendTime")
        });
        let batches = self.batches.entry(TopicPartition { topic_id, partition: produce.partition }).or_default();
        for (batch, outcome) in produce.batches.iter().zip(outcomes) {
            let BatchOutcome::Appended { base_offset, append_time_ms, .. } = outcome else { continue };
            let end = base_offset + i64::from(batch.last_offset_delta) + 1;
            let time_ms = if by_log { *append_time_ms } else { batch.max_timestamp_ms };
            let (bytes, append_ms) = (u64::from(batch.length), *append_time_ms);
            batches.insert(*base_offset, Batch { end, bytes, time_ms, append_ms });
        }
    }

    /// Where the log ends, by what was appended so far.
    fn end_of(&self, at: TopicPartition) -> i64 {
        let last = self.batches.get(&at).and_then(|batches| batches.last_key_value());
        last.map_or(0, |(_, batch)| batch.end)
    }

    /// When the log took what is at this offset.
    pub fn append_time_ms(&self, at: TopicPartition, offset: i64) -> Option<i64> {
        let (_, batch) = self.batches.get(&at)?.range(..=offset).next_back()?;
        (offset < batch.end).then_some(batch.append_ms)
    }

    /// Bytes of the batches that lie wholly at or above an offset.
    fn bytes_from(&self, at: TopicPartition, offset: i64) -> u64 {
        self.batches.get(&at).map_or(0, |batches| batches.range(offset..).map(|(_, batch)| batch.bytes).sum())
    }

    /// Nobody asked for it, so it was retention: nothing goes that is young, unless enough is left without it; and nothing that was to be
    /// sealed first.
    fn check_move(&mut self, index: &Index, at: TopicPartition, from: i64, to: i64, sealed_end: i64) -> Result<(), String> {
        let Some(topic) = index.topics.get(&at.topic_id) else { return Ok(()) };
        let (limits, latest_ms) = (Limits::of(topic), self.latest_ms());
        if limits.only_sealed && to > sealed_end {
            return Err(format!(
                "entry {}: retention takes {}-{} [{from}, {to}), sealed up to {sealed_end}, and its sealed files stay longer",
                index.cell.seq, topic.name, at.partition
            ));
        }
        let left = self.bytes_from(at, to);
        let mut taken = self.batches.get(&at).into_iter().flat_map(|batches| batches.range(..to));
        let young = taken.rfind(|(_, batch)| batch.end > from && !limits.is_old(batch.time_ms, latest_ms));
        match young {
            Some((start, batch)) if !limits.is_enough(left) => Err(format!(
                "entry {}: retention takes {}-{} [{from}, {to}), with a batch at [{start}, {}) that is {} ms old of {} ms, and {left} \
                 bytes of {} are left",
                index.cell.seq,
                topic.name,
                at.partition,
                batch.end,
                latest_ms - batch.time_ms,
                limits.ms,
                limits.bytes
            )),
            Some(_) => {
                self.moves.1 += 1;
                Ok(())
            }
            None => {
                self.moves.0 += 1;
                Ok(())
            }
        }
    }

    /// Whether every log starts where its moves have put it: nothing else may (I5).
    pub fn check_log_starts(&self, index: &Index) -> Result<(), String> {
        for topic in index.topics.values() {
            for (number, partition) in (0..).zip(&topic.partitions) {
                let at = TopicPartition { topic_id: topic.id, partition: number };
                let known = self.log_starts.get(&at).copied().unwrap_or(0);
                if partition.log_start != known {
                    return Err(format!(
                        "the log start of {at:?} is {}, and was moved to {known} by command",
                        partition.log_start
                    ));
                }
            }
        }
        Ok(())
    }

    /// Retention has had its turn at `now_ms`, and `unit` is what leaves first, as a whole. Why it must have left. Its age is that of its
    /// newest record, also where that lies below the log start: as in Kafka, whose segments keep their largest timestamp.
    pub fn must_go(&self, index: &Index, at: TopicPartition, unit: Range<i64>, now_ms: i64) -> Option<String> {
        let topic = index.topics.get(&at.topic_id)?;
        let limits = Limits::of(topic);
        if limits.only_sealed && unit.end > index.partition(at.topic_id, at.partition)?.sealed_end {
            return None;
        }
        let batches = self.batches.get(&at)?.range(..unit.end).filter(|(_, batch)| batch.end > unit.start);
        let (start, newest) = batches.max_by_key(|(_, batch)| batch.time_ms)?;
        if limits.is_old(newest.time_ms, now_ms) {
            let (age_ms, end) = (now_ms - newest.time_ms, newest.end);
            let state =
                index.partition(at.topic_id, at.partition).map(|state| (state.log_start, state.sealed_end, state.frontier));
            return Some(format!(
                "its newest batch, [{start}, {end}) of {unit:?}, is {age_ms} ms old, of {} ms; log start, sealed end and frontier are {state:?}",
                limits.ms
            ));
        }
        let left = self.bytes_from(at, unit.end);
        (left > 0 && limits.is_enough(left)).then(|| format!("{left} bytes are left without it, of {}", limits.bytes))
    }

    /// Why a sealed file of a topic that lives must not go yet, whatever its log start is.
    pub fn keeps_sealed(&self, topic: &Topic, newest_ms: i64, now_ms: i64) -> Option<String> {
        let kept_ms: i64 = topic.configs.get("strandline.bronze.retention.ms").and_then(|value: &String| value.parse().ok())?;
        let age_ms = now_ms.max(self.latest_ms()) - newest_ms;
        match kept_ms {
            -2 => None,
            -1 => Some(format!("{} keeps its sealed files for ever", topic.name)),
            _ if age_ms <= kept_ms => {
                Some(format!("its newest record is {age_ms} ms old, and {} keeps it {kept_ms} ms", topic.name))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use strandline_index::Partition;

    const AT: TopicPartition = TopicPartition { topic_id: TopicId([7; 16]), partition: 0 };

    fn append(retention: &mut Retention, start: i64, end: i64) {
        let batch = Batch { end, bytes: 100, time_ms: 0, append_ms: 5 + start };
        retention.batches.entry(AT).or_default().insert(start, batch);
    }

    /// A log of ten offsets, none of them old.
    fn ten_offsets() -> Retention {
        let mut retention = Retention::default();
        append(&mut retention, 0, 4);
        append(&mut retention, 4, 10);
        retention
    }

    fn index_with(log_start: i64) -> Index {
        let partition = Partition { log_start, ..Partition::default() };
        let topic = Topic { id: AT.topic_id, partitions: vec![partition], ..Topic::default() };
        let mut index = Index::default();
        index.topics.insert(topic.id, Arc::new(topic));
        index
    }

    /// A command asks for a log start, and the fold says that it is `to` now.
    fn moved(retention: &mut Retention, wanted: i64, to: i64) -> Result<(), String> {
        let command = MoveLogStart { topic_id: AT.topic_id.0.to_vec(), partition: AT.partition, to: wanted };
        retention.folded(None, &index_with(to), &command.into(), &Outcome::LogStart(to))
    }

    #[test]
    fn a_log_start_moves_to_where_it_is_asked_to_be() {
        for (wanted, to) in [(4, 5), (4, 3), (4, 0), (-1, 9), (-1, 0)] {
            let mut retention = ten_offsets();
            retention.ask(AT, wanted);
            assert!(moved(&mut retention, wanted, to).is_err(), "{wanted} was asked for, and it went to {to}");
        }
        let mut retention = ten_offsets();
        for (wanted, to) in [(4, 4), (2, 4), (-1, 10), (10, 10)] {
            retention.ask(AT, wanted);
            moved(&mut retention, wanted, to).unwrap();
        }
        moved(&mut retention, 4, 4).unwrap_err();
    }

    #[test]
    fn who_has_asked_once_excuses_one_move() {
        let mut retention = ten_offsets();
        retention.ask(AT, -1);
        moved(&mut retention, -1, 10).unwrap();
        append(&mut retention, 10, 12);
        let young = moved(&mut retention, -1, 12).unwrap_err();
        assert!(young.contains("retention takes"), "{young}");
        let mut retention = ten_offsets();
        (0..2).for_each(|_| retention.ask(AT, -1));
        moved(&mut retention, -1, 10).unwrap();
        append(&mut retention, 10, 12);
        moved(&mut retention, -1, 12).unwrap();
    }

    #[test]
    fn a_log_start_is_where_its_moves_have_put_it() {
        let mut retention = ten_offsets();
        retention.check_log_starts(&index_with(0)).unwrap();
        retention.check_log_starts(&index_with(4)).unwrap_err();
        retention.ask(AT, 4);
        moved(&mut retention, 4, 4).unwrap();
        retention.check_log_starts(&index_with(4)).unwrap();
        retention.check_log_starts(&index_with(0)).unwrap_err();
    }

    #[test]
    fn every_offset_was_taken_at_the_time_of_its_batch() {
        let retention = ten_offsets();
        let times: Vec<_> = [0, 3, 4, 9, 10].map(|offset| retention.append_time_ms(AT, offset)).into();
        assert_eq!(times, [Some(5), Some(5), Some(9), Some(9), None]);
    }
}
