//! Consumers: any offset, from any node, hot, fresh or sealed; and ends of logs, which must not be old.

use super::fetch::{Terms, Want, check_answer, check_fetched, fetch};
use super::together::read_several;
use crate::dice::Dice;
use crate::network::Link;
use crate::node::Node;
use crate::world::{TopicInfo, World};
use std::sync::Arc;
use strandline_types::TopicPartition;
use strandline_wire::ErrorCode;
use strandline_wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};

/// Reads until the run ends.
pub(crate) async fn consume(world: Arc<World>, consumer: u32) {
    let dice = Dice::new(world.seed, 300 + u64::from(consumer));
    let link = Link::new(&world, 3_000 + u64::from(consumer));
    while !world.is_ending() {
        world.core.runtime.sleep(dice.millis(20, 1_200)).await;
        let (Some(node), Some((topic, at))) = (world.any_node(&dice), world.any_partition(&dice)) else { continue };
        match dice.below(10) {
            0 | 1 => list_end(&world, &link, &node, &topic, at).await,
            2 => beyond_the_end(&world, &link, &node, &topic, at, &dice).await,
            3..=5 => read_several(&world, &link, &node, &dice).await,
            _ => read_once(&world, &link, &node, &topic, at, &dice).await,
        }
    }
}

/// One partition alone, in answers of any size.
async fn fetch_one(
    world: &World,
    link: &Link,
    node: &Arc<Node>,
    want: &Want,
    before: (i64, i64),
    max_wait_ms: i32,
) -> Option<i64> {
    let terms = Terms { max_bytes: i32::MAX, max_wait_ms };
    let data = fetch(world, link, node, std::slice::from_ref(want), terms).await?.pop()?;
    check_fetched(world, node, want, before, data, true)
}

/// Where a consumer may be, or think that it is.
pub(super) fn some_offset(dice: &Dice, (log_start, end): (i64, i64)) -> i64 {
    match dice.below(6) {
        0 => log_start,
        1 => end.saturating_sub(1).max(log_start),
        2 => end,
        3 => log_start.saturating_sub(1).max(0),
        _ => log_start + dice.below((end - log_start).max(1) as u64) as i64,
    }
}

/// Bytes of an answer that it may have at most; often fewer than there are.
pub(super) fn some_bytes(dice: &Dice) -> i32 {
    if dice.chance(50) { dice.between(1, 600) as i32 } else { dice.between(600, 40_000) as i32 }
}

pub(super) fn some_wait_ms(dice: &Dice) -> i32 {
    if dice.chance(30) { dice.between(1, 1_500) as i32 } else { 0 }
}

async fn read_once(world: &World, link: &Link, node: &Arc<Node>, topic: &TopicInfo, at: TopicPartition, dice: &Dice) {
    let Some(bounds) = world.known_bounds(node, at) else { return };
    let want = Want { topic: topic.clone(), at, offset: some_offset(dice, bounds), max_bytes: some_bytes(dice) };
    fetch_one(world, link, node, &want, bounds, some_wait_ms(dice)).await;
}

/// Reads on from an offset as clients do, where nothing is in the way: what comes next, or why there is no answer. None if the node
/// begins anew, or retention was there first.
async fn must_read(
    world: &World,
    link: &Link,
    node: &Arc<Node>,
    topic: &TopicInfo,
    at: TopicPartition,
    offset: i64,
    max_bytes: i32,
) -> Option<i64> {
    let before = world.known_bounds(node, at)?;
    let want = Want { topic: topic.clone(), at, offset, max_bytes };
    let next = fetch_one(world, link, node, &want, before, 0).await;
    let is_ended = node.cell.is_stopped() || node.gate.is_dead();
    let is_taken = world.core.oracle().bounds(at).is_none_or(|(log_start, _)| log_start > offset);
    if next.is_none() && !is_ended && !is_taken {
        let what = format!("{} {}-{}", node.name(), topic.name, at.partition);
        world.core.fail(format!("{what}: no answer for offset {offset} over a connection, without any fault (I5)"));
    }
    next.filter(|next| *next > offset)
}

/// Reads what was just acknowledged.
pub(crate) async fn read_back(world: &World, link: &Link, node: &Arc<Node>, topic: &TopicInfo, at: TopicPartition, offset: i64) {
    if must_read(world, link, node, topic, at, offset, 40_000).await.is_some() && !world.core.ledger().has_seen(at, offset) {
        let what = format!("{} {}-{}", node.name(), topic.name, at.partition);
        world.core.fail(format!("{what}: no record at offset {offset}, which was acknowledged (I1)"));
    }
}

