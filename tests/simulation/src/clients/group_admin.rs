//! Operators who delete groups, and what groups have committed. What they are told is held against the log: 'done' must be in it, what is there
//! must not be said to be missing, and only a group with members may keep what it has.

use super::groups::{Loner, coordinator, topic_of};
use super::team::Team;
use crate::committed::Deletion;
use crate::dice::Dice;
use crate::happenings::Happening;
use crate::network::Link;
use crate::node::Node;
use crate::world::{TopicInfo, World};
use std::sync::Arc;
use strandline_index::Group;
use strandline_types::TopicPartition;
use strandline_wire::ErrorCode;
use strandline_wire::messages::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use strandline_wire::messages::{DeleteGroupsRequest, OffsetDeleteRequest};

/// Who may be in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Members {
    Nobody,
    /// Of consumers' own protocol: what they read is known.
    Consumers,
    /// Of another one.
    Others,
}

/// A group, and the topic for which it commits.
struct Target {
    group: String,
    members: Members,
    topic: TopicInfo,
}

/// By the log, before and after.
#[derive(Debug, Clone, Copy)]
struct Standing {
    is_there: bool,
    /// How often it was deleted.
    deletions: u64,
}

fn targets(world: &World, loners: &[Arc<Loner>], teams: &[Arc<Team>]) -> Vec<Target> {
    let topic = topic_of(world);
    let alone = loners.iter().zip(topic.iter().cycle()).map(|(loner, topic)| Target {
        group: loner.name().to_owned(),
        members: Members::Nobody,
        topic: topic.clone(),
    });
    let together = teams.iter().map(|team| Target {
        group: team.name().to_owned(),
        members: if team.are_consumers() { Members::Consumers } else { Members::Others },
        topic: team.topic().clone(),
    });
    alone.chain(together).collect()
}

/// Until the run ends; seldom enough that groups have something to lose.
pub(crate) async fn administer_groups(world: Arc<World>, loners: Vec<Arc<Loner>>, teams: Vec<Arc<Team>>) {
    let dice = Dice::new(world.seed, 502);
    let targets = targets(&world, &loners, &teams);
    for number in 0.. {
        world.core.runtime.sleep(dice.millis(4_000, 16_000)).await;
        let Some(target) = dice.pick(&targets).filter(|_| !world.is_ending()) else { return };
        // A tool that connects each time: its connection is no older than the claim.
        let link = Link::new(&world, 50_000 + number);
        let Some(node) = coordinator(&world, &link, &dice, &target.group).await else { continue };
        if dice.chance(50) {
            target.delete(&world, &link, &node).await;
        } else {
            let partitions = world.topic(target.topic.id).map_or(1, |topic| topic.partitions);
            // A group without members commits for the first one.
            let partitions = if target.members == Members::Nobody { 1 } else { partitions };
            let partition = dice.below(partitions as u64) as i32;
            target.delete_offset(&world, &link, &node, TopicPartition { topic_id: target.topic.id, partition }).await;
        }
    }
}

/// 'Done': it was deleted since, or was not there.
fn may_be_gone(before: Standing, after: Standing) -> bool {
    after.deletions > before.deletions || !before.is_there || !after.is_there
}

/// Whether this is surely not done, now and later.
fn is_surely_not_done(told: Option<ErrorCode>) -> bool {
    matches!(
        told,
        Some(
            ErrorCode::GroupIdNotFound
                | ErrorCode::NonEmptyGroup
                | ErrorCode::GroupSubscribedToTopic
                | ErrorCode::NotCoordinator
                | ErrorCode::UnknownTopicOrPartition
        )
    )
}

