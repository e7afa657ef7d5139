//! Heartbeat (12) 0 to 4.

use crate::coordinator::{Groups, Shared};
use std::sync::Arc;
use strandline_types::Caller;
use strandline_wire::ErrorCode;
use strandline_wire::messages::{HeartbeatRequest, HeartbeatResponse};

impl Groups {
    /// A member is alive. Answered well only under a claim that was confirmed within a third of the shortest session time-out.
    pub async fn heartbeat(&self, _: &Caller, _: i16, request: HeartbeatRequest) -> HeartbeatResponse {
        let error = self.shared.beat(&request).await.unwrap_or_else(|error| error);
        HeartbeatResponse { error_code: error.code(), ..HeartbeatResponse::default() }
    }
}

impl Shared {
    async fn beat(self: &Arc<Self>, request: &HeartbeatRequest) -> Result<ErrorCode, ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        self.demand_coordinator(&request.group_id)?;
        self.confirm_claims().await?;
        let mut held = self.find(&request.group_id).await?.ok_or(ErrorCode::UnknownMemberId)?;
        let code = held.contents.loaded.as_mut().map_or(ErrorCode::UnknownMemberId, |loaded| {
            let instance = request.group_instance_id.as_deref();
            loaded.group.heartbeat(self.now(), &request.member_id, instance, request.generation_id)
        });
        drop(self.settle(held));
        match code {
            ErrorCode::None | ErrorCode::RebalanceInProgress => Ok(code),
            no => Err(self.confirm_no(&request.group_id, no).await),
        }
    }
}
