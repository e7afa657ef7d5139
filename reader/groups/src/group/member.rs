//! One member.

use super::Ticket;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use strandline_commands::{GroupMember, MemberProtocol};

/// Counted by its copies: one with the member, and one for each of its commits that are on their way into the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommitInFlight(Arc<()>);

/// A member as the coordinator knows it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) group_instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) protocols: Vec<MemberProtocol>,
    pub(crate) assignment: Bytes,
    /// It has joined for the first time and was not answered yet: it cannot heartbeat, so its join is timed instead.
    pub(crate) is_new: bool,
    pub(crate) joining: Option<Ticket>,
    pub(crate) syncing: Option<Ticket>,
    pub(crate) commits: CommitInFlight,
    /// Without a sign of life until then it is out.
    pub(crate) deadline: Duration,
}

impl Member {
    /// A member as the index holds it, with a full session time-out from `now`.
    pub(crate) fn stored(member: &GroupMember, now: Duration) -> Self {
        let session_timeout = milliseconds(member.session_timeout_ms);
        Self {
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            session_timeout,
            rebalance_timeout: milliseconds(member.rebalance_timeout_ms),
            protocols: member.protocols.clone(),
            assignment: member.assignment.clone(),
            is_new: false,
            joining: None,
            syncing: None,
            commits: CommitInFlight::default(),
            deadline: now + session_timeout,
        }
    }

    /// The member as the index is to hold it.
    pub(crate) fn to_store(&self, member_id: &str) -> GroupMember {
        GroupMember {
            member_id: member_id.to_owned(),
            group_instance_id: self.group_instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            session_timeout_ms: to_milliseconds(self.session_timeout),
            rebalance_timeout_ms: to_milliseconds(self.rebalance_timeout),
            protocols: self.protocols.clone(),
            assignment: self.assignment.clone(),
        }
    }

    /// What it takes of the group's bound in bytes.
    pub(crate) fn bytes(&self, member_id: &str) -> usize {
        fixed_bytes(member_id, self.group_instance_id.as_deref(), &self.client_id, &self.client_host)
            + protocol_bytes(&self.protocols)
            + self.assignment.len()
    }

    /// Its metadata for the protocol.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|offered| offered.name == protocol).map(|offered| offered.metadata.clone()).unwrap_or_default()
    }

    /// The first of its protocols that every member offers.
    pub(crate) fn vote(&self, is_candidate: impl Fn(&str) -> bool) -> Option<&str> {
        self.protocols.iter().map(|offered| offered.name.as_str()).find(|name| is_candidate(name))
    }

    /// A member that waits for the others needs no heartbeats, except for its very first join; nor does one that waits for its commit.
    pub(crate) fn is_excused(&self) -> bool {
        let commits = Arc::strong_count(&self.commits.0) > 1;
        commits || (!self.is_new && (self.joining.is_some() || self.syncing.is_some()))
    }
}

/// The strings of a member, and what it takes beside them.
pub(crate) fn fixed_bytes(member_id: &str, group_instance_id: Option<&str>, client_id: &str, client_host: &str) -> usize {
    64 + member_id.len() + group_instance_id.map_or(0, str::len) + client_id.len() + client_host.len()
}

/// The protocols of a member.
pub(crate) fn protocol_bytes(protocols: &[MemberProtocol]) -> usize {
    protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len() + 16).sum()
}

/// Kafka's milliseconds; a negative number is none.
pub(crate) fn milliseconds(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn to_milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
