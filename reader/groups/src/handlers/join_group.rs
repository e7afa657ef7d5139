//! JoinGroup (11) 0 to 9.

use crate::coordinator::{Groups, Shared};
use crate::group::{JoinInput, join_error};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use strandline_commands::MemberProtocol;
use strandline_types::{Caller, limits};
use strandline_wire::ErrorCode;
use strandline_wire::messages::{JoinGroupRequest, JoinGroupResponse};

impl Groups {
    /// A member joins its group. Waits until the rebalance that it joins has ended and is folded: up to the group's
    /// rebalance time-out, which is the client's to choose.
    pub async fn join_group(&self, caller: &Caller, version: i16, request: JoinGroupRequest) -> JoinGroupResponse {
        let member_id = request.member_id.clone();
        match self.shared.join(caller, version, request).await {
            Ok(answer) => answer,
            Err(error) => join_error(&member_id, error),
        }
    }
}

impl Shared {
    async fn join(
        self: &Arc<Self>,
        caller: &Caller,
        version: i16,
        request: JoinGroupRequest,
    ) -> Result<JoinGroupResponse, ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        self.demand_coordinator(&request.group_id)?;
        let session_timeout = u64::try_from(request.session_timeout_ms).map(Duration::from_millis);
        let allowed = self.options.min_session_timeout..=self.options.max_session_timeout;
        let session_timeout =
            session_timeout.ok().filter(|timeout| allowed.contains(timeout)).ok_or(ErrorCode::InvalidSessionTimeout)?;
        if request.protocol_type.is_empty() || request.protocols.is_empty() {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        self.confirm_claims().await?;
        let name = request.group_id.clone();
        let input = self.join_input(caller, version, request, session_timeout);
        let fits = |bytes, most| self.bytes.load(Ordering::Relaxed).saturating_add(bytes) <= most;
        let full = || {
            tracing::debug!(group = name, "the members of all groups take as much as they may: none grows");
            ErrorCode::CoordinatorNotAvailable
        };
        let is_new = input.member_id.is_empty();
        // No group is made for nothing.
        if is_new && !fits(input.bytes(), limits::GROUPS_AT_WORK_BYTES) && !self.cell.view().groups.contains_key(&name) {
            return Err(full());
        }
        let held = if is_new { self.acquire(&name, true).await? } else { self.find(&name).await? };
        let mut held = held.ok_or(ErrorCode::UnknownMemberId)?;
        let group = held.contents.loaded.as_ref().map(|loaded| &loaded.group);
        let (growth, is_there) = group.map_or((0, false), |group| (group.growth(&input), group.is_there(&input)));
        // What newcomers of other groups take stops no group that is at work: its members may grow a little.
        let reserve = if is_there { limits::GROUPS_AT_WORK_RESERVE_BYTES } else { 0 };
        if growth > 0 && !fits(growth, limits::GROUPS_AT_WORK_BYTES + reserve) {
            self.finish(&mut held);
            return Err(full());
        }
        let (ticket, receiver) = held.contents.park_join();
        if let Some(loaded) = &mut held.contents.loaded {
            loaded.group.join(self.now(), ticket, input);
        }
        // The store's result reaches this member by its ticket.
        drop(self.settle(held));
        let mut answer = receiver.await.map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
        let code = ErrorCode::from_code(answer.error_code);
        if matches!(
            code,
            ErrorCode::UnknownMemberId
                | ErrorCode::FencedInstanceId
                | ErrorCode::InconsistentGroupProtocol
                | ErrorCode::GroupMaxSizeReached
        ) {
            answer.error_code = self.confirm_no(&name, code).await.code();
        }
        Ok(answer)
    }

    fn join_input(&self, caller: &Caller, version: i16, request: JoinGroupRequest, session_timeout: Duration) -> JoinInput {
        let client_id = caller.client_id.clone().unwrap_or_default();
        let uuid = uuid::Builder::from_random_bytes(self.cell.runtime().random.id()).into_uuid();
        let prefix = request.group_instance_id.as_deref().unwrap_or(&client_id);
        let new_member_id = format!("{prefix}-{uuid}");
        // Version 0 has no rebalance time-out.
        let rebalance_timeout = u64::try_from(request.rebalance_timeout_ms).map_or(session_timeout, Duration::from_millis);
        let mut names = BTreeSet::new();
        // Copies: the request that they lie in may be many times as large, and the member stays.
        let protocols = request
            .protocols
            .into_iter()
            .filter(|protocol| names.insert(protocol.name.clone()))
            .map(|protocol| MemberProtocol { name: protocol.name, metadata: Bytes::copy_from_slice(&protocol.metadata) });
        JoinInput {
            member_id: request.member_id,
            group_instance_id: request.group_instance_id,
            client_id,
            client_host: caller.host.clone(),
            session_timeout,
            rebalance_timeout,
            protocol_type: request.protocol_type,
            protocols: protocols.collect(),
            new_member_id,
            demands_member_id: version >= 4,
            skips_assignment: version >= 9,
        }
    }
}
