//! Consumer groups.

use std::collections::BTreeMap;
use strandline_commands::GroupMember;
use strandline_types::{Incarnation, Seq, TopicPartition};

/// Who coordinates a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The seq of the entry that took it; every command of the group carries it.
    pub epoch: Seq,
    /// Who has it. A node that takes over an embedded log takes the claims over with their epochs.
    pub holder: Incarnation,
}

/// One committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    /// The next offset to read.
    pub offset: i64,
    /// As the client gave it; -1 for none.
    pub leader_epoch: i32,
    /// As the client gave it.
    pub metadata: String,
    /// `now` when it was committed.
    pub committed_ms: i64,
}

/// One group, as the log knows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Group {
    /// Who coordinates it.
    pub claim: Option<Claim>,
    /// The generation; 0 before the first rebalance has ended.
    pub generation: i32,
    /// `consumer`, `connect`, …; empty for a group of offsets alone.
    pub protocol_type: String,
    /// The assignor that was chosen.
    pub protocol_name: String,
    /// The leader's member id.
    pub leader: String,
    /// Its members, in the order in which the coordinator stored them.
    pub members: Vec<GroupMember>,
    /// Whether the assignments are in.
    pub stable: bool,
    /// Its offsets.
    pub offsets: BTreeMap<TopicPartition, GroupOffset>,
    /// The seq of its last change (offsets included, claims not).
    pub last_changed: Seq,
    /// `now` at that seq.
    pub last_changed_ms: i64,
}

impl Group {
    /// No members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member of that id.
    pub fn member(&self, member_id: &str) -> Option<&GroupMember> {
        self.members.iter().find(|member| member.member_id == member_id)
    }
}