/// The whole of a partition over a connection. False if the node begins anew meanwhile.
pub(crate) async fn read_over(
    world: &World,
    link: &Link,
    node: &Arc<Node>,
    topic: &TopicInfo,
    at: TopicPartition,
    max_bytes: i32,
) -> bool {
    let Some((log_start, end)) = world.known_bounds(node, at) else { return false };
    let mut next = log_start;
    while next < end && !world.core.has_failed() {
        next = match must_read(world, link, node, topic, at, next, max_bytes).await {
            Some(after) => after,
            None if node.cell.is_stopped() || node.gate.is_dead() => return false,
            None => match world.core.oracle().bounds(at) {
                Some((log_start, _)) => next.max(log_start),
                None => return false,
            },
        };
    }
    true
}

/// 'The end' is never older than the question.
async fn list_end(world: &World, link: &Link, node: &Arc<Node>, topic: &TopicInfo, at: TopicPartition) {
    if !topic.permanent {
        return;
    }
    let Some((log_start, end)) = world.known_bounds(node, at) else { return };
    for (timestamp, least) in [(-1, end), (-2, log_start)] {
        let partition = ListOffsetsPartition { partition_index: at.partition, timestamp, ..ListOffsetsPartition::default() };
        let topics = vec![ListOffsetsTopic { name: topic.name.clone(), partitions: vec![partition] }];
        let request = ListOffsetsRequest { replica_id: -1, topics, ..ListOffsetsRequest::default() };
        let Some(answer) = link.call(node, 8, &request).await else { return };
        let answer = &answer.topics[0].partitions[0];
        let code = ErrorCode::from_code(answer.error_code);
        let now = world.core.oracle().bounds(at).unwrap_or_default();
        let most = if timestamp == -1 { now.1 } else { now.0 };
        world.core.trace(format!("list {} {}-{} {timestamp}: {code} {}", node.name(), topic.name, at.partition, answer.offset));
        match code {
            ErrorCode::None if answer.offset < least || answer.offset > most => world.core.fail(format!(
                "{} says {} for {timestamp} of {}-{}, it was {least} when it was asked and is {most}",
                node.name(),
                answer.offset,
                topic.name,
                at.partition
            )),
            ErrorCode::None => {}
            code if world.is_calm() => world.core.fail(format!("list offsets: {code}, without any fault")),
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId | ErrorCode::InvalidRequest => {
                world.core.fail(format!("list offsets of {}: {code}", topic.name));
            }
            _ => {}
        }
    }
}

/// An offset that a consumer got from one node must not be 'out of range' at another that lags.
async fn beyond_the_end(world: &World, link: &Link, node: &Arc<Node>, topic: &TopicInfo, at: TopicPartition, dice: &Dice) {
    let Some((log_start, end)) = world.known_bounds(node, at) else { return };
    let want = Want { topic: topic.clone(), at, offset: end + dice.below(3) as i64, max_bytes: 1_000 };
    fetch_one(world, link, node, &want, (log_start, end), 0).await;
}

/// The whole of a partition through one node: every offset once, and everything acknowledged (I1, I5, I6).
pub(crate) async fn read_all(world: &World, node: &Node, topic: &TopicInfo, at: TopicPartition, max_bytes: usize) {
    let Some((log_start, end)) = world.core.oracle().bounds(at) else { return };
    let what = format!("{} reading {}-{}", node.name(), topic.name, at.partition);
    // Every answer has all of its offsets, so what was acknowledged is read, unless it lies beyond the end.
    if let Some((offset, id)) = world.core.ledger().acked_from(at, end).first_key_value() {
        return world.core.fail(format!("{what}: offset {offset} was acknowledged to {id:x}, and the log ends at {end} (I1)"));
    }
    let mut next = log_start;
    while next < end {
        // Its view may be trimmed away under it: it begins anew, and is read then.
        let Some(read) = node.ask(node.reader.read_records(at, next, max_bytes)).await else { return };
        let records = match read {
            Ok(records) => records,
            Err(_) if node.cell.is_stopped() || node.gate.is_dead() => return,
            // Retention was there first.
            Err(_) if world.core.oracle().bounds(at).is_none_or(|(log_start, _)| log_start > next) => {
                let Some((log_start, _)) = world.core.oracle().bounds(at) else { return };
                next = log_start;
                continue;
            }
            Err(error) => return world.core.fail(format!("{what}: {error}")),
        };
        let limit = world.core.oracle().bounds(at).map_or(end, |(_, end)| end);
        let Some(after) = check_answer(world, topic, at, next, records, limit) else { return };
        if after <= next {
            return world.core.fail(format!("{what}: no answer for offset {next}, the log ends at {end} (I5)"));
        }
        next = after;
    }
}
