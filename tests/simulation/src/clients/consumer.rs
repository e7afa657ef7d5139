//! Consumers: any offset, from any node, hot, fresh or sealed; and ends of logs, which must not be old.

use crate::dice::Dice;
use crate::ledger::Seen;
use crate::network::Link;
use crate::node::Node;
use crate::record::{Record, take_apart};
use crate::world::{TopicInfo, World};
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_types::{TimestampType, TopicPartition};
use strandline_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use strandline_wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use strandline_wire::{ErrorCode, Records};

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
            _ => read_once(&world, &link, &node, &topic, at, &dice).await,
        }
    }
}

async fn fetch(
    link: &Link,
    node: &Arc<Node>,
    topic: &TopicInfo,
    at: TopicPartition,
    offset: i64,
    max_bytes: i32,
    max_wait_ms: i32,
) -> Option<PartitionData> {
    let partition = FetchPartition {
        partition: at.partition,
        fetch_offset: offset,
        partition_max_bytes: max_bytes,
        ..FetchPartition::default()
    };
    let topics = vec![FetchTopic { topic_id: topic.id, partitions: vec![partition], ..FetchTopic::default() }];
    let request =
        FetchRequest { max_bytes: i32::MAX, min_bytes: 1, max_wait_ms, session_epoch: -1, topics, ..FetchRequest::default() };
    let mut answer = link.call(node, 17, &request).await?;
    if answer.error_code != 0 {
        return None;
    }
    answer.responses.pop()?.partitions.pop()
}

async fn read_once(world: &World, link: &Link, node: &Arc<Node>, topic: &TopicInfo, at: TopicPartition, dice: &Dice) {
    let Some((log_start, end)) = world.known_bounds(node, at) else { return };
    let offset = match dice.below(6) {
        0 => log_start,
        1 => end.saturating_sub(1).max(log_start),
        2 => end,
        3 => log_start.saturating_sub(1).max(0),
        _ => log_start + dice.below((end - log_start).max(1) as u64) as i64,
    };
    let max_bytes = if dice.chance(50) { dice.between(1, 600) } else { dice.between(600, 40_000) } as i32;
    let wait_ms = if dice.chance(30) { dice.between(1, 1_500) as i32 } else { 0 };
    let Some(data) = fetch(link, node, topic, at, offset, max_bytes, wait_ms).await else { return };
    check_fetched(world, node, topic, at, offset, (log_start, end), data);
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
    let data = fetch(link, node, topic, at, offset, max_bytes, 0).await;
    let next = data.and_then(|data| check_fetched(world, node, topic, at, offset, before, data));
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

/// What may be told, by what was and is true. The first offset behind the records, if there are any.
fn check_fetched(
    world: &World,
    node: &Node,
    topic: &TopicInfo,
    at: TopicPartition,
    offset: i64,
    before: (i64, i64),
    data: PartitionData,
) -> Option<i64> {
    let now = world.core.oracle().bounds(at);
    let code = ErrorCode::from_code(data.error_code);
    let what = format!("fetch {} {}-{} from {offset}", node.name(), topic.name, at.partition);
    match code {
        ErrorCode::None => {}
        ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition if now.is_none() => return None,
        ErrorCode::OffsetOutOfRange => {
            // In range at both ends of the request, it was in range all the time: neither end goes back.
            let in_range = offset <= before.1 && now.is_some_and(|(log_start, _)| offset >= log_start);
            if in_range {
                world.core.fail(format!("{what}: out of range, and the log was [{}, {}) and is {now:?}", before.0, before.1));
            }
            return None;
        }
        ErrorCode::KafkaStorageError | ErrorCode::RequestTimedOut | ErrorCode::NotLeaderOrFollower => {
            world.core.trace(format!("{what}: {code}"));
            if world.is_calm() && !node.cell.is_stopped() {
                world.core.fail(format!("{what}: {code}, without any fault"));
            }
            return None;
        }
        other => {
            world.core.fail(format!("{what}: {other}"));
            return None;
        }
    }
    let (_, end) = now?;
    if data.high_watermark > end {
        world.core.fail(format!("{what}: the high watermark {} lies beyond the log's end {end} (I1)", data.high_watermark));
    }
    let records = data.records.unwrap_or_default();
    if records.is_empty() {
        world.core.trace(format!("{what}: nothing"));
        if world.is_calm() && offset < before.1 && offset >= now.map_or(0, |(log_start, _)| log_start) {
            world.core.fail(format!("{what}: nothing, and the log ends at {} (I5)", before.1));
        }
        return None;
    }
    let next = check_answer(world, topic, at, offset, records, end)?;
    world.core.trace(format!("{what}: up to {next}"));
    world.core.has_read();
    Some(next)
}

/// Holds the records of an answer against what was sent, acknowledged and seen before: each offset up to the first after them, which is
/// returned, has its record (I1, I5). A hole is no excuse: none comes to be (see the oracle).
pub(crate) fn check_answer(
    world: &World,
    topic: &TopicInfo,
    at: TopicPartition,
    offset: i64,
    records: Records,
    end: i64,
) -> Option<i64> {
    let answer = match take_apart(records, offset) {
        Ok(answer) => answer,
        Err(what) => {
            world.core.fail(format!("{}-{}: {what}", topic.name, at.partition));
            return None;
        }
    };
    if answer.next > end {
        world.core.fail(format!("{}-{}: records up to {}, the log ends at {end} (I1)", topic.name, at.partition, answer.next));
    }
    let given: BTreeSet<i64> = answer.records.iter().map(|(offset, ..)| *offset).collect();
    // What retention has just taken need not be there.
    let log_start = world.core.oracle().bounds(at).map_or(i64::MAX, |(log_start, _)| log_start);
    let missing = (offset.max(log_start)..answer.next).find(|offset| !given.contains(offset));
    if let Some(missing) = missing {
        world.core.fail(format!(
            "{}-{}: no record at offset {missing} in an answer of [{offset}, {}) (I5)",
            topic.name, at.partition, answer.next
        ));
        return None;
    }
    for (offset, record, timestamp_type) in answer.records {
        if let Err(what) = check_record(world, topic, at, offset, &record, timestamp_type) {
            world.core.fail(format!("{}-{} offset {offset}: {what}", topic.name, at.partition));
            return None;
        }
    }
    Some(answer.next)
}

pub(crate) fn check_record(
    world: &World,
    topic: &TopicInfo,
    at: TopicPartition,
    offset: i64,
    record: &Record,
    timestamp_type: TimestampType,
) -> Result<(), String> {
    let id = record.id().ok_or_else(|| "a record without an id".to_owned())?;
    let mut sent = Record::of(id, world.start_ms);
    if topic.log_append_time {
        let appended_ms = world.core.oracle().retention.append_time_ms(at, offset);
        sent.timestamp_ms = appended_ms.ok_or_else(|| format!("record {id:x} is in no batch of the log (I1)"))?;
    }
    if sent != *record {
        return Err(format!("record {id:x} came back changed (I6): {record:?}, sent was {sent:?}"));
    }
    if (timestamp_type == TimestampType::LogAppend) != topic.log_append_time {
        return Err(format!("record {id:x} has a timestamp of type {timestamp_type:?} (I6)"));
    }
    world.core.ledger().saw(at, offset, Seen { id, timestamp_ms: record.timestamp_ms })
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
    let offset = end + dice.below(3) as i64;
    let Some(data) = fetch(link, node, topic, at, offset, 1_000, 0).await else { return };
    check_fetched(world, node, topic, at, offset, (log_start, end), data);
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
