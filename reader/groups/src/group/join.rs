//! JoinGroup.

use super::member::{fixed_bytes, protocol_bytes};
use super::{ClassicGroup, CommitInFlight, Member, State, Ticket, join_error, none_if_empty};
use bytes::Bytes;
use std::time::Duration;
use strandline_commands::MemberProtocol;
use strandline_wire::ErrorCode;
use strandline_wire::messages::JoinGroupResponse;
use strandline_wire::messages::join_group::JoinGroupResponseMember;

/// A JoinGroup request, checked at the door.
#[derive(Debug, Clone)]
pub(crate) struct JoinInput {
    /// Empty for a member that has no id yet.
    pub(crate) member_id: String,
    pub(crate) group_instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) protocol_type: String,
    /// Each name once.
    pub(crate) protocols: Vec<MemberProtocol>,
    /// The id to give to a member that has none.
    pub(crate) new_member_id: String,
    /// From version 4 a member without an id gets one and joins again (KIP-394).
    pub(crate) demands_member_id: bool,
    /// From version 9 a static leader that comes back is told to skip the assignment (KIP-814).
    pub(crate) skips_assignment: bool,
}

impl JoinInput {
    /// What the member will take.
    pub(crate) fn bytes(&self) -> usize {
        let member_id = if self.member_id.is_empty() { &self.new_member_id } else { &self.member_id };
        fixed_bytes(member_id, self.group_instance_id.as_deref(), &self.client_id, &self.client_host)
            + protocol_bytes(&self.protocols)
    }
}

impl ClassicGroup {
    /// A member joins. It is answered through the effects, now or when the rebalance ends.
    pub(crate) fn join(&mut self, now: Duration, ticket: Ticket, input: JoinInput) {
        if !self.accepts(&input) {
            self.remove(&input.member_id);
            self.refuse_join(ticket, "", ErrorCode::GroupMaxSizeReached);
            self.maybe_complete_join(now);
        } else if !self.supports(&input) {
            self.refuse_join(ticket, &input.member_id, ErrorCode::InconsistentGroupProtocol);
        } else if self.bytes_with(&input) > self.settings.max_bytes {
            self.refuse_join(ticket, &input.member_id, ErrorCode::GroupMaxSizeReached);
        } else if input.member_id.is_empty() {
            self.join_new(now, ticket, input);
        } else if self.pending.contains_key(&input.member_id) {
            if input.group_instance_id.is_some() {
                // Ids are handed out ahead to members without a static id only.
                self.refuse_join(ticket, &input.member_id, ErrorCode::UnknownMemberId);
            } else {
                let member_id = input.member_id.clone();
                self.add_member(now, ticket, member_id, input);
            }
        } else {
            self.join_existing(now, ticket, input);
        }
    }

    fn refuse_join(&mut self, ticket: Ticket, member_id: &str, error: ErrorCode) {
        self.effects.joins.push((ticket, join_error(member_id, error)));
    }

    fn join_new(&mut self, now: Duration, ticket: Ticket, input: JoinInput) {
        let holder = input.group_instance_id.as_ref().and_then(|instance| self.statics.get(instance)).cloned();
        if let Some(holder) = holder {
            self.replace_static(now, ticket, &holder, input);
        } else if input.group_instance_id.is_none() && input.demands_member_id {
            let deadline = now + input.session_timeout;
            self.wake(deadline);
            self.refuse_join(ticket, &input.new_member_id, ErrorCode::MemberIdRequired);
            self.pending_bytes += input.new_member_id.len();
            self.pending.insert(input.new_member_id, deadline);
        } else {
            let member_id = input.new_member_id.clone();
            self.add_member(now, ticket, member_id, input);
        }
    }

    fn join_existing(&mut self, now: Duration, ticket: Ticket, input: JoinInput) {
        if let Err(error) = self.demand_member(&input.member_id, input.group_instance_id.as_deref()) {
            return self.refuse_join(ticket, &input.member_id, error);
        }
        let same = self.members.get(&input.member_id).is_some_and(|member| member.protocols == input.protocols);
        let rejoins_only = match self.state {
            State::PreparingRebalance => false,
            // It may not have received the answer to its first JoinGroup.
            State::CompletingRebalance => same,
            // A leader that joins asks for a rebalance (the topics may have changed).
            State::Stable => same && !self.is_leader(&input.member_id),
            State::Empty | State::Dead => return self.refuse_join(ticket, &input.member_id, ErrorCode::UnknownMemberId),
        };
        if rejoins_only {
            let answer = self.joined(&input.member_id, self.is_leader(&input.member_id));
            self.touch(now, &input.member_id);
            self.effects.joins.push((ticket, answer));
        } else {
            let member_id = input.member_id.clone();
            self.update_member(ticket, &member_id, input);
            self.rebalance_or_complete(now);
        }
    }

    fn add_member(&mut self, now: Duration, ticket: Ticket, member_id: String, input: JoinInput) {
        if self.members.is_empty() {
            self.protocol_type.clone_from(&input.protocol_type);
        }
        if self.state == State::PreparingRebalance && self.initial {
            self.member_added = true;
        }
        let member = Member {
            group_instance_id: input.group_instance_id,
            client_id: input.client_id,
            client_host: input.client_host,
            session_timeout: input.session_timeout,
            rebalance_timeout: input.rebalance_timeout,
            protocols: input.protocols,
            assignment: Bytes::new(),
            is_new: true,
            joining: Some(ticket),
            syncing: None,
            commits: CommitInFlight::default(),
            deadline: now + self.settings.new_member_join_timeout,
        };
        self.insert(member_id, member);
        self.rebalance_or_complete(now);
    }

