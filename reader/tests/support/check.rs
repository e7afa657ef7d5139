//! Reads as a client would, and holds what came against the model.

use super::{Node, Record};
use std::ops::ControlFlow;
use strandline_types::{Caller, Gone, Seq, TimestampType, TopicPartition};
use strandline_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use strandline_wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use strandline_wire::records::{BatchPlace, RecordScratch, for_each_record, split_batches};
use strandline_wire::{ErrorCode, Records};

pub fn caller() -> Caller {
    Caller::anonymous(Some("test".to_owned()), "/127.0.0.1".to_owned(), Seq::default(), Gone::default())
}

/// A fetch of one partition by name, with version 12, without a session.
pub fn request(topic: &str, partition: i32, offset: i64, max_bytes: i32) -> FetchRequest {
    let partition =
        FetchPartition { partition, fetch_offset: offset, partition_max_bytes: max_bytes, ..FetchPartition::default() };
    let topic = FetchTopic { topic: topic.to_owned(), partitions: vec![partition], ..FetchTopic::default() };
    FetchRequest { max_bytes: i32::MAX, min_bytes: 1, session_epoch: -1, topics: vec![topic], ..FetchRequest::default() }
}

pub fn only(response: FetchResponse) -> PartitionData {
    assert_eq!(response.error_code, 0);
    let mut topics = response.responses;
    assert_eq!(topics.len(), 1);
    let mut partitions = topics.remove(0).partitions;
    assert_eq!(partitions.len(), 1);
    partitions.remove(0)
}

/// What one answer held.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub records: Vec<(i64, Record)>,
    /// The first offset that no batch covers.
    pub next: i64,
}

/// Takes an answer apart; batches must be sound, and cover from `offset` on without a gap.
pub fn take_apart(records: Records, offset: i64) -> Seen {
    let bytes = records.into_bytes();
    strandline_wal::verify_batches(&bytes).unwrap();
    let mut seen = Seen { records: Vec::new(), next: offset };
    let mut next: Option<i64> = None;
    for batch in split_batches(bytes).unwrap() {
        let header = batch.header;
        assert_eq!(header.partition_leader_epoch, -1);
        match next {
            None => assert!(header.base_offset <= offset && offset <= header.last_offset(), "{header:?} does not hold {offset}"),
            Some(next) => assert_eq!(header.base_offset, next, "a gap, or an overlap"),
        }
        next = Some(header.last_offset() + 1);
        seen.next = header.last_offset() + 1;
        if header.is_control() {
            continue;
        }
        for_each_record(&batch.bytes, BatchPlace::of(&header), &mut RecordScratch::default(), |record| {
            let own = Record {
                timestamp_ms: record.timestamp_ms,
                append_time: record.timestamp_type == TimestampType::LogAppend,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record.headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
            };
            // Clients drop what lies before the offset that they asked for.
            if record.offset >= offset {
                seen.records.push((record.offset, own));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    }
    seen
}

impl Node {
    pub async fn fetch_one(&self, at: TopicPartition, offset: i64, max_bytes: i32) -> PartitionData {
        let (name, _) = &self.topics[&at.topic_id];
        only(self.reader.fetch(&caller(), 12, request(name, at.partition, offset, max_bytes), 1).await)
    }

    /// Reads from `offset` to the end in answers of `max_bytes`, and compares with the model.
    pub async fn check_from(&self, at: TopicPartition, offset: i64, max_bytes: i32) {
        let model = &self.models[&at];
        let mut next = offset;
        let mut seen = Vec::new();
        while next < model.end {
            let data = self.fetch_one(at, next, max_bytes).await;
            assert_eq!(ErrorCode::from(data.error_code), ErrorCode::None, "at {next}");
            assert_eq!(
                (data.high_watermark, data.last_stable_offset, data.log_start_offset),
                (model.end, model.end, model.log_start)
            );
            let records = data.records.unwrap();
            assert!(!records.is_empty(), "an empty answer below the end, at {next}");
            let part = take_apart(records, next);
            assert!(part.next > next && part.next <= model.end, "{} after {next}, the end is {}", part.next, model.end);
            seen.extend(part.records);
            next = part.next;
        }
        let wanted: Vec<_> = model.records.range(offset..).map(|(offset, record)| (*offset, record.clone())).collect();
        assert_eq!(seen, wanted, "from {offset} with {max_bytes}");
    }

    /// The whole log by `read_records`, as others in the node read it.
    pub async fn check_read_records(&self, at: TopicPartition) {
        let model = &self.models[&at];
        let (mut next, mut seen) = (model.log_start, Vec::new());
        while next < model.end {
            let part = take_apart(self.reader.read_records(at, next, 10_000).await.unwrap(), next);
            seen.extend(part.records);
            next = part.next;
        }
        let wanted: Vec<_> = model.records.range(model.log_start..).map(|(offset, record)| (*offset, record.clone())).collect();
        assert_eq!(seen, wanted);
        assert!(self.reader.read_records(at, model.end, 10).await.unwrap().is_empty());
    }

    /// (offset, timestamp) for a timestamp or a special value.
    pub async fn list(&self, at: TopicPartition, timestamp: i64) -> (i64, i64) {
        let (name, _) = &self.topics[&at.topic_id];
        let partition = ListOffsetsPartition { partition_index: at.partition, timestamp, ..ListOffsetsPartition::default() };
        let topic = ListOffsetsTopic { name: name.clone(), partitions: vec![partition] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
        let response = self.reader.list_offsets(&caller(), 11, request).await;
        let answer = &response.topics[0].partitions[0];
        assert_eq!(ErrorCode::from(answer.error_code), ErrorCode::None);
        (answer.offset, answer.timestamp)
    }

    pub async fn check_timestamps(&self, at: TopicPartition, targets: &[i64]) {
        let model = &self.models[&at];
        assert_eq!(self.list(at, -1).await, (model.end, -1));
        assert_eq!(self.list(at, -2).await, (model.log_start, -1));
        assert_eq!(self.list(at, -4).await, (model.log_start, -1));
        assert_eq!((self.list(at, -5).await, self.list(at, -6).await), ((-1, -1), (-1, -1)));
        let live = || model.records.range(model.log_start..).filter(|(_, record)| record.timestamp_ms >= 0);
        for target in targets {
            let wanted = live().find(|(_, record)| record.timestamp_ms >= *target);
            let wanted = wanted.map_or((-1, -1), |(offset, record)| (*offset, record.timestamp_ms));
            assert_eq!(self.list(at, *target).await, wanted, "for {target}");
        }
        let mut largest = (-1, -1);
        for (offset, record) in live() {
            if record.timestamp_ms > largest.1 {
                largest = (*offset, record.timestamp_ms);
            }
        }
        assert_eq!(self.list(at, -3).await, largest);
    }
}
