//! What is answered for each partition, and the whole of it as Kafka's message.

use crate::plan::{Isolation, Watermarks};
use crate::room::{AnswerRoom, Room};
use crate::session::{PartitionKey, TopicKey};
use bytes::{Buf, Bytes};
use strandline_index::AbortedTransaction;
use strandline_types::TopicId;
use strandline_wire::messages::fetch::{self, FetchResponse, FetchableTopicResponse, PartitionData};
use strandline_wire::{ErrorCode, Frame, Records};

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

/// A piece with its room, which is given back when the piece has been sent, or dropped.
struct Held {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A permit a piece would be too many, where pieces are small.
const HELD_TOGETHER_BYTES: usize = 64 << 10;

/// Ties `room` to the pieces of the answers: as they go out, it is given back. What the answers do not need of it is given
/// back at once.
pub(crate) fn hold(answers: &mut [PartitionAnswer], mut room: Room) {
    let mut left: usize = answers.iter().map(|answer| answer.records.len()).sum();
    let mut owed = 0;
    for answer in answers {
        let pieces = std::mem::take(&mut answer.records);
        let mut keep = |piece: &Bytes| {
            left -= piece.len();
            owed += piece.len();
            if owed < HELD_TOGETHER_BYTES && left > 0 {
                return piece.clone();
            }
            match room.split(std::mem::take(&mut owed)) {
                Some(room) => Bytes::from_owner(Held { bytes: piece.clone(), _room: room }),
                None => piece.clone(),
            }
        };
        answer.records = pieces.chunks().iter().map(&mut keep).collect();
    }
}

/// Copies what is left of a frame, for as long as there is room: piece by piece, so that room and memory are given back as it goes
/// out. Whether that was all.
pub(crate) fn copy_left(frame: &mut Frame, room: &AnswerRoom) -> bool {
    let mut pieces = Vec::new();
    while frame.has_remaining() {
        let bytes = frame.len().min(HELD_TOGETHER_BYTES);
        let Some(room) = room.hold(bytes) else { break };
        pieces.push(Bytes::from_owner(Held { bytes: frame.copy_to_bytes(bytes), _room: room }));
    }
    let rest = std::mem::replace(frame, Frame::new(pieces));
    let all = rest.is_empty();
    frame.append(rest);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn room_is_given_back_piece_by_piece() {
        let all = AnswerRoom::new(1 << 20);
        let room = all.take(1 << 20, 1 << 20, Duration::ZERO).await.unwrap();
        let mut answer =
            PartitionAnswer::refused(PartitionKey { topic: TopicKey::Id(TopicId::ZERO), partition: 0 }, ErrorCode::None);
        let sizes = [40 << 10, 40 << 10, 100 << 10, 10];
        answer.records = sizes.iter().map(|size| Bytes::from(vec![1; *size])).collect();
        let mut answers = [answer];
        hold(&mut answers, room);
        let mut pieces: Vec<Bytes> = answers[0].records.chunks().to_vec();
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), sizes);
        drop(answers);
        let total: usize = sizes.iter().sum();
        let mut free = vec![all.free()];
        while !pieces.is_empty() {
            pieces.remove(0);
            free.push(all.free());
        }
        let full = 1 << 20;
        assert_eq!(free, [full - total, full - total, full - total + (80 << 10), full - 10, full]);
    }

    #[tokio::test]
    async fn a_copy_takes_room_as_it_can_and_gives_it_back_as_it_goes_out() {
        let all = AnswerRoom::new(400 << 10);
        let whole: Arc<[u8]> = (0..1_u32 << 20).map(|at| (at % 251) as u8).collect();
        let own = Bytes::from_owner(whole.clone());
        let parts = [own.slice(5..100_005), own.slice(200_000..300_000)];
        drop(own);
        let expected = parts.concat();
        let mut frame = Frame::new(parts);
        let others = all.hold(300 << 10).unwrap();
        assert!(!copy_left(&mut frame, &all), "there is no room for all of it");
        assert_eq!((all.free(), Arc::strong_count(&whole)), (36 << 10, 2));
        drop(others);
        assert!(copy_left(&mut frame, &all));
        assert_eq!(Arc::strong_count(&whole), 1);
        assert_eq!(all.free(), (400 << 10) - expected.len());
        let first = frame.copy_to_bytes(100_000);
        assert_eq!(all.free(), (400 << 10) - expected.len() + (64 << 10));
        assert_eq!([first, frame.into_bytes()].concat(), expected);
        assert_eq!(all.free(), 400 << 10);
    }
}
