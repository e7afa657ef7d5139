//! One group of the classic protocol as a pure state machine: inputs and the time go in, effects come out. It does no
//! I/O, so that every path of the protocol can be tested without a node.
//!
//! The rules are those of Kafka 4.2's coordinator, with one difference: what a rebalance decides is *stored* (an effect)
//! before any member is told, so that another coordinator, or the same node after a restart, goes on with the same
//! generation. Between the effect and [`ClassicGroup::stored`] the group takes no input; if the store fails, the group is
//! given up with [`ClassicGroup::give_up`] and loaded again from the index.

mod describe;
mod join;
mod leave;
mod member;
mod rebalance;
mod sync;
#[cfg(test)]
mod tests;
mod timers;

pub(crate) use describe::Described;
pub(crate) use join::JoinInput;
pub(crate) use leave::Leaving;
pub(crate) use member::{CommitInFlight, Member};
pub(crate) use sync::SyncInput;

use rebalance::{AfterStore, JoinTimer};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use strandline_commands::StoreGroup;
use strandline_types::mutations::{Rule, holds};
use strandline_wire::ErrorCode;
use strandline_wire::messages::{JoinGroupResponse, SyncGroupResponse};

/// The shortest rebalance time-out that acts, whatever a client asks for.
const LEAST_REBALANCE_TIMEOUT: Duration = Duration::from_secs(1);

/// A state of Kafka's classic protocol. `Dead` is what a group is that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// No members.
    Empty,
    /// Members are to join.
    PreparingRebalance,
    /// Members have joined; the leader's assignments are awaited.
    CompletingRebalance,
    /// The assignments are in.
    Stable,
    /// There is no such group.
    Dead,
}

impl State {
    /// As ListGroups and DescribeGroups spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
            State::Dead => "Dead",
        }
    }
}

/// A parked request; the number is its owner's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// What the machine needs of the coordinator's settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// How long the first rebalance of an empty group waits for more members.
    pub(crate) initial_rebalance_delay: Duration,
    /// How long a new member's first JoinGroup may wait (Kafka: 5 minutes).
    pub(crate) new_member_join_timeout: Duration,
    /// Members of a group at most.
    pub(crate) max_members: usize,
    /// Bytes of a group's members at most.
    pub(crate) max_bytes: usize,
}

/// What is to be done: answers for parked requests, and then perhaps a store.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) joins: Vec<(Ticket, JoinGroupResponse)>,
    pub(crate) syncs: Vec<(Ticket, SyncGroupResponse)>,
    /// To be committed (group and claim are the owner's to fill in); then call [`ClassicGroup::stored`], before any input.
    pub(crate) store: Option<StoreGroup>,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct ClassicGroup {
    settings: Settings,
    state: State,
    /// The rebalance at work began from `Empty`: it waits its delay out.
    initial: bool,
    generation: i32,
    /// What the index holds.
    stored_generation: i32,
    /// Empty for none.
    protocol_type: String,
    /// Empty for none.
    protocol_name: String,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Static ids and whose they are.
    statics: BTreeMap<String, String>,
    /// Member ids that were given out (MEMBER_ID_REQUIRED) and have not joined yet, with their deadlines.
    pending: BTreeMap<String, Duration>,
    /// Bytes of those ids.
    pending_bytes: usize,
    /// Members of this generation that have not synced yet.
    unsynced: BTreeSet<String>,
    /// How many members offer each protocol.
    support: BTreeMap<String, usize>,
    /// How many members wait for a JoinGroup answer.
    joining: usize,
    /// Bytes of all members.
    bytes: usize,
    /// A member came during the initial delay.
    member_added: bool,
    join_timer: Option<JoinTimer>,
    sync_deadline: Option<Duration>,
    /// Nothing is due before this.
    wake_at: Option<Duration>,
    after_store: Option<AfterStore>,
    effects: Effects,
}

impl ClassicGroup {
    /// A group as the index holds it. Every member gets a full session time-out from `now`.
    pub(crate) fn load(stored: &strandline_index::Group, settings: Settings, now: Duration) -> Self {
        let mut group = Self {
            settings,
            state: State::Empty,
            initial: false,
            generation: stored.generation,
            stored_generation: stored.generation,
            protocol_type: stored.protocol_type.clone(),
            protocol_name: stored.protocol_name.clone(),
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_bytes: 0,
            unsynced: BTreeSet::new(),
            support: BTreeMap::new(),
            joining: 0,
            bytes: 0,
            member_added: false,
            join_timer: None,
            sync_deadline: None,
            wake_at: None,
            after_store: None,
            effects: Effects::default(),
        };
        for member in &stored.members {
            group.insert(member.member_id.clone(), Member::stored(member, now));
        }
        if !group.members.is_empty() {
            group.leader = Some(stored.leader.clone()).filter(|leader| group.members.contains_key(leader)).or(group.leader);
            group.state = if stored.stable { State::Stable } else { State::CompletingRebalance };
            if !stored.stable {
                group.unsynced = group.members.keys().cloned().collect();
                group.start_sync_timer(now);
            }
        }
        group
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    #[cfg(test)]
    pub(crate) fn generation(&self) -> i32 {
        self.generation
    }

    /// The generation in the index as far as this machine knows: if it is another there, load the group anew.
    pub(crate) fn stored_generation(&self) -> i32 {
        self.stored_generation
    }

    /// What its members take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.pending_bytes
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// The index holds everything of the group: it may be forgotten and loaded again.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Empty && self.members.is_empty() && self.pending.is_empty() && !self.is_storing()
    }

