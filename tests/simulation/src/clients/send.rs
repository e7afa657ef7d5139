//! Batches on their way, as a producer's connection sends them: of one partition, or of several in one request.

use crate::dice::Dice;
use crate::happenings::Happening;
use crate::ledger::RecordId;
use crate::network::{Link, patience};
use crate::node::Node;
use crate::world::{TopicInfo, World};
use bytes::Bytes;
use std::sync::Arc;
use strandline_client::Answer;
use strandline_types::{TopicId, TopicPartition};
use strandline_wire::ErrorCode;
use strandline_wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};

/// What a producer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is there, from this offset on.
    Acked(i64),
    Error(ErrorCode),
    /// The connection was lost.
    Nothing,
}

/// A batch of a request.
pub(crate) struct Part {
    pub topic: TopicInfo,
    pub at: TopicPartition,
    pub ids: Vec<RecordId>,
    pub records: Bytes,
}

/// Up to so many partitions, of any topics, each once.
pub(crate) fn some_partitions(world: &World, dice: &Dice, most: u64) -> Vec<(TopicInfo, TopicPartition)> {
    let mut some: Vec<(TopicInfo, TopicPartition)> = Vec::new();
    for _ in 0..most {
        let Some((topic, at)) = world.any_partition(dice) else { break };
        if some.iter().all(|(_, other)| *other != at) {
            some.push((topic, at));
        }
    }
    some
}

/// Puts a batch on its way. None if there is no connection.
pub(crate) async fn send(
    node: &Arc<Node>,
    link: &Link,
    topic: &TopicInfo,
    at: TopicPartition,
    records: Bytes,
    by_name: bool,
) -> Option<Answer<ProduceRequest>> {
    let part = Part { topic: topic.clone(), at, ids: Vec::new(), records };
    send_parts(node, link, &[part], by_name).await
}

/// Puts batches on their way in one request, of each partition one.
pub(crate) async fn send_parts(node: &Arc<Node>, link: &Link, parts: &[Part], by_name: bool) -> Option<Answer<ProduceRequest>> {
    let mut topic_data: Vec<TopicProduceData> = Vec::new();
    for Part { topic, at, records, .. } in parts {
        let (name, topic_id) = if by_name { (topic.name.clone(), TopicId::ZERO) } else { (String::new(), topic.id) };
        let partition = PartitionProduceData { index: at.partition, records: Some(records.clone()) };
        match topic_data.iter_mut().find(|data| data.name == name && data.topic_id == topic_id) {
            Some(data) => data.partition_data.push(partition),
            None => topic_data.push(TopicProduceData { name, topic_id, partition_data: vec![partition] }),
        }
    }
    let request = ProduceRequest { acks: -1, timeout_ms: 15_000, topic_data, ..ProduceRequest::default() };
    link.to(node).await?.submit(if by_name { 12 } else { 13 }, &request).ok()
}

/// Waits for the answer, and holds it against what is there.
pub(crate) async fn answer(
    world: &World,
    node: &Node,
    sent: Option<Answer<ProduceRequest>>,
    topic: &TopicInfo,
    at: TopicPartition,
    ids: &[RecordId],
) -> Told {
    let part = Part { topic: topic.clone(), at, ids: ids.to_vec(), records: Bytes::new() };
    answer_parts(world, node, sent, &[part]).await.pop().unwrap_or(Told::Nothing)
}

/// The same of a request of several: each batch is judged by itself.
pub(crate) async fn answer_parts(world: &World, node: &Node, sent: Option<Answer<ProduceRequest>>, parts: &[Part]) -> Vec<Told> {
    let Some(sent) = sent else { return vec![Told::Nothing; parts.len()] };
    if parts.len() > 1 {
        world.core.count(Happening::ManyProduced);
    }
    let Ok(answer) = sent.wait(patience(world)).await else {
        parts.iter().for_each(|_| world.core.count(Happening::UnansweredBatches));
        return vec![Told::Nothing; parts.len()];
    };
    let answered: usize = answer.responses.iter().map(|topic| topic.partition_responses.len()).sum();
    if answered != parts.len() {
        world.core.fail(format!("{} was sent {} batches, and answers for {answered}", node.name(), parts.len()));
    }
    let mut told = Vec::new();
    for part in parts {
        match answer_for(&answer, part) {
            Some(partition) => told.push(judge(world, node, part, partition)),
            None => {
                world.core.fail(format!("{} says nothing of {}-{}", node.name(), part.topic.name, part.at.partition));
                told.push(Told::Nothing);
            }
        }
    }
    let acked = told.iter().filter(|told| matches!(told, Told::Acked(_))).count();
    if (1..parts.len()).contains(&acked) {
        world.core.count(Happening::MixedAnswers);
    }
    told
}

