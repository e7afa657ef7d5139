//! Groups and their offsets.

use super::{Context, topic_id};
use crate::outcome::{Outcome, Refusal};
use crate::state::fill::{group_membership_weight, group_weight, membership_weight, offset_weight};
use crate::state::{Claim, Group, GroupOffset, Index};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use strandline_commands::{ClaimGroup, CommitOffsets, DeleteGroup, DeleteOffsets, ExpireGroup, StoreGroup};
use strandline_types::mutations::{Rule, holds};
use strandline_types::{Seq, TopicPartition, limits};

impl Index {
    pub(super) fn claim_group(&mut self, context: &mut Context<'_>, command: &ClaimGroup) -> Result<Outcome, Refusal> {
        if command.group.is_empty() {
            return Err(Refusal::Malformed { what: "a group needs a name" });
        }
        if !self.groups.contains_key(&command.group) && self.groups.len() >= limits::GROUPS {
            return Err(Refusal::Limit { what: "groups" });
        }
        let held = self.groups.get(&command.group).and_then(|group| group.claim).map_or(0, |claim| claim.epoch.0);
        if held != command.replaces || held == context.seq.0 {
            return Err(Refusal::Superseded { what: "the group is claimed" });
        }
        if !self.groups.contains_key(&command.group) {
            let weight = membership_weight(&command.group, [""; 3], [].iter());
            if self.has_version_2() && self.fill.group_bytes.saturating_add(weight) > limits::GROUPS_BYTES {
                return Err(Refusal::Limit { what: "groups" });
            }
            self.fill.group_bytes += weight;
        }
        let group = Arc::make_mut(self.groups.entry(command.group.clone()).or_default());
        group.claim = Some(Claim { epoch: context.seq, holder: context.incarnation });
        context.folded.groups.push(command.group.clone());
        Ok(Outcome::Claimed(context.seq))
    }

    fn forget_group(&mut self, name: &str) {
        if let Some(group) = self.groups.remove(name) {
            self.fill.group_bytes = self.fill.group_bytes.saturating_sub(group_weight(name, &group));
        }
    }

    fn most_group_bytes(&self) -> u64 {
        if self.has_version_2() { limits::GROUPS_BYTES } else { u64::MAX }
    }

