//! One partition as the sender sees it: what is in flight, what is to be sent again, and the sequence (KIP-98, KIP-360).
//!
//! - Batches go out in order. One that failed is sent again before anything behind it, once all behind it is answered.
//! - No batch goes out more than four places ahead of one that is not answered: brokers know a repeat among the last five.
//! - A batch keeps its sequence as long as the broker may have it. It gets another one only after a refusal that proves
//!   that the broker does not have it.
//! - After a batch was given up, nothing new goes out until all before it is answered; then, if its sequence is missing,
//!   the producer's epoch is raised and sequences start at 0.

use super::batch::{ANONYMOUS, Identity, OpenBatch, SealedBatch, Unbuilt, advance};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use strandline_types::limits;
use strandline_wire::ErrorCode;
use strandline_wire::records::BatchError;

pub(super) struct PartitionState {
    identity: Identity,
    next_sequence: i32,
    /// The sequence behind the last batch that was acknowledged.
    acknowledged: i32,
    next_order: u64,
    in_flight: BTreeSet<u64>,
    pub(super) again: BTreeMap<u64, SealedBatch>,
    /// No try before this.
    pub(super) not_before: Duration,
    /// A batch was given up, and its sequence may be missing.
    gap: bool,
    /// The broker refused the oldest batch's sequence: begin at 0 in a new epoch.
    restart: bool,
}

impl Default for PartitionState {
    fn default() -> Self {
        Self {
            identity: ANONYMOUS,
            next_sequence: 0,
            acknowledged: 0,
            next_order: 0,
            in_flight: BTreeSet::new(),
            again: BTreeMap::new(),
            not_before: Duration::ZERO,
            gap: false,
            restart: false,
        }
    }
}

/// What a partition may send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing: answers are outstanding first.
    Wait,
    /// Its oldest batch once more.
    Again,
    /// A new batch.
    New,
    /// Nothing before the producer has a new epoch.
    NewEpoch,
}

/// What a refusal means for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in the log already.
    Done,
    /// Send it again with its sequence.
    Again,
    /// Send it again; its sequence is refused for good.
    Restart,
    /// Give it up.
    Fail,
}

impl PartitionState {
    /// What may be sent, given the producer's identity now.
    pub(super) fn turn(&self, current: Identity) -> Turn {
        if self.restart || self.gap_is_missing() {
            return if self.in_flight.is_empty() { Turn::NewEpoch } else { Turn::Wait };
        }
        if let Some(oldest) = self.again.keys().next() {
            let behind = self.in_flight.last().is_some_and(|newest| newest > oldest);
            return if behind { Turn::Wait } else { Turn::Again };
        }
        let must_drain = self.gap || self.identity != current;
        if (must_drain && !self.in_flight.is_empty()) || (current != ANONYMOUS && self.is_far_ahead()) {
            Turn::Wait
        } else {
            Turn::New
        }
    }

    /// Whether a broker could forget the oldest batch that is not answered, if one more went out: then its repeat would
    /// not be known for one.
    fn is_far_ahead(&self) -> bool {
        let oldest = self.in_flight.first().into_iter().chain(self.again.keys().next()).min();
        oldest.is_some_and(|oldest| self.next_order - oldest >= limits::CLIENT_PRODUCE_IN_FLIGHT as u64)
    }

    /// Whether a batch was given up, all before it is answered, and its sequence was not taken.
    fn gap_is_missing(&self) -> bool {
        self.gap && self.in_flight.is_empty() && self.again.is_empty() && self.acknowledged != self.next_sequence
    }

    /// The identity whose sequences this partition uses.
    pub(super) const fn identity(&self) -> Identity {
        self.identity
    }

    /// Seals a new batch with the next sequence.
    pub(super) fn seal(&mut self, open: OpenBatch, current: Identity) -> Result<SealedBatch, (Unbuilt, BatchError)> {
        self.gap = false;
        if self.identity != current {
            self.identity = current;
            self.next_sequence = 0;
            self.acknowledged = 0;
        }
        let sequence = if current == ANONYMOUS { -1 } else { self.next_sequence };
        let batch = open.seal(self.next_order, current, sequence)?;
        self.next_order += 1;
        self.next_sequence = advance(self.next_sequence, batch.records);
        self.in_flight.insert(batch.order);
        Ok(batch)
    }

