//! Names become ids here, once, at the door.

use crate::session::{PartitionKey, TopicKey};
use strandline_index::Index;
use strandline_types::TopicPartition;
use strandline_wire::ErrorCode;

/// The partition that a request means, or what a client is told if there is none (after a barrier).
pub(crate) fn resolve(index: &Index, key: &PartitionKey) -> Result<TopicPartition, ErrorCode> {
    let topic_id = match &key.topic {
        TopicKey::Id(id) => index.topics.contains_key(id).then_some(*id).ok_or(ErrorCode::UnknownTopicId)?,
        TopicKey::Name(name) => index.names.get(name.as_ref()).copied().ok_or(ErrorCode::UnknownTopicOrPartition)?,
    };
    Ok(TopicPartition { topic_id, partition: key.partition })
}

/// The name for logs.
pub(crate) fn topic_label(key: &PartitionKey) -> String {
    match &key.topic {
        TopicKey::Name(name) => name.to_string(),
        TopicKey::Id(id) => id.to_string(),
    }
}
