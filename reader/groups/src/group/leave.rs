//! LeaveGroup.

use super::{ClassicGroup, State};
use std::time::Duration;
use strandline_wire::ErrorCode;

/// One member that leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaving<'a> {
    /// Empty where an administrator removes a static member by its static id alone.
    pub(crate) member_id: &'a str,
    pub(crate) group_instance_id: Option<&'a str>,
}

impl ClassicGroup {
    /// Members leave; one code for each, in order.
    pub(crate) fn leave(&mut self, now: Duration, leaving: &[Leaving<'_>]) -> Vec<ErrorCode> {
        let codes: Vec<ErrorCode> = leaving.iter().map(|member| self.leave_one(*member)).collect();
        if codes.iter().any(|code| code.is_none()) {
            match self.state {
                State::Stable | State::CompletingRebalance => self.prepare_rebalance(now),
                State::PreparingRebalance if self.members.is_empty() && self.pending.is_empty() => self.complete_join(now),
                State::PreparingRebalance => self.maybe_complete_join(now),
                State::Empty | State::Dead => {}
            }
        }
        codes
    }

    fn leave_one(&mut self, leaving: Leaving<'_>) -> ErrorCode {
        let member_id = if leaving.member_id.is_empty() {
            match leaving.group_instance_id.and_then(|instance| self.statics.get(instance)) {
                Some(holder) => holder.clone(),
                None => return ErrorCode::UnknownMemberId,
            }
        } else {
            leaving.member_id.to_owned()
        };
        if self.forget_pending(&member_id) {
            return ErrorCode::None;
        }
        if !leaving.member_id.is_empty()
            && let Err(error) = self.demand_member(&member_id, leaving.group_instance_id)
        {
            return error;
        }
        self.remove(&member_id);
        ErrorCode::None
    }
}
