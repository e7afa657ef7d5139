//! A consumer that assigns itself and commits rising offsets: what it was told is kept never goes back.

use crate::dice::Dice;
use crate::node::Node;
use crate::world::{TopicInfo, World, caller};
use std::sync::Arc;
use strandline_groups::coordinator_of;
use strandline_types::TopicId;
use strandline_wire::ErrorCode;
use strandline_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use strandline_wire::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use strandline_wire::messages::{OffsetCommitRequest, OffsetFetchRequest};

/// Commits and looks until the run ends, and once more after it.
pub(crate) async fn commit_offsets(world: Arc<World>, number: u32) {
    let dice = Dice::new(world.seed, 400 + u64::from(number));
    let group = format!("group-{number}");
    let mut tried = 0;
    let mut kept = -1;
    let mut last_look = false;
    while !last_look {
        last_look = world.is_ending();
        world.core.runtime.sleep(dice.millis(100, 2_500)).await;
        let Some(topic) = world.all_topics().into_iter().find(|topic| topic.permanent) else { continue };
        let Some(node) = coordinator(&world, &dice, &group) else { continue };
        if dice.chance(60) && !last_look {
            tried += 1;
            let code = commit(&node, &group, &topic, tried).await;
            world.core.trace(format!("{group} {} commits {tried}: {code:?}", node.name()));
            if code == Some(ErrorCode::None) {
                kept = tried;
            }
            continue;
        }
        let least = kept;
        let Some(found) = fetch(&node, &group, &topic).await else { continue };
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
fn coordinator(world: &World, dice: &Dice, group: &str) -> Option<Arc<Node>> {
    let asked = world.any_node(dice)?;
    let id = coordinator_of(&asked.cell.view(), group)?;
    world.live().into_iter().find(|node| node.cell.node_id() == id)
}

async fn commit(node: &Node, group: &str, topic: &TopicInfo, offset: i64) -> Option<ErrorCode> {
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
    let answer = node.ask(node.groups.offset_commit(&caller(), 9, request)).await?;
    Some(ErrorCode::from_code(answer.topics.first()?.partitions.first()?.error_code))
}

async fn fetch(node: &Node, group: &str, topic: &TopicInfo) -> Option<Result<i64, ErrorCode>> {
    let topics = vec![OffsetFetchRequestTopics { name: topic.name.clone(), partition_indexes: vec![0], ..Default::default() }];
    let groups = vec![OffsetFetchRequestGroup { group_id: group.to_owned(), topics: Some(topics), ..Default::default() }];
    let request = OffsetFetchRequest { groups, ..Default::default() };
    let answer = node.ask(node.groups.offset_fetch(&caller(), 8, request)).await?;
    let group = answer.groups.first()?;
    if group.error_code != 0 {
        return Some(Err(ErrorCode::from_code(group.error_code)));
    }
    let partition = group.topics.first()?.partitions.first()?;
    Some(if partition.error_code == 0 { Ok(partition.committed_offset) } else { Err(ErrorCode::from_code(partition.error_code)) })
}