impl Target {
    /// Of the group, or of what it has committed of a partition; by what this node can have told as well, if one is about to be asked.
    fn standing(&self, world: &World, node: Option<&Node>, at: Option<TopicPartition>) -> Standing {
        let has = |group: Option<&Group>| group.is_some_and(|group| at.is_none_or(|at| group.offsets.contains_key(&at)));
        let is_known = node.is_none_or(|node| has(world.known_group(node, &self.group).as_deref()));
        let oracle = world.core.oracle();
        let is_there = has(oracle.index().groups.get(&self.group).map(AsRef::as_ref));
        let committed = &oracle.committed;
        let deletions = at.map_or_else(|| committed.life(&self.group), |at| committed.deletions(&self.group, at));
        Standing { is_there: is_there && is_known, deletions }
    }

    async fn delete(&self, world: &World, link: &Link, node: &Arc<Node>) {
        let before = self.standing(world, Some(node), None);
        let deletion = Deletion::Group(self.group.clone());
        world.core.oracle().committed.ask(deletion.clone());
        let request = DeleteGroupsRequest { groups_names: vec![self.group.clone()] };
        let answer = link.call(node, 2, &request).await;
        let told = answer.and_then(|answer| Some(ErrorCode::from_code(answer.results.first()?.error_code)));
        let after = self.standing(world, None, None);
        let is_so = match told {
            // Here one that is not there is an error.
            Some(ErrorCode::None) => after.deletions > before.deletions,
            told => self.may_be_told(told, before, after),
        };
        self.finish(world, told, &deletion, is_so, &format!("{} deletes {}: {told:?}", node.name(), self.group));
    }

    async fn delete_offset(&self, world: &World, link: &Link, node: &Arc<Node>, at: TopicPartition) {
        let before = self.standing(world, Some(node), Some(at));
        let group_before = self.standing(world, Some(node), None);
        let deletion = Deletion::Offset(self.group.clone(), at);
        world.core.oracle().committed.ask(deletion.clone());
        let partitions = vec![OffsetDeleteRequestPartition { partition_index: at.partition }];
        let topics = vec![OffsetDeleteRequestTopic { name: self.topic.name.clone(), partitions }];
        let answer = link.call(node, 0, &OffsetDeleteRequest { group_id: self.group.clone(), topics }).await;
        let told = answer.and_then(|answer| match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => Some(ErrorCode::from_code(answer.topics.first()?.partitions.first()?.error_code)),
            code => Some(code),
        });
        let after = self.standing(world, None, Some(at));
        let is_so = match told {
            Some(ErrorCode::None) => may_be_gone(before, after),
            told => self.may_be_told(told, group_before, self.standing(world, None, None)),
        };
        let what = format!("{} deletes what {} has committed of {}-{}", node.name(), self.group, self.topic.name, at.partition);
        self.finish(world, told, &deletion, is_so, &format!("{what}: {told:?}"));
    }

    /// Whether a 'no' can be so; of the group, before and after.
    fn may_be_told(&self, told: Option<ErrorCode>, before: Standing, after: Standing) -> bool {
        match told {
            Some(ErrorCode::GroupIdNotFound) => may_be_gone(before, after),
            Some(ErrorCode::NonEmptyGroup) => self.members != Members::Nobody,
            Some(ErrorCode::GroupSubscribedToTopic) => self.members == Members::Consumers,
            // What is asked for is right, and the topic stays.
            Some(ErrorCode::InvalidGroupId | ErrorCode::InvalidRequest | ErrorCode::UnknownTopicOrPartition) => false,
            _ => true,
        }
    }

    fn finish(&self, world: &World, told: Option<ErrorCode>, deletion: &Deletion, is_so: bool, what: &str) {
        world.core.trace(what);
        if is_surely_not_done(told) {
            world.core.oracle().committed.take_back(deletion);
        }
        if matches!(told, Some(ErrorCode::NonEmptyGroup | ErrorCode::GroupSubscribedToTopic)) {
            world.core.count(Happening::RefusedDeletions);
        }
        if !is_so {
            world.core.fail(format!("what was told is not so (I1): {what}"));
        }
    }
}
