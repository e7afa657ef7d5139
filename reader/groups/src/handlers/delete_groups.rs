//! DeleteGroups (42) 0 to 2.

use crate::answers;
use crate::coordinator::{Groups, Shared};
use crate::group::State;
use crate::old_connection::{NO_GENERATION, OldConnection};
use strandline_commands::DeleteGroup;
use strandline_index::Outcome;
use strandline_types::{Caller, Seq};
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
        for group in &request.groups_names {
            self.shared.demand_delete_sent_since(group, caller.connected_at).await?;
        }
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group_id in request.groups_names {
            let error = self.shared.delete(&group_id).await.err().unwrap_or(ErrorCode::None);
            results.push(DeletableGroupResult { group_id, error_code: error.code() });
        }
        Ok(DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() })
    }
}

impl Shared {
    /// Whatever else is wrong with a group is said when it is to be deleted.
    async fn demand_delete_sent_since(&self, group: &str, connected_at: Seq) -> Result<(), OldConnection> {
        if self.cell.is_sole() || self.demand_coordinator(group).is_err() {
            return Ok(());
        }
        let Ok(used) = self.find_to_use(group).await else { return Ok(()) };
        let loaded = used.held.contents.loaded.as_ref();
        loaded.map_or(Ok(()), |loaded| self.demand_sent_since(loaded, connected_at, NO_GENERATION))
    }

    async fn delete(&self, group: &str) -> Result<(), ErrorCode> {
        self.demand_coordinator(group)?;
        let mut used = self.find_to_use(group).await?;
        let Some(loaded) = &used.held.contents.loaded else { return Err(ErrorCode::CoordinatorNotAvailable) };
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
