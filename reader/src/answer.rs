//! What is answered for each partition, and the whole of it as Kafka's message.

use crate::plan::{Isolation, Watermarks};
use crate::session::{PartitionKey, TopicKey};
use bytes::Bytes;
use strandline_index::AbortedTransaction;
use strandline_types::TopicId;
use strandline_wire::messages::fetch::{self, FetchResponse, FetchableTopicResponse, PartitionData};
use strandline_wire::{ErrorCode, Records};
use tokio::sync::OwnedSemaphorePermit;

/// The answer for one partition.
#[derive(Debug)]
pub(crate) struct PartitionAnswer {
    pub(crate) key: PartitionKey,
    pub(crate) error: ErrorCode,
    pub(crate) high_watermark: i64,
    pub(crate) last_stable_offset: i64,
    pub(crate) log_start_offset: i64,
    /// For `read_committed` alone.
    pub(crate) aborted: Option<Vec<AbortedTransaction>>,
    pub(crate) records: Records,
}

impl PartitionAnswer {
    /// A refusal; Kafka tells nothing else with it.
    pub(crate) fn refused(key: PartitionKey, error: ErrorCode) -> Self {
        Self {
            key,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted: None,
            records: Records::new(),
        }
    }

    pub(crate) fn served(
        key: PartitionKey,
        watermarks: Watermarks,
        isolation: Isolation,
        aborted: Vec<AbortedTransaction>,
        records: Records,
    ) -> Self {
        Self {
            key,
            error: ErrorCode::None,
            high_watermark: watermarks.high_watermark,
            last_stable_offset: watermarks.last_stable_offset,
            log_start_offset: watermarks.log_start,
            aborted: (isolation == Isolation::ReadCommitted).then_some(aborted),
            records,
        }
    }

    fn into_wire(self) -> PartitionData {
        let aborted = self.aborted.map(|aborted| {
            let wire = |one: AbortedTransaction| fetch::AbortedTransaction {
                producer_id: one.producer_id,
                first_offset: one.first_offset,
            };
            aborted.into_iter().map(wire).collect()
        });
        PartitionData {
            partition_index: self.key.partition,
            error_code: self.error.code(),
            high_watermark: self.high_watermark,
            last_stable_offset: self.last_stable_offset,
            log_start_offset: self.log_start_offset,
            aborted_transactions: aborted,
            records: Some(self.records),
            ..PartitionData::default()
        }
    }
}

/// An answer that is an error as a whole.
pub(crate) fn refused(error: ErrorCode) -> FetchResponse {
    FetchResponse { error_code: error.code(), ..FetchResponse::default() }
}

/// The message: neighbours of one topic together, in the order of `answers`.
pub(crate) fn response(session_id: i32, answers: Vec<PartitionAnswer>) -> FetchResponse {
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mut current: Option<TopicKey> = None;
    for answer in answers {
        if current.as_ref() != Some(&answer.key.topic) {
            let (topic, topic_id) = match &answer.key.topic {
                TopicKey::Name(name) => (name.to_string(), TopicId::ZERO),
                TopicKey::Id(id) => (String::new(), *id),
            };
            current = Some(answer.key.topic.clone());
            responses.push(FetchableTopicResponse { topic, topic_id, partitions: Vec::new() });
        }
        if let Some(topic) = responses.last_mut() {
            topic.partitions.push(answer.into_wire());
        }
    }
    FetchResponse { session_id, responses, ..FetchResponse::default() }
}

/// Room that is held until the bytes are sent, or dropped.
struct Held {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Ties `room` to the largest piece of the answer: it is given back when that piece has gone out.
pub(crate) fn hold(answers: &mut [PartitionAnswer], room: OwnedSemaphorePermit) {
    let largest = |answer: &PartitionAnswer| answer.records.chunks().iter().map(Bytes::len).max().unwrap_or(0);
    let Some(answer) = answers.iter_mut().max_by_key(|answer| largest(answer)) else { return };
    let size = largest(answer);
    if size == 0 {
        return;
    }
    let mut room = Some(room);
    let pieces = std::mem::take(&mut answer.records);
    let keep = |piece: &Bytes| match room.take_if(|_| piece.len() == size) {
        Some(room) => Bytes::from_owner(Held { bytes: piece.clone(), _room: room }),
        None => piece.clone(),
    };
    answer.records = pieces.chunks().iter().map(keep).collect();
}