    /// The oldest batch that is to be sent again.
    pub(super) fn take_again(&mut self) -> Option<SealedBatch> {
        let (order, batch) = self.again.pop_first()?;
        self.in_flight.insert(order);
        Some(batch)
    }

    /// Begins at 0 in a new epoch, with the batches that wait. Only when nothing is in flight.
    pub(super) fn begin_epoch(&mut self, identity: Identity) -> Result<(), BatchError> {
        self.restart = false;
        self.gap = false;
        self.identity = identity;
        self.acknowledged = 0;
        self.next_sequence = 0;
        for batch in self.again.values_mut() {
            batch.renumber(identity, self.next_sequence)?;
            self.next_sequence = batch.next_sequence();
        }
        Ok(())
    }

    /// A batch was answered with success.
    pub(super) fn acknowledge(&mut self, batch: &SealedBatch) {
        self.in_flight.remove(&batch.order);
        if batch.identity == self.identity {
            self.acknowledged = batch.next_sequence();
        }
    }

    /// A batch comes back to be sent again.
    pub(super) fn put_back(&mut self, batch: SealedBatch, restart: bool) {
        self.in_flight.remove(&batch.order);
        self.restart |= restart;
        self.again.insert(batch.order, batch);
    }

    /// A batch is given up.
    pub(super) fn give_up(&mut self, batch: &SealedBatch) {
        self.in_flight.remove(&batch.order);
        if batch.identity != ANONYMOUS {
            self.gap = true;
        }
    }

