//! A consumer that assigns itself and commits rising offsets: what it was told is kept never goes back.

use crate::dice::Dice;
use crate::network::Link;
use crate::node::Node;
use crate::world::{TopicInfo, World};
use std::sync::Arc;
use strandline_types::TopicId;
use strandline_wire::ErrorCode;
use strandline_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use strandline_wire::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use strandline_wire::messages::{FindCoordinatorRequest, OffsetCommitRequest, OffsetFetchRequest};

/// Commits and looks until the run ends, and once more after it.
pub(crate) async fn commit_offsets(world: Arc<World>, number: u32) {
    let dice = Dice::new(world.seed, 400 + u64::from(number));
    let link = Link::new(&world, 4_000 + u64::from(number));
    let group = format!("group-{number}");
    let mut tried = 0;
    let mut kept = -1;
    let mut last_look = false;
    while !last_look {
        last_look = world.is_ending();
        world.core.runtime.sleep(dice.millis(100, 2_500)).await;
        let Some(topic) = world.all_topics().into_iter().find(|topic| topic.permanent) else { continue };
        let Some(node) = coordinator(&world, &link, &dice, &group).await else { continue };
        if dice.chance(60) && !last_look {
            tried += 1;
            let code = commit_offset(&link, &node, &group, &topic, tried).await;
            world.core.trace(format!("{group} {} commits {tried}: {code:?}", node.name()));
            if code == Some(ErrorCode::None) {
                kept = tried;
            }
            continue;
        }
        let least = kept;
        let Some(found) = fetch(&link, &node, &group, &topic).await else { continue };
        world.core.trace(format!("{group} {} has {found:?}", node.name()));
        match found {
            Ok(found) if found < least || found > tried => {
                world.core.fail(format!("{} says that {group} is at {found}; {least} was kept, {tried} was tried", node.name()));
            }
            _ => {}
        }
    }
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

async fn fetch(link: &Link, node: &Arc<Node>, group: &str, topic: &TopicInfo) -> Option<Result<i64, ErrorCode>> {
    let topics = vec![OffsetFetchRequestTopics { name: topic.name.clone(), partition_indexes: vec![0], ..Default::default() }];
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
