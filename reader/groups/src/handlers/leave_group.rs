//! LeaveGroup (13) 0 to 5.

use crate::coordinator::{Groups, Shared};
use crate::group::Leaving;
use std::sync::Arc;
use strandline_types::Caller;
use strandline_wire::ErrorCode;
use strandline_wire::messages::leave_group::{MemberIdentity, MemberResponse};
use strandline_wire::messages::{LeaveGroupRequest, LeaveGroupResponse};

impl Groups {
    /// Members leave. If the group is empty then, that is folded before the answer.
    pub async fn leave_group(&self, _: &Caller, version: i16, request: LeaveGroupRequest) -> LeaveGroupResponse {
        let LeaveGroupRequest { group_id, member_id, mut members } = request;
        if version <= 2 {
            members = vec![MemberIdentity { member_id, ..MemberIdentity::default() }];
        }
        let codes = match self.shared.leave(&group_id, &members).await {
            Ok(codes) => codes,
            Err(error) => return LeaveGroupResponse { error_code: error.code(), ..LeaveGroupResponse::default() },
        };
        if version <= 2 {
            let error_code = codes.first().map_or(0, |code| code.code());
            return LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() };
        }
        let members = members.into_iter().zip(codes).map(|(member, code)| MemberResponse {
            member_id: member.member_id,
            group_instance_id: member.group_instance_id,
            error_code: code.code(),
        });
        LeaveGroupResponse { members: members.collect(), ..LeaveGroupResponse::default() }
    }
}

impl Shared {
    async fn leave(self: &Arc<Self>, group: &str, members: &[MemberIdentity]) -> Result<Vec<ErrorCode>, ErrorCode> {
        if group.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        self.demand_coordinator(group)?;
        let Some(mut held) = self.find(group).await? else { return Ok(vec![ErrorCode::UnknownMemberId; members.len()]) };
        let leaving: Vec<Leaving<'_>> = members
            .iter()
            .map(|member| Leaving { member_id: &member.member_id, group_instance_id: member.group_instance_id.as_deref() })
            .collect();
        let codes = held.contents.loaded.as_mut().map(|loaded| loaded.group.leave(self.now(), &leaving)).unwrap_or_default();
        if let Some(stored) = self.settle(held) {
            stored.await.map_err(|_| ErrorCode::CoordinatorNotAvailable)??;
        }
        if codes.iter().any(|code| !code.is_none()) && self.confirm_no(group, ErrorCode::None).await != ErrorCode::None {
            return Err(ErrorCode::NotCoordinator);
        }
        Ok(codes)
    }
}
