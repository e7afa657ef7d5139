//! A group as DescribeGroups and OffsetDelete see it.

use super::{ClassicGroup, Member, State};
use crate::subscription;
use bytes::Bytes;
use std::collections::BTreeSet;

/// A group as it is described.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) state: State,
    pub(crate) protocol_type: String,
    /// Known while the group is stable.
    pub(crate) protocol_name: String,
    pub(crate) members: Vec<DescribedMember>,
}

/// A member as it is described.
#[derive(Debug)]
pub(crate) struct DescribedMember {
    pub(crate) member_id: String,
    pub(crate) group_instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) metadata: Bytes,
    pub(crate) assignment: Bytes,
}

impl ClassicGroup {
    /// The group as it is described: metadata only while it is stable.
    pub(crate) fn describe(&self) -> Described {
        let stable = self.state == State::Stable;
        let member = |(member_id, member): (&String, &Member)| DescribedMember {
            member_id: member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if stable { member.metadata(&self.protocol_name) } else { Bytes::new() },
            assignment: member.assignment.clone(),
        };
        Described {
            state: self.state,
            protocol_type: self.protocol_type.clone(),
            protocol_name: if stable { self.protocol_name.clone() } else { String::new() },
            members: self.members.iter().map(member).collect(),
        }
    }

    pub(crate) fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    pub(crate) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type == "consumer"
    }

    /// The topics that members are subscribed to; None if that cannot be known, which counts as all of them.
    pub(crate) fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        if !self.uses_consumer_protocol() || self.protocol_name.is_empty() {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscription::topics(&member.metadata(&self.protocol_name))?);
        }
        Some(topics)
    }
}
