//! DeleteGroups (42) 0 to 2.

use crate::answers;
use crate::coordinator::{Groups, Shared};
use crate::group::State;
use strandline_commands::DeleteGroup;
use strandline_index::Outcome;
use strandline_types::Caller;
use strandline_wire::ErrorCode;
use strandline_wire::messages::delete_groups::DeletableGroupResult;
use strandline_wire::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

impl Groups {
    /// Deletes groups without members, with their offsets.
    pub async fn delete_groups(&self, _: &Caller, _: i16, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group_id in request.groups_names {
            let error = self.shared.delete(&group_id).await.err().unwrap_or(ErrorCode::None);
            results.push(DeletableGroupResult { group_id, error_code: error.code() });
        }
        DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() }
    }
}

impl Shared {
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