fn answer_for<'a>(answer: &'a ProduceResponse, part: &Part) -> Option<&'a PartitionProduceResponse> {
    let is_named = |name: &str, id: TopicId| id == part.topic.id || (id == TopicId::ZERO && name == part.topic.name);
    let mut topics = answer.responses.iter().filter(|topic| is_named(&topic.name, topic.topic_id));
    topics.find_map(|topic| topic.partition_responses.iter().find(|partition| partition.index == part.at.partition))
}

/// What a client takes from the answer for one partition.
fn judge(world: &World, node: &Node, part: &Part, partition: &PartitionProduceResponse) -> Told {
    let Part { topic, at, ids, .. } = part;
    let at = *at;
    let code = ErrorCode::from_code(partition.error_code);
    if code != ErrorCode::None {
        let gone = matches!(code, ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition);
        if gone && world.core.oracle().has_topic(topic.id) {
            world.core.fail(format!("{} says of {} that it does not exist, and it does", node.name(), topic.name));
        }
        // Where clocks are a day off, a time is.
        if is_about_the_batch(code) || (code == ErrorCode::InvalidTimestamp && !world.shape.skew) {
            world.core.fail(format!(
                "{} was sent a sound batch for {}-{}, and said {code}",
                node.name(),
                topic.name,
                at.partition
            ));
        }
        if code == ErrorCode::KafkaStorageError {
            world.core.count(Happening::RefusedBatches);
        }
        if is_surely_not_stored(code) {
            for id in ids {
                if let Err(what) = world.core.ledger().refused(at, *id) {
                    world.core.fail(format!("{} said {code}: {what}", node.name()));
                }
            }
        }
        return Told::Error(code);
    }
    // I1: durable before anybody is told; so it is in the log by now.
    let there = world.core.oracle().bounds(at);
    if let Some((_, end)) = there
        && partition.base_offset + ids.len() as i64 > end
    {
        world.core.fail(format!(
            "{} acknowledged {at:?} [{}, +{}), the log ends at {end} (I1)",
            node.name(),
            partition.base_offset,
            ids.len()
        ));
    }
    for (offset, id) in (partition.base_offset..).zip(ids) {
        let noted = world.core.ledger().acked(at, offset, *id);
        if let Err(what) = noted {
            world.core.fail(format!("{} acknowledged what cannot be: {what}", node.name()));
        }
    }
    world.core.has_acked(ids.len());
    Told::Acked(partition.base_offset)
}

/// Not 'not known whether': what is refused at the door, before anything is committed, or by the fold, and what finds no room
/// (docs/errors.md); of what fails the run by itself nothing needs to be said. What a client is told in doubt is REQUEST_TIMED_OUT.
fn is_surely_not_stored(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::KafkaStorageError
            | ErrorCode::InvalidTimestamp
            | ErrorCode::UnknownTopicId
            | ErrorCode::UnknownTopicOrPartition
    )
}

/// What is said of batches and requests that are wrong, or of nothing that is known: whatever fails, no sound batch is told so.
fn is_about_the_batch(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::CorruptMessage
            | ErrorCode::InvalidRecord
            | ErrorCode::InvalidRequest
            | ErrorCode::InvalidRequiredAcks
            | ErrorCode::MessageTooLarge
            | ErrorCode::RecordListTooLarge
            | ErrorCode::UnknownServerError
            | ErrorCode::UnsupportedCompressionType
            | ErrorCode::UnsupportedForMessageFormat
            | ErrorCode::UnsupportedVersion
    )
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Acked(offset) => write!(f, "at {offset}"),
            Self::Error(code) => write!(f, "{code}"),
            Self::Nothing => f.write_str("no answer"),
        }
    }
}
