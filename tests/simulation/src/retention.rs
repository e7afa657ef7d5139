//! What retention may take and must take, reckoned from the batches as the log has them: not from extents, files or rows, and
//! by nothing of the code under test.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use strandline_commands::{Command, CommandKind, Produce};
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
    /// What operators have asked for, as in their commands.
    asked: BTreeSet<(TopicPartition, i64)>,
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
        self.asked.insert((at, to));
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
            (Some(CommandKind::MoveLogStart(command)), Outcome::LogStart(to)) => {
                let Some(topic_id) = TopicId::from_slice(&command.topic_id) else { return Ok(()) };
                let at = TopicPartition { topic_id, partition: command.partition };
                let from = self.log_starts.insert(at, *to).unwrap_or(0);
                if from < *to && !self.asked.contains(&(at, command.to)) {
                    let partition = before.and_then(|index| index.partition(at.topic_id, at.partition));
                    return self.check_move(index, at, from, *to, partition.map_or(0, |partition| partition.sealed_end));
                }
            }
            _ => {}
        }
        Ok(())
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
            batches.insert(*base_offset, Batch { end, bytes: u64::from(batch.length), time_ms });
        }
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

    /// Whether a log starts where its moves have put it: nothing else may (I5).
    pub fn check_log_start(&self, index: &Index, at: TopicPartition) -> Result<(), String> {
        let Some(partition) = index.partition(at.topic_id, at.partition) else { return Ok(()) };
        let known = self.log_starts.get(&at).copied().unwrap_or(0);
        if partition.log_start == known {
            return Ok(());
        }
        Err(format!("the log start of {at:?} is {}, and was moved to {known} by command", partition.log_start))
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
