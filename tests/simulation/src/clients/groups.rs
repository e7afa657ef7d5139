//! A consumer that assigns itself and commits rising offsets: what it was told is kept never goes back, unless an operator deletes it.

use super::kept::Kept;
use crate::dice::Dice;
use crate::network::Link;
use crate::node::Node;
use crate::world::{TopicInfo, World};
use std::sync::Arc;
use std::time::Duration;
use strandline_types::{TopicId, TopicPartition};
use strandline_wire::ErrorCode;
use strandline_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use strandline_wire::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use strandline_wire::messages::{FindCoordinatorRequest, OffsetCommitRequest, OffsetFetchRequest};

/// Tries to be told an offset once there are no faults.
const PATIENCE: usize = 60;

/// A group without members, and what its consumer was told.
pub(crate) struct Loner {
    number: u32,
    name: String,
    kept: Kept,
}

/// Its one partition.
fn first_partition(topic: &TopicInfo) -> TopicPartition {
    TopicPartition { topic_id: topic.id, partition: 0 }
}

impl Loner {
    pub fn new(number: u32) -> Arc<Self> {
        let name = format!("group-{number}");
        Arc::new(Self { number, kept: Kept::new(&name), name })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    async fn commit(&self, world: &World, link: &Link, node: &Arc<Node>, topic: &TopicInfo) {
        let at = first_partition(topic);
        let offset = self.kept.tried(at) + 1;
        self.kept.tries(at, offset);
        let deletions = self.kept.deletions(world, at);
        let code = commit_offset(link, node, &self.name, topic, offset).await;
        world.core.trace(format!("{} {} commits {offset}: {code:?}", self.name, node.name()));
        if code == Some(ErrorCode::None) {
            self.kept.has(world, at, offset, deletions);
        }
    }

    /// What a node says is committed, held against what is known. False if it does not say.
    async fn look(&self, world: &World, link: &Link, node: &Arc<Node>, topic: &TopicInfo) -> bool {
        let at = first_partition(topic);
        let asked = self.kept.ask(world, node, at);
        let Some(found) = committed(link, node, &self.name, topic, at.partition).await else { return false };
        world.core.trace(format!("{} {} has {found:?}", self.name, node.name()));
        let Ok(found) = found else { return false };
        self.kept.check(world, node, at, asked, found);
        true
    }
}

/// The topic whose offsets are committed: it is never deleted, and with it what is committed.
pub(super) fn topic_of(world: &World) -> Option<TopicInfo> {
    world.all_topics().into_iter().find(|topic| topic.permanent)
}

/// Commits and looks until the run ends, and once more after it.
pub(crate) async fn commit_offsets(world: Arc<World>, loner: Arc<Loner>) {
    let dice = Dice::new(world.seed, 400 + u64::from(loner.number));
    let link = Link::new(&world, 4_000 + u64::from(loner.number));
    let mut last_look = false;
    while !last_look {
        last_look = world.is_ending();
        world.core.runtime.sleep(dice.millis(100, 2_500)).await;
        let Some(topic) = topic_of(&world) else { continue };
        let Some(node) = coordinator(&world, &link, &dice, &loner.name).await else { continue };
        if dice.chance(60) && !last_look {
            loner.commit(&world, &link, &node, &topic).await;
        } else {
            loner.look(&world, &link, &node, &topic).await;
        }
    }
}

/// Once all is quiet somebody coordinates the group, and it has what its consumer was told is kept: one that has vanished has nothing.
pub(crate) async fn offsets_are_kept(world: &Arc<World>, loner: &Loner) {
    let Some(topic) = topic_of(world) else { return };
    let dice = Dice::new(world.seed, 800 + u64::from(loner.number));
    let link = Link::new(world, 8_000 + u64::from(loner.number));
    for _ in 0..PATIENCE {
        if world.core.has_failed() {
            return;
        }
        if let Some(node) = coordinator(world, &link, &dice, &loner.name).await
            && loner.look(world, &link, &node, &topic).await
        {
            return;
        }
        world.core.runtime.sleep(Duration::from_secs(1)).await;
    }
    world.core.fail(format!("nobody says what {} has committed, without any fault", loner.name));
}

/// Whoever some node says it is.
pub(crate) async fn coordinator(world: &World, link: &Link, dice: &Dice, group: &str) -> Option<Arc<Node>> {
    let asked = world.any_node(dice)?;
    let request = FindCoordinatorRequest { coordinator_keys: vec![group.to_owned()], ..FindCoordinatorRequest::default() };
    let answer = link.call(&asked, 4, &request).await?;
    let found = answer.coordinators.first().filter(|found| found.error_code == 0)?;
    world.live().into_iter().find(|node| node.cell.node_id() == found.node_id)
}

/// Commits an offset of the topic's first partition, as a consumer that assigns itself.
pub(crate) async fn commit_offset(
    link: &Link,
    node: &Arc<Node>,
    group: &str,
    topic: &TopicInfo,
    offset: i64,
) -> Option<ErrorCode> {
    let partitions = vec![OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: offset,
        committed_leader_epoch: -1,
        committed_metadata: Some("m".to_owned()),
    }];
    let request = OffsetCommitRequest {
        group_id: group.to_owned(),
        topics: vec![OffsetCommitRequestTopic { name: topic.name.clone(), topic_id: TopicId::ZERO, partitions }],
        ..OffsetCommitRequest::default()
    };
    let answer = link.call(node, 9, &request).await?;
    Some(ErrorCode::from_code(answer.topics.first()?.partitions.first()?.error_code))
}

/// What a node says is committed of a partition. None without an answer.
pub(super) async fn committed(
    link: &Link,
    node: &Arc<Node>,
    group: &str,
    topic: &TopicInfo,
    partition: i32,
) -> Option<Result<i64, ErrorCode>> {
    let partition_indexes = vec![partition];
    let topics = vec![OffsetFetchRequestTopics { name: topic.name.clone(), partition_indexes, ..Default::default() }];
    let groups = vec![OffsetFetchRequestGroup { group_id: group.to_owned(), topics: Some(topics), ..Default::default() }];
    let request = OffsetFetchRequest { groups, ..Default::default() };
    let answer = link.call(node, 8, &request).await?;
    let group = answer.groups.first()?;
    if group.error_code != 0 {
        return Some(Err(ErrorCode::from_code(group.error_code)));
    }
    let partition = group.topics.first()?.partitions.first()?;
    Some(if partition.error_code == 0 { Ok(partition.committed_offset) } else { Err(ErrorCode::from_code(partition.error_code)) })
}
