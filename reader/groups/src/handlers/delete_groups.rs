//! DeleteGroups (42) 0 to 2.

use crate::answers;
use crate::coordinator::{Groups, Shared};
use crate::group::State;
use crate::old_connection::{NO_GENERATION, OldConnection};
use strandline_commands::DeleteGroup;
use strandline_index::Outcome;
use strandline_types::Caller;
use strandline_wire::ErrorCode;
use strandline_wire::messages::delete_groups::DeletableGroupResult;
use strandline_wire::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

impl Groups {
    /// Deletes groups without members, with their offsets.
    ///
    /// # Errors
    /// The connection is older than it may be, and no group was deleted: see [`OldConnection`].
    pub async fn delete_groups(
        &self,
        caller: &Caller,
        _: i16,
        request: DeleteGroupsRequest,
    ) -> Result<DeleteGroupsResponse, OldConnection> {
        let mut is_old = false;
        // All are claimed by this, so that the next connection is younger than each claim.
        for group in &request.groups_names {
            is_old |= self.shared.is_deleted_too_late(group, caller).await;
        }
        if is_old {
            return Err(OldConnection);
        }
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group_id in request.groups_names {
            let error = self.shared.delete(&group_id, caller).await.err().unwrap_or(ErrorCode::None);
            results.push(DeletableGroupResult { group_id, error_code: error.code() });
        }
        Ok(DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() })
    }
}

impl Shared {
    /// Whatever else is wrong with a group is said when it is to be deleted.
    async fn is_deleted_too_late(&self, group: &str, caller: &Caller) -> bool {
        if (self.cell.is_sole() && !caller.gone.is_set()) || self.demand_coordinator(group).is_err() {
            return false;
        }
        let Ok(used) = self.find_to_use(group).await else { return false };
        let loaded = used.held.contents.loaded.as_ref();
        loaded.is_some_and(|loaded| self.demand_sent_since(loaded, caller, NO_GENERATION).is_err())
    }

    async fn delete(&self, group: &str, caller: &Caller) -> Result<(), ErrorCode> {
        self.demand_coordinator(group)?;
        let mut used = self.find_to_use(group).await?;
        let Some(loaded) = &used.held.contents.loaded else { return Err(ErrorCode::CoordinatorNotAvailable) };
        // It came here since it was looked at.
        self.demand_sent_since(loaded, caller, NO_GENERATION).map_err(|_| ErrorCode::NotCoordinator)?;
        let (state, claim) = (loaded.group.state(), loaded.claim.0);
        if state != State::Empty {
            drop(used);
            return Err(self.confirm_no(group, ErrorCode::NonEmptyGroup).await);
        }
        let outcome = self.submit(DeleteGroup { group: group.to_owned(), claim }).await;
        // Ids that were handed out ahead go with the group.
        self.give_up(&mut used.held, ErrorCode::UnknownMemberId);
        drop(used);
        match outcome? {
            Outcome::Done => Ok(()),
            Outcome::Refused(refusal) => Err(answers::of_refusal(&refusal)),
            _ => Err(ErrorCode::UnknownServerError),
        }
    }
}
