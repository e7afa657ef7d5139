//! Groups: list, describe, delete.

use super::{Admin, PartitionName};
use crate::error::{ClientError, check};
use futures::future::join_all;
use std::collections::BTreeMap;
use strandline_wire::ErrorCode;
use strandline_wire::messages::consumer_protocol::ConsumerProtocolAssignment;
use strandline_wire::messages::describe_groups::DescribedGroupMember;
use strandline_wire::messages::{DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest};

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its id.
    pub group: String,
    /// Its kind, `consumer` for consumers; empty while it has no member.
    pub protocol_type: String,
    /// Its state; empty from brokers that do not say.
    pub state: String,
}

/// A group with its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedGroup {
    /// Its id.
    pub group: String,
    /// Its state: Stable, Empty, PreparingRebalance, CompletingRebalance, Dead.
    pub state: String,
    /// Its kind, `consumer` for consumers.
    pub protocol_type: String,
    /// The assignor in use.
    pub protocol: String,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub member_id: String,
    /// Its name, if it is a static member.
    pub group_instance_id: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// What it reads.
    pub assignment: Vec<PartitionName>,
}

impl Admin {
    /// The groups of all brokers, by id.
    ///
    /// # Errors
    /// A broker does not answer or refuses.
    pub async fn list_groups(&self) -> Result<Vec<ListedGroup>, ClientError> {
        let cluster = self.client().cluster().await?;
        let request = ListGroupsRequest::default();
        let answers = join_all(cluster.brokers.values().map(|broker| {
            let request = &request;
            self.client().retrying("listing groups", move |_| async move {
                let response = self.client().connection(broker).await?.call(request).await?;
                check(response.error_code, || format!("the groups of broker {}", broker.node_id), None)?;
                Ok(response.groups)
            })
        }));
        let mut groups = BTreeMap::new();
        for answer in answers.await {
            for group in answer? {
                groups.insert(
                    group.group_id.clone(),
                    ListedGroup { group: group.group_id, protocol_type: group.protocol_type, state: group.group_state },
                );
            }
        }
        Ok(groups.into_values().collect())
    }

    /// One group.
    ///
    /// # Errors
    /// No broker answers, or there is no such group (GROUP_ID_NOT_FOUND).
    pub async fn describe_group(&self, group: &str) -> Result<DescribedGroup, ClientError> {
        let request = DescribeGroupsRequest { groups: vec![group.to_owned()], include_authorized_operations: false };
        let what = || format!("group \"{group}\"");
        self.client()
            .retrying("describing a group", |_| async {
                let response = self.coordinator(group).await?.call(&request).await?;
                let found = response.groups.into_iter().next().ok_or_else(|| ClientError::Missing(what()))?;
                check(found.error_code, what, found.error_message)?;
                // Before version 6 a group that does not exist is 'Dead' without an error.
                if found.group_state == "Dead" {
                    return Err(ClientError::broker(what(), ErrorCode::GroupIdNotFound, None));
                }
                let is_consumer = found.protocol_type == "consumer";
                Ok(DescribedGroup {
                    group: found.group_id,
                    state: found.group_state,
                    protocol_type: found.protocol_type,
                    protocol: found.protocol_data,
                    members: found.members.into_iter().map(|member| member_of(member, is_consumer)).collect(),
                })
            })
            .await
    }

    /// Deletes a group that has no members.
    ///
    /// # Errors
    /// No broker answers, there is no such group, or it has members.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        let request = DeleteGroupsRequest { groups_names: vec![group.to_owned()] };
        let what = || format!("group \"{group}\"");
        self.client()
            .retrying("deleting a group", |_| async {
                let response = self.coordinator(group).await?.call(&request).await?;
                let result = response.results.into_iter().next().ok_or_else(|| ClientError::Missing(what()))?;
                check(result.error_code, what, None)
            })
            .await
    }
}

fn member_of(member: DescribedGroupMember, is_consumer: bool) -> GroupMember {
    let assignment = ConsumerProtocolAssignment::from_bytes(member.member_assignment).ok().filter(|_| is_consumer);
    let topics = assignment.map(|assignment| assignment.assigned_partitions).unwrap_or_default();
    let partitions =
        topics.into_iter().flat_map(|topic| topic.partitions.into_iter().map(move |partition| (topic.topic.clone(), partition)));
    GroupMember {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        client_id: member.client_id,
        host: member.client_host,
        assignment: partitions.collect(),
    }
}
