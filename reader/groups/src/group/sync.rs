//! SyncGroup.

use super::{ClassicGroup, State, Ticket, none_if_empty, sync_error};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use strandline_wire::ErrorCode;
use strandline_wire::messages::SyncGroupResponse;

/// A SyncGroup request, checked at the door.
#[derive(Debug, Clone)]
pub(crate) struct SyncInput {
    pub(crate) member_id: String,
    pub(crate) group_instance_id: Option<String>,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol_name: Option<String>,
    /// The leader's; empty from the others.
    pub(crate) assignments: BTreeMap<String, Bytes>,
}

impl ClassicGroup {
    /// A member asks for its assignment; the leader brings all of them. Answered through the effects.
    pub(crate) fn sync(&mut self, now: Duration, ticket: Ticket, input: SyncInput) {
        if let Err(error) = self.check_sync(&input) {
            self.effects.syncs.push((ticket, sync_error(error)));
            return;
        }
        match self.state {
            State::Empty | State::Dead => self.effects.syncs.push((ticket, sync_error(ErrorCode::UnknownMemberId))),
            State::PreparingRebalance => self.effects.syncs.push((ticket, sync_error(ErrorCode::RebalanceInProgress))),
            State::CompletingRebalance => self.await_assignment(now, ticket, input),
            State::Stable => {
                self.has_synced(&input.member_id);
                self.touch(now, &input.member_id);
                let assignment = self.members.get(&input.member_id).map(|member| member.assignment.clone()).unwrap_or_default();
                let answer = SyncGroupResponse {
                    protocol_type: none_if_empty(&self.protocol_type),
                    protocol_name: none_if_empty(&self.protocol_name),
                    assignment,
                    ..SyncGroupResponse::default()
                };
                self.effects.syncs.push((ticket, answer));
            }
        }
    }

    fn check_sync(&self, input: &SyncInput) -> Result<(), ErrorCode> {
        self.demand_member(&input.member_id, input.group_instance_id.as_deref())?;
        if input.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |asked: &Option<String>, ours: &str| asked.as_deref().is_some_and(|asked| asked != ours);
        // While members join, the name belongs to the generation that ends.
        if differs(&input.protocol_type, &self.protocol_type) || differs(&input.protocol_name, &self.protocol_name) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn await_assignment(&mut self, now: Duration, ticket: Ticket, mut input: SyncInput) {
        self.has_synced(&input.member_id);
        if let Some(member) = self.members.get_mut(&input.member_id)
            && let Some(older) = member.syncing.replace(ticket)
        {
            self.effects.syncs.push((older, sync_error(ErrorCode::RebalanceInProgress)));
        }
        if !self.is_leader(&input.member_id) {
            return;
        }
        for (member_id, member) in &mut self.members {
            self.bytes -= member.assignment.len();
            // A copy: the request that it lies in may be many times as large, and the member stays.
            let assignment = input.assignments.remove(member_id).unwrap_or_default();
            member.assignment = Bytes::copy_from_slice(&assignment);
            self.bytes += member.assignment.len();
        }
        if self.bytes > self.settings.max_bytes {
            self.drop_assignments(now, ErrorCode::UnknownServerError);
            self.rebalance_or_complete(now);
        } else {
            self.store_assignments();
        }
    }

    fn has_synced(&mut self, member_id: &str) {
        self.unsynced.remove(member_id);
        if self.unsynced.is_empty() {
            self.sync_deadline = None;
        }
    }
}
