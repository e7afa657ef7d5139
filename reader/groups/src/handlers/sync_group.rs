//! SyncGroup (14) 0 to 5.

use crate::coordinator::{Groups, Shared};
use crate::group::{SyncInput, sync_error};
use std::sync::Arc;
use strandline_types::Caller;
use strandline_wire::ErrorCode;
use strandline_wire::messages::{SyncGroupRequest, SyncGroupResponse};

impl Groups {
    /// A member asks for its assignment. Waits until the leader has brought it and it is folded, at most for the group's
    /// rebalance time-out.
    pub async fn sync_group(&self, _: &Caller, version: i16, request: SyncGroupRequest) -> SyncGroupResponse {
        self.shared.sync(version, request).await.unwrap_or_else(sync_error)
    }
}

impl Shared {
    async fn sync(self: &Arc<Self>, version: i16, request: SyncGroupRequest) -> Result<SyncGroupResponse, ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        if version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        self.demand_coordinator(&request.group_id)?;
        self.confirm_claims().await?;
        let name = request.group_id;
        let mut held = self.find(&name).await?.ok_or(ErrorCode::UnknownMemberId)?;
        let input = SyncInput {
            member_id: request.member_id,
            group_instance_id: request.group_instance_id,
            generation: request.generation_id,
            protocol_type: request.protocol_type,
            protocol_name: request.protocol_name,
            assignments: request.assignments.into_iter().map(|one| (one.member_id, one.assignment)).collect(),
        };
        let (ticket, receiver) = held.contents.park_sync();
        if let Some(loaded) = &mut held.contents.loaded {
            loaded.group.sync(self.now(), ticket, input);
        }
        drop(self.settle(held));
        let mut answer = receiver.await.map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
        let code = ErrorCode::from_code(answer.error_code);
        if matches!(
            code,
            ErrorCode::UnknownMemberId
                | ErrorCode::FencedInstanceId
                | ErrorCode::IllegalGeneration
                | ErrorCode::InconsistentGroupProtocol
        ) {
            answer.error_code = self.confirm_no(&name, code).await.code();
        }
        Ok(answer)
    }
}
