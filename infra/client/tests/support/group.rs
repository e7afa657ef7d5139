//! The mock cluster's group: who joins leads it, and assigns as it likes. It puts nobody out by itself.

use std::collections::{BTreeSet, VecDeque};
use strandline_wire::ErrorCode;
use strandline_wire::messages::join_group::JoinGroupResponseMember;
use strandline_wire::messages::leave_group::MemberResponse;
use strandline_wire::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    SyncGroupRequest, SyncGroupResponse,
};

#[derive(Default)]
pub struct Group {
    pub generation: i32,
    pub members: BTreeSet<String>,
    /// Those that were given an id and have not joined with it.
    pending: BTreeSet<String>,
    given: usize,
    /// Heartbeats say so until somebody joins.
    pub is_rebalancing: bool,
    /// How joins of somebody new are refused, one after the other.
    pub join_faults: VecDeque<ErrorCode>,
    /// Joins with an id are not answered: the group waits for others.
    pub parks_joins: bool,
    /// How leaving is refused, one after the other: as a whole, or the member.
    pub leave_faults: VecDeque<(ErrorCode, ErrorCode)>,
    /// Who leaves is not answered.
    pub ignores_leaving: bool,
    /// Who left, in order.
    pub left: Vec<String>,
}

impl Group {
    /// `None` is no answer.
    pub(super) fn join(&mut self, request: JoinGroupRequest) -> Option<JoinGroupResponse> {
        let member_id = request.member_id;
        if member_id.is_empty() {
            if let Some(fault) = self.join_faults.pop_front() {
                return Some(JoinGroupResponse { error_code: fault.code(), member_id, ..Default::default() });
            }
            self.given += 1;
            let member_id = format!("m{}", self.given);
            self.pending.insert(member_id.clone());
            let error_code = ErrorCode::MemberIdRequired.code();
            return Some(JoinGroupResponse { error_code, member_id, ..Default::default() });
        }
        if !self.pending.contains(&member_id) && !self.members.contains(&member_id) {
            let error_code = ErrorCode::UnknownMemberId.code();
            return Some(JoinGroupResponse { error_code, member_id, ..Default::default() });
        }
        if self.parks_joins {
            return None;
        }
        self.pending.remove(&member_id);
        self.members.insert(member_id.clone());
        self.is_rebalancing = false;
        self.generation += 1;
        let protocol = request.protocols.into_iter().next().unwrap();
        let member = JoinGroupResponseMember {
            member_id: member_id.clone(),
            group_instance_id: request.group_instance_id,
            metadata: protocol.metadata,
        };
        Some(JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: Some(request.protocol_type),
            protocol_name: Some(protocol.name),
            leader: member_id.clone(),
            member_id,
            members: vec![member],
            ..Default::default()
        })
    }

    pub(super) fn sync(&self, request: SyncGroupRequest) -> SyncGroupResponse {
        let error_code = match self.member_code(&request.member_id) {
            ErrorCode::None if request.generation_id != self.generation => ErrorCode::IllegalGeneration,
            code => code,
        };
        let mine = request.assignments.into_iter().find(|assignment| assignment.member_id == request.member_id);
        SyncGroupResponse {
            error_code: error_code.code(),
            protocol_type: request.protocol_type,
            protocol_name: request.protocol_name,
            assignment: mine.map(|assignment| assignment.assignment).unwrap_or_default(),
            ..Default::default()
        }
    }

    pub(super) fn heartbeat(&self, request: &HeartbeatRequest) -> HeartbeatResponse {
        let code = if self.is_rebalancing { ErrorCode::RebalanceInProgress } else { self.member_code(&request.member_id) };
        HeartbeatResponse { error_code: code.code(), ..Default::default() }
    }

    /// `None` is no answer.
    pub(super) fn leave(&mut self, request: LeaveGroupRequest) -> Option<LeaveGroupResponse> {
        if self.ignores_leaving {
            return None;
        }
        let (whole, one) = self.leave_faults.pop_front().unwrap_or_default();
        let mut response = LeaveGroupResponse { error_code: whole.code(), ..Default::default() };
        if !whole.is_none() {
            return Some(response);
        }
        for member in request.members {
            let mut code = one;
            if code.is_none() {
                let was_pending = self.pending.remove(&member.member_id);
                let was_member = self.members.remove(&member.member_id);
                if was_pending || was_member {
                    self.left.push(member.member_id.clone());
                } else {
                    code = ErrorCode::UnknownMemberId;
                }
            }
            response.members.push(MemberResponse {
                member_id: member.member_id,
                group_instance_id: member.group_instance_id,
                error_code: code.code(),
            });
        }
        Some(response)
    }

    /// What a commit, a heartbeat or a sync of this member comes to.
    pub(super) fn member_code(&self, member_id: &str) -> ErrorCode {
        if self.members.contains(member_id) { ErrorCode::None } else { ErrorCode::UnknownMemberId }
    }
}