    /// What a refusal means.
    pub(super) fn judge(&self, batch: &SealedBatch, code: ErrorCode) -> Verdict {
        if batch.identity == ANONYMOUS {
            return if code.is_retriable() { Verdict::Again } else { Verdict::Fail };
        }
        let oldest = self.in_flight.first().is_none_or(|oldest| *oldest >= batch.order)
            && self.again.keys().next().is_none_or(|oldest| *oldest > batch.order);
        match code {
            ErrorCode::DuplicateSequenceNumber => Verdict::Done,
            ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerEpoch => {
                // Of the oldest batch: the broker lost what it knew of us, or a batch before was given up and never got
                // there. Of one behind a batch that failed: that one goes first, and it may be in the log already.
                if oldest { Verdict::Restart } else { Verdict::Again }
            }
            code if code.is_retriable() => Verdict::Again,
            _ => Verdict::Fail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_wire::records::{BatchBuilder, BatchOptions};

    const FIRST: Identity = Identity { id: 9, epoch: 0 };
    const SECOND: Identity = Identity { id: 9, epoch: 1 };

    fn open(records: i32) -> OpenBatch {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for _ in 0..records {
            builder.push_next(1, None, Some(b"value"), &[]).unwrap();
        }
        OpenBatch { builder, permits: 0, created: Duration::ZERO, id: 0, completion: Default::default() }
    }

    fn seal(state: &mut PartitionState, identity: Identity) -> SealedBatch {
        state.seal(open(2), identity).ok().unwrap()
    }

    #[test]
    fn what_failed_goes_again_before_what_follows_and_after_that_is_answered() {
        let mut state = PartitionState::default();
        let (first, second) = (seal(&mut state, FIRST), seal(&mut state, FIRST));
        assert_eq!((first.base_sequence, second.base_sequence), (0, 2));
        assert_eq!(state.judge(&first, ErrorCode::NotLeaderOrFollower), Verdict::Again);
        state.put_back(first, false);
        assert_eq!(state.turn(FIRST), Turn::Wait);
        assert_eq!(state.judge(&second, ErrorCode::OutOfOrderSequenceNumber), Verdict::Again);
        state.put_back(second, false);
        assert_eq!(state.turn(FIRST), Turn::Again);
        let first = state.take_again().unwrap();
        assert_eq!(state.turn(FIRST), Turn::Again);
        let second = state.take_again().unwrap();
        assert_eq!((first.base_sequence, second.base_sequence), (0, 2));
        assert_eq!(state.turn(FIRST), Turn::New);
    }

    #[test]
    fn nothing_runs_ahead_of_what_a_broker_remembers() {
        let mut state = PartitionState::default();
        let mut batches: Vec<SealedBatch> = (0..5).map(|_| seal(&mut state, FIRST)).collect();
        assert_eq!(state.turn(FIRST), Turn::Wait);
        for batch in batches.drain(1..) {
            state.acknowledge(&batch);
        }
        assert_eq!(state.turn(FIRST), Turn::Wait);
        state.acknowledge(&batches[0]);
        assert_eq!(state.turn(FIRST), Turn::New);
    }

    #[test]
    fn a_gap_asks_for_a_new_epoch_only_when_it_is_one() {
        let mut state = PartitionState::default();
        let (first, second) = (seal(&mut state, FIRST), seal(&mut state, FIRST));
        state.give_up(&first);
        assert_eq!(state.turn(FIRST), Turn::Wait);
        // The batch that was given up had got there: its follower is taken.
        state.acknowledge(&second);
        assert_eq!(state.turn(FIRST), Turn::New);
        let third = seal(&mut state, FIRST);
        assert_eq!(third.base_sequence, 4);
        state.give_up(&third);
        assert_eq!(state.turn(FIRST), Turn::NewEpoch);
        state.begin_epoch(SECOND).unwrap();
        let fourth = seal(&mut state, SECOND);
        assert_eq!((fourth.base_sequence, fourth.identity), (0, SECOND));
    }

    #[test]
    fn a_refused_sequence_restarts_with_all_that_waits_in_order() {
        let mut state = PartitionState::default();
        let (first, second, third) = (seal(&mut state, FIRST), seal(&mut state, FIRST), seal(&mut state, FIRST));
        state.give_up(&first);
        assert_eq!(state.judge(&second, ErrorCode::OutOfOrderSequenceNumber), Verdict::Restart);
        state.put_back(second, true);
        assert_eq!(state.turn(FIRST), Turn::Wait);
        assert_eq!(state.judge(&third, ErrorCode::OutOfOrderSequenceNumber), Verdict::Again);
        state.put_back(third, false);
        assert_eq!(state.turn(FIRST), Turn::NewEpoch);
        state.begin_epoch(SECOND).unwrap();
        let (second, third) = (state.take_again().unwrap(), state.take_again().unwrap());
        assert_eq!((second.base_sequence, third.base_sequence), (0, 2));
        assert_eq!(state.turn(SECOND), Turn::New);
    }

    #[test]
    fn another_epoch_waits_for_what_is_in_flight() {
        let mut state = PartitionState::default();
        let first = seal(&mut state, FIRST);
        assert_eq!(state.turn(SECOND), Turn::Wait);
        state.acknowledge(&first);
        assert_eq!(state.turn(SECOND), Turn::New);
        assert_eq!(seal(&mut state, SECOND).base_sequence, 0);
    }

    #[test]
    fn a_repeat_that_is_in_the_log_is_done() {
        let mut state = PartitionState::default();
        let batch = seal(&mut state, FIRST);
        assert_eq!(state.judge(&batch, ErrorCode::DuplicateSequenceNumber), Verdict::Done);
        assert_eq!(state.judge(&batch, ErrorCode::MessageTooLarge), Verdict::Fail);
        let mut plain = PartitionState::default();
        let batch = seal(&mut plain, ANONYMOUS);
        assert_eq!(batch.base_sequence, -1);
        assert_eq!(plain.judge(&batch, ErrorCode::NotLeaderOrFollower), Verdict::Again);
        assert_eq!(plain.judge(&batch, ErrorCode::InvalidRecord), Verdict::Fail);
    }
}