    /// The member waits for the rebalance with what its new request offers.
    fn update_member(&mut self, ticket: Ticket, member_id: &str, input: JoinInput) {
        let leads = self.is_leader(member_id);
        let Some(mut member) = self.take(member_id) else { return };
        if let Some(older) = member.joining.replace(ticket) {
            self.refuse_join(older, member_id, ErrorCode::RebalanceInProgress);
        }
        member.protocols = input.protocols;
        member.session_timeout = input.session_timeout;
        member.rebalance_timeout = input.rebalance_timeout;
        self.insert(member_id.to_owned(), member);
        if leads {
            self.leader = Some(member_id.to_owned());
        }
    }

    /// A static member comes back without its id: it gets a new one and takes the old one's place (KIP-345).
    fn replace_static(&mut self, now: Duration, ticket: Ticket, holder: &str, input: JoinInput) {
        let leader_before = self.leader.clone();
        let led = self.is_leader(holder);
        let had_synced = !self.unsynced.contains(holder);
        let Some(mut member) = self.take(holder) else { return };
        if let Some(older) = member.joining.take() {
            self.refuse_join(older, holder, ErrorCode::FencedInstanceId);
        }
        if let Some(older) = member.syncing.take() {
            self.effects.syncs.push((older, super::sync_error(ErrorCode::FencedInstanceId)));
        }
        let member_id = input.new_member_id;
        member.protocols = input.protocols;
        member.session_timeout = input.session_timeout;
        member.rebalance_timeout = input.rebalance_timeout;
        member.client_id = input.client_id;
        member.client_host = input.client_host;
        member.deadline = now + input.session_timeout;
        member.is_new = false;
        let keeps_protocol = {
            member.joining = (self.state != State::Stable).then_some(ticket);
            self.insert(member_id.clone(), member);
            if led {
                self.leader = Some(member_id.clone());
            }
            self.state == State::Stable && self.select_protocol().as_deref() == Some(self.protocol_name.as_str())
        };
        match self.state {
            State::Stable if keeps_protocol => {
                if !had_synced {
                    self.unsynced.insert(member_id.clone());
                }
                let leads = self.is_leader(&member_id);
                let mut answer = self.joined(&member_id, leads && input.skips_assignment);
                answer.skip_assignment = leads && input.skips_assignment;
                if !input.skips_assignment {
                    // Older clients would assign anew if they were told that they lead: they are told the old leader's id.
                    answer.leader = leader_before.unwrap_or_default();
                }
                self.store_static(ticket, answer);
            }
            State::Stable => {
                if let Some(member) = self.members.get_mut(&member_id) {
                    member.joining = Some(ticket);
                    self.joining += 1;
                }
                self.rebalance_or_complete(now);
            }
            // The old id may have gone to the leader already, whose assignment would miss the new one.
            State::CompletingRebalance => self.prepare_rebalance(now),
            _ => self.maybe_complete_join(now),
        }
    }

    /// The answer that tells a member its generation; with the members for whom assigns.
    pub(super) fn joined(&self, member_id: &str, with_members: bool) -> JoinGroupResponse {
        let members = if with_members {
            let member = |(member_id, member): (&String, &Member)| JoinGroupResponseMember {
                member_id: member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                metadata: member.metadata(&self.protocol_name),
            };
            self.members.iter().map(member).collect()
        } else {
            Vec::new()
        };
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: none_if_empty(&self.protocol_type),
            protocol_name: none_if_empty(&self.protocol_name),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member_id.to_owned(),
            members,
            ..JoinGroupResponse::default()
        }
    }

    /// Whether there is room. While members join, those that wait count, so that the last to come are left out.
    fn accepts(&self, input: &JoinInput) -> bool {
        let max = self.settings.max_members;
        let member = self.members.get(&input.member_id);
        if input.member_id.is_empty() && self.pending.len() >= max {
            return false;
        }
        match self.state {
            State::Empty | State::Dead => true,
            State::PreparingRebalance => member.is_some_and(|member| member.joining.is_some()) || self.joining < max,
            State::CompletingRebalance | State::Stable => member.is_some() || self.members.len() < max,
        }
    }

    /// Whether the member has the group's protocol type, and a protocol that every member offers.
    fn supports(&self, input: &JoinInput) -> bool {
        if self.state == State::Empty {
            return !input.protocol_type.is_empty() && !input.protocols.is_empty();
        }
        let everybody = |name: &str| self.support.get(name).copied().unwrap_or(0) == self.members.len();
        self.protocol_type == input.protocol_type && input.protocols.iter().any(|protocol| everybody(&protocol.name))
    }

    /// The member whose place it takes.
    fn replaced(&self, input: &JoinInput) -> Option<(&str, &Member)> {
        let member_id = match &input.group_instance_id {
            Some(instance) if input.member_id.is_empty() => self.statics.get(instance)?,
            _ => &input.member_id,
        };
        self.members.get_key_value(member_id).map(|(id, member)| (id.as_str(), member))
    }

    fn bytes_with(&self, input: &JoinInput) -> usize {
        let before = self.replaced(input).map_or(0, |(id, member)| member.bytes(id));
        self.bytes() - before + input.bytes()
    }

    /// Whether it takes the place of one that is there.
    pub(crate) fn is_there(&self, input: &JoinInput) -> bool {
        self.replaced(input).is_some()
    }

    /// By how much the group grows with it, whatever is assigned then.
    pub(crate) fn growth(&self, input: &JoinInput) -> usize {
        let before = self.replaced(input).map_or(0, |(id, member)| member.bytes(id) - member.assignment.len());
        input.bytes().saturating_sub(before)
    }
}
