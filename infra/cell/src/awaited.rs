//! Batches that were refused though they come again: what their producers sent behind them must not overtake them.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use strandline_commands::{Batch, Command, CommandKind, DecodedEntry, decode};
use strandline_index::{BatchOutcome, Index, Outcome, Refusal};
use strandline_types::mutations::{Rule, holds};
use strandline_types::{Incarnation, ProducerId, TopicId, TopicPartition, limits};

/// Where a batch stands in what its producer sends to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence {
    producer_id: ProducerId,
    epoch: i32,
    first: i32,
}

impl Sequence {
    /// Of the batch that begins with `first`; none if its producer is not idempotent.
    pub fn new(producer_id: ProducerId, epoch: i32, first: i32) -> Option<Self> {
        (producer_id >= 0).then_some(Self { producer_id, epoch, first })
    }

    /// Of a batch as the log describes it.
    pub fn of(batch: &Batch) -> Option<Self> {
        Self::new(batch.producer_id, batch.producer_epoch, batch.base_sequence)
    }

    /// Whose.
    pub fn producer_id(&self) -> ProducerId {
        self.producer_id
    }

    fn is_behind(&self, other: &Self) -> bool {
        self.epoch == other.epoch && is_ahead(self.first, other.first)
    }
}

/// Whether `sequence` lies ahead of `expected`, on the circle of 2^31 sequences.
pub fn is_ahead(sequence: i32, expected: i32) -> bool {
    let distance = sequence.wrapping_sub(expected) & i32::MAX;
    distance != 0 && distance < 1 << 30
}

/// What was refused for want of room, of time, or of a topic that may still come, by partition and producer. Where a
/// partition knows nothing of a producer, the fold takes whatever sequence comes first, as Kafka does; what was sent behind a refused
/// batch would be taken then, and the refused one never again.
#[derive(Debug)]
pub struct Awaited<P> {
    all: Mutex<All<P>>,
    /// How many: mostly there are none, and then nothing is locked.
    count: AtomicUsize,
}

#[derive(Debug)]
struct All<P> {
    noted: BTreeMap<(P, ProducerId), Noted>,
    last: Duration,
    tidied: Duration,
}

#[derive(Debug)]
struct Noted {
    sequence: Sequence,
    at: Duration,
}

impl Noted {
    fn is_awaited(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) <= limits::AWAITED_BATCH_WAIT
    }

    fn holds_up(&self, sequence: Sequence, now: Duration) -> bool {
        self.is_awaited(now) && sequence.is_behind(&self.sequence)
    }

    /// It is of an epoch that is over.
    fn outlives(&self, sequence: Sequence) -> bool {
        sequence.epoch < self.sequence.epoch
    }
}

impl<P> Default for Awaited<P> {
    fn default() -> Self {
        let all = All { noted: BTreeMap::new(), last: Duration::ZERO, tidied: Duration::ZERO };
        Self { all: Mutex::new(all), count: AtomicUsize::new(0) }
    }
}

impl<P: Ord> Awaited<P> {
    /// Something with the notes; afterwards they are counted.
    fn with<T>(&self, work: impl FnOnce(&mut All<P>) -> T) -> T {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.noted.len();
        let done = work(&mut all);
        let now = all.noted.len();
        self.count.store(now, Ordering::Release);
        if now != before {
            metrics::gauge!("strandline_awaited_batches").increment(now as f64 - before as f64);
        }
        done
    }

    /// Notes a batch that was refused `now` and comes again.
    pub fn note(&self, partition: P, sequence: Sequence, now: Duration) {
        if !holds(Rule::Awaited) {
            return;
        }
        self.with(|all| {
            all.last = all.last.max(now);
            match all.noted.entry((partition, sequence.producer_id)) {
                Entry::Occupied(noted) if noted.get().holds_up(sequence, now) || noted.get().outlives(sequence) => {}
                Entry::Occupied(mut noted) => drop(noted.insert(Noted { sequence, at: now })),
                Entry::Vacant(place) => drop(place.insert(Noted { sequence, at: now })),
            }
            if all.noted.len() > limits::AWAITED_BATCHES && now.saturating_sub(all.tidied) >= Duration::from_secs(1) {
                all.tidied = now;
                all.noted.retain(|_, noted| noted.is_awaited(now));
            }
            if all.noted.len() > limits::AWAITED_BATCHES {
                all.noted.pop_first();
            }
        });
    }

