//! Fetches of one partition or of several, and what each partition's answer is held against.

use crate::ledger::Seen;
use crate::network::Link;
use crate::node::Node;
use crate::record::{Record, take_apart};
use crate::world::{TopicInfo, World};
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_types::{TimestampType, TopicId, TopicPartition};
use strandline_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use strandline_wire::{ErrorCode, Records};

/// What is asked for of a partition.
pub(super) struct Want {
    pub topic: TopicInfo,
    pub at: TopicPartition,
    pub offset: i64,
    pub max_bytes: i32,
}

impl Want {
    /// Who is asked, and for what.
    fn words(&self, node: &Node) -> String {
        format!("fetch {} {}-{} from {}", node.name(), self.topic.name, self.at.partition, self.offset)
    }
}

/// How much is asked for, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub max_bytes: i32,
    pub max_wait_ms: i32,
}

/// One request; the answer for each partition, in the order of the wants. None without an answer.
pub(super) async fn fetch(
    world: &World,
    link: &Link,
    node: &Arc<Node>,
    wants: &[Want],
    terms: Terms,
) -> Option<Vec<PartitionData>> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for want in wants {
        let partition = FetchPartition {
            partition: want.at.partition,
            fetch_offset: want.offset,
            partition_max_bytes: want.max_bytes,
            ..FetchPartition::default()
        };
        match topics.iter_mut().find(|topic| topic.topic_id == want.topic.id) {
            Some(topic) => topic.partitions.push(partition),
            None => {
                topics.push(FetchTopic { topic_id: want.topic.id, partitions: vec![partition], ..FetchTopic::default() });
            }
        }
    }
    let Terms { max_bytes, max_wait_ms } = terms;
    let request = FetchRequest { max_bytes, min_bytes: 1, max_wait_ms, session_epoch: -1, topics, ..FetchRequest::default() };
    let answer = link.call(node, 17, &request).await?;
    if answer.error_code != 0 {
        return None;
    }
    // Of a node that stops: clients ask another.
    if answer.responses.is_empty() && !world.is_calm() {
        return None;
    }
    let mut given = Vec::new();
    for topic in answer.responses {
        let id = topic.topic_id;
        given.extend(topic.partitions.into_iter().map(|data| (id, data)));
    }
    let mut found = Vec::new();
    for want in wants {
        let is_it = |(id, data): &(TopicId, PartitionData)| *id == want.at.topic_id && data.partition_index == want.at.partition;
        match given.iter().position(is_it) {
            Some(place) => found.push(given.remove(place).1),
            None => {
                world.core.fail(format!("{}: nothing is said of it", want.words(node)));
                return None;
            }
        }
    }
    if let Some((id, data)) = given.first() {
        world.core.fail(format!("{} answers for {id}-{}, which nobody has asked for", node.name(), data.partition_index));
    }
    Some(found)
}

/// What may be told, by what was and is true. The first offset behind the records, if there are any. Beside other partitions there need
/// not be any: an answer has so many bytes.
pub(super) fn check_fetched(
    world: &World,
    node: &Node,
    want: &Want,
    before: (i64, i64),
    data: PartitionData,
    is_alone: bool,
) -> Option<i64> {
    let Want { topic, at, offset, .. } = want;
    let (at, offset) = (*at, *offset);
    let now = world.core.oracle().bounds(at);
    let code = ErrorCode::from_code(data.error_code);
    let what = want.words(node);
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
        if is_alone && world.is_calm() && offset < before.1 && offset >= now.map_or(0, |(log_start, _)| log_start) {
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
