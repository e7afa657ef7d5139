//! From the first who joins to the store of a generation.

use super::{ClassicGroup, State, Ticket, sync_error};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use strandline_commands::StoreGroup;
use strandline_wire::ErrorCode;
use strandline_wire::messages::{JoinGroupResponse, SyncGroupResponse};

/// When the members that have joined so far become a generation.
#[derive(Debug, Clone, Copy)]
pub(super) struct JoinTimer {
    pub(super) at: Duration,
    /// The delay of a group's first rebalance, and how much longer it may become when members keep coming.
    pub(super) initial: Option<(Duration, Duration)>,
}

/// Who is told what once the store is folded.
#[derive(Debug)]
pub(super) enum AfterStore {
    /// Nobody: the group is empty.
    Empty,
    /// All who joined.
    Joined,
    /// A static member that took its place back.
    Static(Ticket, Box<JoinGroupResponse>),
    /// All who synced.
    Synced,
}

impl ClassicGroup {
    /// Begins a rebalance, or ends the join phase of the one at work if all are there.
    pub(super) fn rebalance_or_complete(&mut self, now: Duration) {
        if self.state == State::PreparingRebalance {
            self.maybe_complete_join(now);
        } else {
            self.prepare_rebalance(now);
        }
    }

    pub(super) fn prepare_rebalance(&mut self, now: Duration) {
        if self.state == State::CompletingRebalance {
            self.drop_assignments(now, ErrorCode::RebalanceInProgress);
        }
        self.unsynced.clear();
        self.sync_deadline = None;
        self.initial = self.state == State::Empty;
        self.state = State::PreparingRebalance;
        if self.initial {
            let delay = self.settings.initial_rebalance_delay;
            let remaining = self.rebalance_timeout().saturating_sub(delay);
            self.member_added = false;
            self.start_join_timer(JoinTimer { at: now + delay, initial: Some((delay, remaining)) });
        } else if self.all_joined() {
            self.complete_join(now);
        } else {
            self.start_join_timer(JoinTimer { at: now + self.rebalance_timeout(), initial: None });
        }
    }

    fn start_join_timer(&mut self, timer: JoinTimer) {
        self.wake(timer.at);
        self.join_timer = Some(timer);
    }

    fn all_joined(&self) -> bool {
        self.members.len() == self.joining && self.pending.is_empty()
    }

    /// Ends the join phase if all are there. A group's first rebalance waits its delay out all the same.
    pub(super) fn maybe_complete_join(&mut self, now: Duration) {
        if self.state == State::PreparingRebalance && !self.initial && self.all_joined() {
            self.complete_join(now);
        }
    }

    /// The join timer has run out.
    pub(super) fn join_timer_due(&mut self, now: Duration, timer: JoinTimer) {
        self.join_timer = None;
        match timer.initial {
            Some((delay, remaining)) if self.member_added && !remaining.is_zero() => {
                self.member_added = false;
                let next = self.settings.initial_rebalance_delay.min(remaining);
                self.start_join_timer(JoinTimer { at: now + next, initial: Some((next, remaining.saturating_sub(delay))) });
            }
            _ => self.complete_join(now),
        }
    }

    /// Those who joined are the next generation. Dynamic members that did not are out; static ones keep their place.
    pub(super) fn complete_join(&mut self, now: Duration) {
        self.join_timer = None;
        let absent = |member: &super::Member| member.joining.is_none() && member.group_instance_id.is_none();
        let gone: Vec<String> = self.members.iter().filter(|(_, member)| absent(member)).map(|(id, _)| id.clone()).collect();
        for member_id in gone {
            self.remove(&member_id);
        }
        if self.members.is_empty() {
            self.generation = self.generation.saturating_add(1);
            self.protocol_name.clear();
            self.state = State::Empty;
            self.store(AfterStore::Empty);
        } else if !self.elect_joined_leader() {
            // Nobody is back, and all are static: wait on until their sessions end.
            self.start_join_timer(JoinTimer { at: now + self.rebalance_timeout(), initial: None });
        } else {
            self.generation = self.generation.saturating_add(1);
            self.protocol_name = self.select_protocol().unwrap_or_default();
            self.state = State::CompletingRebalance;
            for member in self.members.values_mut() {
                self.bytes -= member.assignment.len();
                member.assignment = Bytes::new();
            }
            self.store(AfterStore::Joined);
        }
        self.initial = false;
    }