    /// A store is under way.
    pub(crate) fn is_storing(&self) -> bool {
        self.after_store.is_some()
    }

    /// What the last inputs came to.
    pub(crate) fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// Answers every parked request with `error`. The machine is of no use afterwards.
    pub(crate) fn give_up(&mut self, error: ErrorCode) -> Effects {
        for (member_id, member) in &mut self.members {
            if let Some(ticket) = member.joining.take() {
                self.effects.joins.push((ticket, join_error(member_id, error)));
            }
            if let Some(ticket) = member.syncing.take() {
                self.effects.syncs.push((ticket, sync_error(error)));
            }
        }
        if let Some(AfterStore::Static(ticket, answer)) = self.after_store.take() {
            self.effects.joins.push((ticket, join_error(&answer.member_id, error)));
        }
        self.joining = 0;
        self.effects.store = None;
        self.take_effects()
    }

    /// A heartbeat.
    pub(crate) fn heartbeat(
        &mut self,
        now: Duration,
        member_id: &str,
        group_instance_id: Option<&str>,
        generation: i32,
    ) -> ErrorCode {
        if let Err(error) = self.demand_member(member_id, group_instance_id) {
            return error;
        }
        if generation != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        match self.state {
            State::Empty | State::Dead => ErrorCode::UnknownMemberId,
            State::PreparingRebalance => {
                self.touch(now, member_id);
                ErrorCode::RebalanceInProgress
            }
            State::CompletingRebalance | State::Stable => {
                self.touch(now, member_id);
                ErrorCode::None
            }
        }
    }

    /// Whether offsets may be committed, and whether as a consumer that assigns itself (true). Counts as a sign of life.
    pub(crate) fn check_commit(
        &mut self,
        now: Duration,
        member_id: &str,
        group_instance_id: Option<&str>,
        generation: i32,
    ) -> Result<bool, ErrorCode> {
        if generation < 0 && self.state == State::Empty {
            return Ok(true);
        }
        if generation < 0 && member_id.is_empty() && group_instance_id.is_none() {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.demand_member(member_id, group_instance_id)?;
        if generation != self.generation && holds(Rule::Generation) {
            return Err(ErrorCode::IllegalGeneration);
        }
        if self.state == State::CompletingRebalance {
            // The member has its generation from JoinGroup and is to sync first.
            return Err(ErrorCode::RebalanceInProgress);
        }
        self.touch(now, member_id);
        Ok(false)
    }

    /// For as long as it is held the member is not out: its heartbeats wait behind a commit that it waits for.
    pub(crate) fn commit_begins(&self, member_id: &str) -> Option<CommitInFlight> {
        self.members.get(member_id).map(|member| member.commits.clone())
    }

    /// The member is there, and is who has the static id.
    fn demand_member(&self, member_id: &str, group_instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = group_instance_id {
            match self.statics.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(holder) if holder != member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// Puts a member in. The first one decides the group's protocol type and is its leader.
    fn insert(&mut self, member_id: String, member: Member) {
        if let Some(instance) = &member.group_instance_id {
            self.statics.insert(instance.clone(), member_id.clone());
        }
        for protocol in &member.protocols {
            *self.support.entry(protocol.name.clone()).or_default() += 1;
        }
        self.joining += usize::from(member.joining.is_some());
        self.bytes += member.bytes(&member_id);
        self.leader.get_or_insert_with(|| member_id.clone());
        self.wake(member.deadline);
        self.forget_pending(&member_id);
        self.members.insert(member_id, member);
    }

    /// Takes a member out, without an answer to its parked requests.
    fn take(&mut self, member_id: &str) -> Option<Member> {
        self.forget_pending(member_id);
        self.unsynced.remove(member_id);
        let member = self.members.remove(member_id)?;
        for protocol in &member.protocols {
            if let Some(count) = self.support.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.support.remove(&protocol.name);
                }
            }
        }
        self.joining -= usize::from(member.joining.is_some());
        self.bytes -= member.bytes(member_id);
        if let Some(instance) = &member.group_instance_id {
            self.statics.remove(instance);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Forgets an id that was given out ahead; false if it was not, or has been used.
    fn forget_pending(&mut self, member_id: &str) -> bool {
        let forgotten = self.pending.remove(member_id).is_some();
        if forgotten {
            self.pending_bytes -= member_id.len();
        }
        forgotten
    }

    /// Takes a member out; its parked requests are answered UNKNOWN_MEMBER_ID, so that it joins anew if it is still there.
    fn remove(&mut self, member_id: &str) {
        if let Some(member) = self.take(member_id) {
            if let Some(ticket) = member.joining {
                self.effects.joins.push((ticket, join_error("", ErrorCode::UnknownMemberId)));
            }
            if let Some(ticket) = member.syncing {
                self.effects.syncs.push((ticket, sync_error(ErrorCode::UnknownMemberId)));
            }
        }
    }

    /// The longest of the members' rebalance time-outs. Never none: a timer that is due in the moment in which it is set would be due again
    /// and again.
    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default().max(LEAST_REBALANCE_TIMEOUT)
    }
}

/// A JoinGroup answer that says no.
pub(crate) fn join_error(member_id: &str, error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse { error_code: error.code(), member_id: member_id.to_owned(), ..JoinGroupResponse::default() }
}

/// A SyncGroup answer that says no.
pub(crate) fn sync_error(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: error.code(), ..SyncGroupResponse::default() }
}

fn none_if_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