    /// The group, if the sender coordinates it (I9).
    fn claimed<'a>(
        groups: &'a mut BTreeMap<String, Arc<Group>>,
        context: &Context<'_>,
        name: &str,
        claim: u64,
    ) -> Result<&'a mut Group, Refusal> {
        let group = groups.get_mut(name).ok_or(Refusal::UnknownGroup)?;
        match group.claim {
            Some(held) if held.epoch == Seq(claim) && held.holder == context.incarnation => Ok(Arc::make_mut(group)),
            _ if !holds(Rule::Claim) => Ok(Arc::make_mut(group)),
            _ => Err(Refusal::NotCoordinator),
        }
    }

    pub(super) fn store_group(&mut self, context: &mut Context<'_>, command: &StoreGroup) -> Result<Outcome, Refusal> {
        let bytes = command.members.iter().map(member_bytes).sum::<usize>();
        if command.members.len() > limits::GROUP_MEMBERS || bytes > limits::GROUP_STATE_BYTES {
            return Err(Refusal::Limit { what: "members of one group" });
        }
        let most = self.most_group_bytes();
        let group = Self::claimed(&mut self.groups, context, &command.group, command.claim)?;
        if group.generation != command.expected_generation {
            return Err(Refusal::IllegalGeneration);
        }
        if command.generation < group.generation {
            return Err(Refusal::Malformed { what: "a generation never falls" });
        }
        let before = group_membership_weight(&command.group, group);
        let strings = [command.protocol_type.as_str(), &command.protocol_name, &command.leader];
        let after = membership_weight(&command.group, strings, command.members.iter());
        if after > before && self.fill.group_bytes.saturating_add(after - before) > most {
            return Err(Refusal::Limit { what: "members of groups" });
        }
        self.fill.group_bytes = self.fill.group_bytes.saturating_add(after).saturating_sub(before);
        group.generation = command.generation;
        group.protocol_type.clone_from(&command.protocol_type);
        group.protocol_name.clone_from(&command.protocol_name);
        group.leader.clone_from(&command.leader);
        group.members = command.members.iter().map(detached).collect();
        group.stable = command.stable;
        (group.last_changed, group.last_changed_ms) = (context.seq, context.now_ms);
        context.folded.groups.push(command.group.clone());
        Ok(Outcome::Done)
    }

    pub(super) fn commit_offsets(&mut self, context: &mut Context<'_>, command: &CommitOffsets) -> Result<Outcome, Refusal> {
        if command.offsets.iter().any(|offset| offset.metadata.len() > limits::OFFSET_METADATA_BYTES) {
            return Err(Refusal::Limit { what: "bytes of offset metadata" });
        }
        let most = self.most_group_bytes();
        let group = Self::claimed(&mut self.groups, context, &command.group, command.claim)?;
        demand_member(group, command)?;
        let mut growth = 0_u64;
        for committed in &command.offsets {
            let place = TopicPartition { topic_id: topic_id(&committed.topic_id)?, partition: committed.partition };
            let before = group.offsets.get(&place).map_or(0, |offset| offset_weight(&offset.metadata));
            growth = growth.saturating_add(offset_weight(&committed.metadata).saturating_sub(before));
        }
        if growth > 0 && self.fill.group_bytes.saturating_add(growth) > most {
            return Err(Refusal::Limit { what: "committed offsets" });
        }
        let mut unknown = Vec::new();
        for committed in &command.offsets {
            let place = TopicPartition { topic_id: topic_id(&committed.topic_id)?, partition: committed.partition };
            let exists = self.topics.get(&place.topic_id).is_some_and(|topic| topic.partition(place.partition).is_some());
            if !exists {
                unknown.push(place);
                continue;
            }
            let offset = GroupOffset {
                offset: committed.offset,
                leader_epoch: committed.leader_epoch,
                metadata: committed.metadata.clone(),
                committed_ms: context.now_ms,
            };
            self.fill.group_bytes += offset_weight(&offset.metadata);
            if let Some(before) = group.offsets.insert(place, offset) {
                self.fill.group_bytes = self.fill.group_bytes.saturating_sub(offset_weight(&before.metadata));
            }
        }
        (group.last_changed, group.last_changed_ms) = (context.seq, context.now_ms);
        context.folded.groups.push(command.group.clone());
        Ok(Outcome::Offsets { unknown })
    }

    pub(super) fn delete_offsets(&mut self, context: &mut Context<'_>, command: &DeleteOffsets) -> Result<Outcome, Refusal> {
        let group = Self::claimed(&mut self.groups, context, &command.group, command.claim)?;
        let mut unknown = Vec::new();
        for place in &command.partitions {
            let place = TopicPartition { topic_id: topic_id(&place.topic_id)?, partition: place.partition };
            match group.offsets.remove(&place) {
                Some(offset) => {
                    self.fill.group_bytes = self.fill.group_bytes.saturating_sub(offset_weight(&offset.metadata));
                }
                None => unknown.push(place),
            }
        }
        (group.last_changed, group.last_changed_ms) = (context.seq, context.now_ms);
        context.folded.groups.push(command.group.clone());
        Ok(Outcome::Offsets { unknown })
    }

    pub(super) fn delete_group(&mut self, context: &mut Context<'_>, command: &DeleteGroup) -> Result<Outcome, Refusal> {
        let group = Self::claimed(&mut self.groups, context, &command.group, command.claim)?;
        if !group.is_empty() {
            return Err(Refusal::GroupNotEmpty);
        }
        self.forget_group(&command.group);
        context.folded.groups.push(command.group.clone());
        Ok(Outcome::Done)
    }

    pub(super) fn expire_group(&mut self, context: &mut Context<'_>, command: &ExpireGroup) -> Result<Outcome, Refusal> {
        let group = Self::claimed(&mut self.groups, context, &command.group, command.claim)?;
        if !group.is_empty() {
            return Err(Refusal::GroupNotEmpty);
        }
        if group.last_changed != Seq(command.last_changed) {
            return Err(Refusal::Superseded { what: "the group has changed" });
        }
        self.forget_group(&command.group);
        context.folded.groups.push(command.group.clone());
        Ok(Outcome::Done)
    }
}

/// As Kafka: a consumer that assigns itself may commit to a group without members; everybody else must be a member of
/// this generation.
fn demand_member(group: &Group, command: &CommitOffsets) -> Result<(), Refusal> {
    if command.generation < 0 && command.member_id.is_empty() {
        return if group.is_empty() { Ok(()) } else { Err(Refusal::UnknownMember) };
    }
    if let Some(instance) = &command.group_instance_id {
        let holder = group.members.iter().find(|member| member.group_instance_id.as_ref() == Some(instance));
        match holder {
            None => return Err(Refusal::UnknownMember),
            Some(holder) if holder.member_id != command.member_id => return Err(Refusal::FencedInstance),
            Some(_) => {}
        }
    }
    if group.member(&command.member_id).is_none() {
        return Err(Refusal::UnknownMember);
    }
    if group.generation != command.generation && holds(Rule::Generation) {
        return Err(Refusal::IllegalGeneration);
    }
    Ok(())
}

/// A copy of its own: the decoded bytes are slices of the whole entry, which would stay in memory with them (I11).
pub(crate) fn detached(member: &strandline_commands::GroupMember) -> strandline_commands::GroupMember {
    let mut member = member.clone();
    member.assignment = Bytes::copy_from_slice(&member.assignment);
    for protocol in &mut member.protocols {
        protocol.metadata = Bytes::copy_from_slice(&protocol.metadata);
    }
    member
}

fn member_bytes(member: &strandline_commands::GroupMember) -> usize {
    member.assignment.len() + member.protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len()).sum::<usize>()
}
