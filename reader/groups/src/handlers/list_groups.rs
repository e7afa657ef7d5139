//! ListGroups (16) 0 to 5.

use crate::coordinator::{Groups, Shared, locked};
use crate::group::State;
use strandline_index::Group;
use strandline_types::Caller;
use strandline_wire::ErrorCode;
use strandline_wire::messages::list_groups::ListedGroup;
use strandline_wire::messages::{ListGroupsRequest, ListGroupsResponse};

/// The only type there is so far.
const CLASSIC: &str = "classic";

impl Groups {
    /// The groups that this node coordinates (clients ask every node and add up).
    pub async fn list_groups(&self, _: &Caller, _: i16, request: ListGroupsRequest) -> ListGroupsResponse {
        if let Err(error) = self.shared.barrier().await {
            return ListGroupsResponse { error_code: error.code(), ..ListGroupsResponse::default() };
        }
        if !request.types_filter.is_empty() && !asks_for(&request.types_filter, CLASSIC) {
            return ListGroupsResponse { error_code: ErrorCode::None.code(), ..ListGroupsResponse::default() };
        }
        ListGroupsResponse { groups: self.shared.list(&request.states_filter), ..ListGroupsResponse::default() }
    }
}

impl Shared {
    fn list(&self, states: &[String]) -> Vec<ListedGroup> {
        let index = self.cell.view();
        let slots = locked(&self.slots);
        let mut listed = Vec::new();
        for (name, group) in index.groups.iter().filter(|(name, _)| self.coordinates_in(&index, name)) {
            let (state, protocol_type) = match slots.get(name).and_then(|slot| slot.summary()) {
                Some(summary) => (summary.state, summary.protocol_type),
                None => (state_in_index(group), group.protocol_type.clone()),
            };
            if states.is_empty() || asks_for(states, state.name()) {
                listed.push(ListedGroup {
                    group_id: name.clone(),
                    protocol_type,
                    group_state: state.name().to_owned(),
                    group_type: CLASSIC.to_owned(),
                });
            }
        }
        listed
    }
}

/// Filters are compared without case and surrounding spaces, as Kafka does.
fn asks_for(filter: &[String], name: &str) -> bool {
    filter.iter().any(|asked| asked.trim().eq_ignore_ascii_case(name))
}

fn state_in_index(group: &Group) -> State {
    match (group.is_empty(), group.stable) {
        (true, _) => State::Empty,
        (false, true) => State::Stable,
        (false, false) => State::CompletingRebalance,
    }
}
