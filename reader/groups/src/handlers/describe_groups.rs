//! DescribeGroups (15) 0 to 6.

use crate::coordinator::{Groups, Shared, locked};
use crate::group::{ClassicGroup, Described, State};
use std::collections::BTreeSet;
use strandline_types::Caller;
use strandline_wire::ErrorCode;
use strandline_wire::messages::describe_groups::{DescribedGroup, DescribedGroupMember};
use strandline_wire::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

/// What everybody may do to a group while there is no authorization: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and
/// ALTER_CONFIGS, as bits of Kafka's operation codes.
const ALL_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

impl Groups {
    /// State, members and assignments of groups that this node coordinates.
    pub async fn describe_groups(&self, _: &Caller, version: i16, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
        let barrier = self.shared.barrier().await;
        let mut groups = Vec::new();
        // Each once: a small request cannot have one group's members answered a thousand times.
        let mut seen = BTreeSet::new();
        for name in request.groups {
            if !seen.insert(name.clone()) {
                continue;
            }
            let mut group = match barrier {
                Ok(()) => self.shared.describe(&name, version).await,
                Err(error) => failed(error, None),
            };
            group.group_id = name;
            if request.include_authorized_operations && group.error_code == 0 {
                group.authorized_operations = ALL_OPERATIONS;
            }
            groups.push(group);
        }
        DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() }
    }
}

impl Shared {
    /// The group as it is; the index is as new as the request.
    async fn describe(&self, name: &str, version: i16) -> DescribedGroup {
        if let Err(error) = self.demand_coordinator(name) {
            return failed(error, None);
        }
        match self.look_at(name).await {
            Some(described) => DescribedGroup {
                group_state: described.state.name().to_owned(),
                protocol_type: described.protocol_type,
                protocol_data: described.protocol_name,
                members: described
                    .members
                    .into_iter()
                    .map(|member| DescribedGroupMember {
                        member_id: member.member_id,
                        group_instance_id: member.group_instance_id,
                        client_id: member.client_id,
                        client_host: member.client_host,
                        member_metadata: member.metadata,
                        member_assignment: member.assignment,
                    })
                    .collect(),
                ..DescribedGroup::default()
            },
            // Before version 6 a group that does not exist was described as dead, without an error.
            None if version < 6 => DescribedGroup { group_state: State::Dead.name().to_owned(), ..DescribedGroup::default() },
            None => DescribedGroup {
                group_state: State::Dead.name().to_owned(),
                ..failed(ErrorCode::GroupIdNotFound, Some(format!("Group {name} not found.")))
            },
        }
    }

    /// The group's machine if it is at work, else the index.
    async fn look_at(&self, name: &str) -> Option<Described> {
        let slot = locked(&self.slots).get(name).cloned();
        if let Some(slot) = slot {
            let held = slot.lock().await;
            if let Some(loaded) = &held.contents.loaded {
                return Some(loaded.group.describe());
            }
        }
        let known = self.cell.view().groups.get(name).cloned();
        known.map(|known| ClassicGroup::load(&known, self.settings, self.now()).describe())
    }
}

fn failed(error: ErrorCode, message: Option<String>) -> DescribedGroup {
    DescribedGroup { error_code: error.code(), error_message: message, ..DescribedGroup::default() }
}