    /// The leader stays if it has joined; else one of those who have. False if nobody has.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |group: &Self, id: &str| group.members.get(id).is_some_and(|member| member.joining.is_some());
        if self.leader.as_ref().is_some_and(|leader| joined(self, leader)) {
            return true;
        }
        let next = self.members.iter().find(|(_, member)| member.joining.is_some()).map(|(id, _)| id.clone());
        if let Some(next) = next {
            self.leader = Some(next);
            return true;
        }
        false
    }

    /// Each member votes for the first of its protocols that all offer; the most votes win, the first name at a draw.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let all = self.members.len();
        let is_candidate = |name: &str| self.support.get(name).copied() == Some(all);
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            *votes.entry(member.vote(is_candidate)?).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.to_owned())
    }

    fn store(&mut self, after: AfterStore) {
        self.effects.store = Some(StoreGroup {
            group: String::new(),
            claim: 0,
            expected_generation: self.stored_generation,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            members: self.members.iter().map(|(member_id, member)| member.to_store(member_id)).collect(),
            stable: matches!(after, AfterStore::Synced | AfterStore::Static(..)),
        });
        self.after_store = Some(after);
    }

    pub(super) fn store_static(&mut self, ticket: Ticket, answer: JoinGroupResponse) {
        self.store(AfterStore::Static(ticket, Box::new(answer)));
    }

    pub(super) fn store_assignments(&mut self) {
        self.store(AfterStore::Synced);
    }

    /// The store is folded: who waits for it is told.
    pub(crate) fn stored(&mut self, now: Duration) {
        self.stored_generation = self.generation;
        match self.after_store.take() {
            None | Some(AfterStore::Empty) => {}
            Some(AfterStore::Static(ticket, answer)) => self.effects.joins.push((ticket, *answer)),
            Some(AfterStore::Joined) => self.tell_joined(now),
            Some(AfterStore::Synced) => {
                self.state = State::Stable;
                self.tell_assignments(now, ErrorCode::None);
            }
        }
    }

    fn tell_joined(&mut self, now: Duration) {
        let member_ids: Vec<String> = self.members.keys().cloned().collect();
        for member_id in &member_ids {
            let answer = self.joined(member_id, self.is_leader(member_id));
            let Some(member) = self.members.get_mut(member_id) else { continue };
            if let Some(ticket) = member.joining.take() {
                self.effects.joins.push((ticket, answer));
            }
            member.is_new = false;
            self.touch(now, member_id);
        }
        self.joining = 0;
        self.unsynced = member_ids.into_iter().collect();
        self.start_sync_timer(now);
    }

    pub(super) fn start_sync_timer(&mut self, now: Duration) {
        let at = now + self.rebalance_timeout();
        self.wake(at);
        self.sync_deadline = Some(at);
    }

    /// Takes the assignments back and tells `error` to all who wait for theirs.
    pub(super) fn drop_assignments(&mut self, now: Duration, error: ErrorCode) {
        for member in self.members.values_mut() {
            self.bytes -= member.assignment.len();
            member.assignment = Bytes::new();
        }
        self.tell_assignments(now, error);
    }

    /// Answers all who wait for their assignment, and counts it as a sign of life.
    fn tell_assignments(&mut self, now: Duration, error: ErrorCode) {
        for member in self.members.values_mut() {
            let Some(ticket) = member.syncing.take() else { continue };
            member.deadline = now + member.session_timeout;
            let answer = if error.is_none() {
                SyncGroupResponse {
                    protocol_type: super::none_if_empty(&self.protocol_type),
                    protocol_name: super::none_if_empty(&self.protocol_name),
                    assignment: member.assignment.clone(),
                    ..SyncGroupResponse::default()
                }
            } else {
                sync_error(error)
            };
            self.effects.syncs.push((ticket, answer));
        }
    }
}