    /// Nothing is noted, as mostly: no time needs to be looked up.
    pub fn is_quiet(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Whether a batch is to be refused: it was sent behind one that is awaited, and the partition does not know its producer. (If it `knows` it,
    /// the fold decides.)
    pub fn holds_up(
        &self,
        partition: impl FnOnce() -> P,
        sequence: Sequence,
        now: Duration,
        knows: impl FnOnce(ProducerId) -> bool,
    ) -> bool {
        !self.is_quiet()
            && self.with(|all| {
                let noted = all.noted.get(&(partition(), sequence.producer_id));
                noted.is_some_and(|noted| noted.holds_up(sequence, now)) && !knows(sequence.producer_id)
            })
    }

    /// The same the other way round, of a batch that goes on now: one that is not held up is what was waited for.
    pub fn lets_pass(
        &self,
        partition: impl FnOnce() -> P,
        sequence: Sequence,
        now: Duration,
        knows: impl FnOnce(ProducerId) -> bool,
    ) -> bool {
        if self.is_quiet() {
            return true;
        }
        self.with(|all| {
            let Entry::Occupied(noted) = all.noted.entry((partition(), sequence.producer_id)) else { return true };
            if noted.get().holds_up(sequence, now) && !knows(sequence.producer_id) {
                return false;
            }
            if !noted.get().outlives(sequence) {
                noted.remove();
            }
            true
        })
    }

    /// It is refused for good.
    pub fn forget(&self, partition: impl FnOnce() -> P, sequence: Sequence) {
        if !self.is_quiet() {
            self.with(|all| {
                let Entry::Occupied(noted) = all.noted.entry((partition(), sequence.producer_id)) else { return };
                if noted.get().sequence == sequence {
                    noted.remove();
                }
            });
        }
    }

    /// Nothing is awaited.
    pub fn is_empty(&self, now: Duration) -> bool {
        self.is_quiet()
            || self.with(|all| {
                if now.saturating_sub(all.last) > limits::AWAITED_BATCH_WAIT {
                    all.noted.clear();
                }
                all.noted.is_empty()
            })
    }
}

impl Awaited<TopicPartition> {
    /// Notes all batches that these commands carry.
    pub(crate) fn note_commands<'a>(&self, commands: impl IntoIterator<Item = &'a Command>, now: Duration) {
        for (partition, batch) in commands.into_iter().flat_map(batches) {
            if let Some(sequence) = Sequence::of(batch) {
                self.note(partition, sequence, now);
            }
        }
    }

    /// Notes the batches of a commit that the fold had no room for: of `entry`, by whose and which it is.
    pub(crate) fn note_outcomes(&self, entry: &Bytes, (incarnation, n): (Incarnation, u64), outcomes: &[Outcome], now: Duration) {
        if !outcomes.iter().any(comes_again) {
            return;
        }
        // Seldom enough to be decoded again.
        let Ok(DecodedEntry::Body(body)) = decode(entry) else { return };
        let commit = body.commits.iter().find(|commit| commit.incarnation == incarnation.0 && commit.n == n);
        let commands = commit.into_iter().flat_map(|commit| &commit.commands).zip(outcomes);
        self.note_commands(commands.filter(|(_, outcome)| comes_again(outcome)).map(|(command, _)| command), now);
    }

    /// Whether all batches of these commands may go on.
    pub(crate) fn let_commands_pass(&self, commands: &[Command], now: Duration, index: &Index) -> bool {
        commands.iter().flat_map(batches).all(|(partition, batch)| {
            let knows = |producer| index.knows_producer(partition, producer);
            Sequence::of(batch).is_none_or(|sequence| self.lets_pass(|| partition, sequence, now, knows))
        })
    }
}

fn comes_again(outcome: &Outcome) -> bool {
    let of = |refusal: &Refusal| refusal.is_back_pressure() || *refusal == Refusal::BelowHorizon;
    match outcome {
        Outcome::Refused(refusal) => of(refusal),
        Outcome::Produced(batches) => batches.iter().any(|batch| matches!(batch, BatchOutcome::Refused(refusal) if of(refusal))),
        _ => false,
    }
}

fn batches(command: &Command) -> impl Iterator<Item = (TopicPartition, &Batch)> {
    let produce = match &command.kind {
        Some(CommandKind::Produce(produce)) => Some(produce),
        _ => None,
    };
    produce.into_iter().flat_map(|produce| {
        // A topic id of another length names no partition: the fold refuses it.
        let topic_id = TopicId::from_slice(&produce.topic_id).unwrap_or_default();
        let partition = TopicPartition { topic_id, partition: produce.partition };
        produce.batches.iter().map(move |batch| (partition, batch))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn sequence(epoch: i32, first: i32) -> Sequence {
        Sequence { producer_id: 7, epoch, first }
    }

    fn passes(awaited: &Awaited<i32>, partition: i32, sequence: Sequence) -> bool {
        awaited.lets_pass(|| partition, sequence, NOW, |_| false)
    }

    #[test]
    fn ahead_is_on_a_circle() {
        assert!(is_ahead(6, 5) && !is_ahead(5, 5) && !is_ahead(4, 5));
        assert!(is_ahead(0, i32::MAX) && !is_ahead(i32::MAX, 0));
    }

    #[test]
    fn where_the_partition_knows_the_producer_the_fold_decides() {
        let awaited = Awaited::default();
        awaited.note(0, sequence(0, 0), NOW);
        assert!(awaited.lets_pass(|| 0, sequence(0, 10), NOW, |producer| producer == 7));
        assert!(passes(&awaited, 0, sequence(0, 10)), "nothing is noted any more");
    }

    #[test]
    fn what_was_sent_behind_a_refused_batch_waits_for_it() {
        let awaited = Awaited::default();
        for first in [10, 0, 20] {
            awaited.note(0, sequence(0, first), NOW);
        }
        assert!(!passes(&awaited, 0, sequence(0, 10)) && !passes(&awaited, 0, sequence(0, 20)));
        assert!(passes(&awaited, 1, sequence(0, 10)), "another partition");
        assert!(passes(&awaited, 0, Sequence { producer_id: 8, ..sequence(0, 10) }), "another producer");
        assert!(passes(&awaited, 0, sequence(0, 0)) && passes(&awaited, 0, sequence(0, 10)));
    }

    #[test]
    fn a_batch_that_was_given_up_is_not_waited_for() {
        let awaited = Awaited::default();
        let after = |waited: Duration, first| awaited.lets_pass(|| 0, sequence(0, first), NOW + waited, |_| false);
        awaited.note(0, sequence(0, 0), NOW - limits::AWAITED_BATCH_WAIT);
        awaited.note(0, sequence(0, 0), NOW);
        awaited.note(0, sequence(0, 20), NOW + limits::AWAITED_BATCH_WAIT);
        assert!(!after(limits::AWAITED_BATCH_WAIT, 10), "it came again lately");
        assert!(after(limits::AWAITED_BATCH_WAIT + Duration::from_millis(1), 10));
        awaited.note(1, sequence(0, 0), NOW);
        assert!(
            !awaited.is_empty(NOW + 2 * limits::AWAITED_BATCH_WAIT)
                && awaited.is_empty(NOW + 2 * limits::AWAITED_BATCH_WAIT + Duration::from_millis(1))
        );
    }

    #[test]
    fn a_new_epoch_waits_for_nothing_of_the_old_one() {
        let awaited = Awaited::default();
        awaited.note(0, sequence(0, 0), NOW);
        assert!(passes(&awaited, 0, sequence(1, 0)) && passes(&awaited, 0, sequence(1, 5)));
        // Nor does what comes late of the old one change anything.
        awaited.note(0, sequence(1, 0), NOW);
        awaited.note(0, sequence(0, 3), NOW);
        assert!(passes(&awaited, 0, sequence(0, 9)) && !passes(&awaited, 0, sequence(1, 5)));
    }

    #[test]
    fn to_look_takes_nothing_away() {
        let awaited = Awaited::default();
        awaited.note(0, sequence(0, 5), NOW);
        let holds_up = |first| awaited.holds_up(|| 0, sequence(0, first), NOW, |_| false);
        assert!(!holds_up(5) && holds_up(6) && !awaited.holds_up(|| 0, sequence(0, 6), NOW, |_| true));
        awaited.forget(|| 0, sequence(0, 6));
        assert!(holds_up(6));
        awaited.forget(|| 0, sequence(0, 5));
        assert!(!holds_up(6), "it was given up");
    }

    #[test]
    fn one_that_is_not_awaited_any_more_gives_way() {
        let awaited = Awaited::default();
        awaited.note(0, sequence(0, 0), NOW);
        let late = NOW + limits::AWAITED_BATCH_WAIT + Duration::from_millis(1);
        awaited.note(0, sequence(0, 5), late);
        assert!(awaited.holds_up(|| 0, sequence(0, 9), late, |_| false));
        assert!(awaited.lets_pass(|| 0, sequence(0, 5), late, |_| false));
    }

    #[test]
    fn no_more_is_remembered_than_may_be() {
        let awaited = Awaited::default();
        for partition in 0..2 * limits::AWAITED_BATCHES as i32 {
            awaited.note(partition, sequence(0, 0), NOW);
        }
        assert_eq!(awaited.with(|all| all.noted.len()), limits::AWAITED_BATCHES);
        // What is awaited no more goes first.
        let late = NOW + limits::AWAITED_BATCH_WAIT + Duration::from_secs(1);
        awaited.note(-1, sequence(0, 0), late);
        assert!(!awaited.lets_pass(|| -1, sequence(0, 1), late, |_| false));
        assert_eq!(awaited.with(|all| all.noted.len()), 1);
    }
}
