//! One batch on its way, as a producer's connection sends it.

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
use strandline_wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

/// What a producer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is there, from this offset on.
    Acked(i64),
    Error(ErrorCode),
    /// The connection was lost.
    Nothing,
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
    let partition_data = vec![PartitionProduceData { index: at.partition, records: Some(records) }];
    let (version, name, topic_id) = if by_name { (12, topic.name.clone(), TopicId::ZERO) } else { (13, String::new(), topic.id) };
    let topic_data = vec![TopicProduceData { name, topic_id, partition_data }];
    let request = ProduceRequest { acks: -1, timeout_ms: 15_000, topic_data, ..ProduceRequest::default() };
    link.to(node).await?.submit(version, &request).ok()
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
    let Some(sent) = sent else { return Told::Nothing };
    let Ok(answer) = sent.wait(patience(world)).await else {
        world.core.count(Happening::UnansweredBatches);
        return Told::Nothing;
    };
    let partition = &answer.responses[0].partition_responses[0];
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
