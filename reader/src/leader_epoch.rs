//! OffsetForLeaderEpoch (KIP-320): there are no leader epochs here, so every epoch ends at the log's end.

use crate::plan::Watermarks;
use crate::reader::Reader;
use std::collections::BTreeMap;
use strandline_types::Caller;
use strandline_wire::ErrorCode;
use strandline_wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};

impl Reader {
    /// Answers the epoch that was asked and the log's end, after a barrier.
    pub async fn offset_for_leader_epoch(
        &self,
        _caller: &Caller,
        _version: i16,
        request: OffsetForLeaderEpochRequest,
    ) -> OffsetForLeaderEpochResponse {
        let certain = self.shared.barrier().await;
        let mut topics = Vec::with_capacity(request.topics.len());
        for asked in request.topics {
            let ends: Option<BTreeMap<i32, i64>> = self.shared.cell.view().topic_by_name(&asked.topic).map(|topic| {
                let end =
                    |number: i32| topic.partition(number).map(|partition| (number, Watermarks::of(partition).high_watermark));
                asked.partitions.iter().filter_map(|partition| end(partition.partition)).collect()
            });
            let answer = |partition: &OffsetForLeaderPartition| {
                let end = ends.as_ref().and_then(|ends| ends.get(&partition.partition)).copied();
                let error = match (&certain, end) {
                    (Err(error), _) => error.code(),
                    (Ok(()), None) => ErrorCode::UnknownTopicOrPartition,
                    (Ok(()), Some(_)) => ErrorCode::None,
                };
                let known = end.filter(|_| error.is_none());
                EpochEndOffset {
                    error_code: error.code(),
                    partition: partition.partition,
                    leader_epoch: if known.is_some() { partition.leader_epoch } else { -1 },
                    end_offset: known.unwrap_or(-1),
                }
            };
            let partitions = asked.partitions.iter().map(answer).collect();
            topics.push(OffsetForLeaderTopicResult { topic: asked.topic, partitions });
        }
        OffsetForLeaderEpochResponse { throttle_time_ms: 0, topics }
    }
}
