//! ListOffsets: the ends of the log, its largest timestamp, and offsets for timestamps, all exact and all after a barrier.

use crate::error::ServeError;
use crate::plan::{Isolation, Watermarks};
use crate::reader::{Reader, Shared};
use crate::resolve::resolve;
use crate::session::{PartitionKey, TopicKey};
use futures::stream::{self, StreamExt};
use std::sync::Arc;
use strandline_types::{Caller, TopicPartition, limits};
use strandline_wire::ErrorCode;
use strandline_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};

/// The end: the last stable offset with `read_committed`.
const LATEST: i64 = -1;
/// The log start.
const EARLIEST: i64 = -2;
/// The first offset with the largest timestamp (KIP-734).
const MAX_TIMESTAMP: i64 = -3;
/// The log start on local storage (KIP-405): here the log start.
const EARLIEST_LOCAL: i64 = -4;
/// The highest offset in tiered storage (KIP-1005): as Kafka without tiering, none.
const LATEST_TIERED: i64 = -5;
/// The earliest offset that waits for upload (KIP-1023): as Kafka without tiering, none.
const EARLIEST_PENDING_UPLOAD: i64 = -6;
/// No offset, no timestamp.
const NONE: i64 = -1;

impl Reader {
    /// Answers ListOffsets of any version from 1 to 11. Timestamps are found exactly, also in Parquet.
    pub async fn list_offsets(&self, caller: &Caller, version: i16, request: ListOffsetsRequest) -> ListOffsetsResponse {
        let isolation = if version >= 2 { Isolation::from_wire(request.isolation_level) } else { Isolation::ReadUncommitted };
        metrics::counter!("strandline_list_offsets_requests_total").increment(1);
        let certain = self.shared.barrier().await;
        let mut topics = Vec::with_capacity(request.topics.len());
        let mut searches = Vec::new();
        for (topic_at, topic) in request.topics.into_iter().enumerate() {
            let name: Arc<str> = topic.name.as_str().into();
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in topic.partitions {
                let found = match &certain {
                    Ok(()) if !is_known(asked.timestamp, version) => Err(ServeError::Refused(ErrorCode::UnsupportedVersion)),
                    Ok(()) if is_searched(asked.timestamp) => {
                        searches.push((topic_at, partitions.len(), name.clone(), asked.clone()));
                        Ok(answer(&asked, ErrorCode::None, NONE, NONE))
                    }
                    Ok(()) => self.shared.end_for(&name, &asked, isolation),
                    Err(error) => Err(error.clone()),
                };
                partitions.push(found.unwrap_or_else(|error| self.shared.no_offset(caller, &name, &asked, &error)));
            }
            topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
        }
        // Side by side: one slow file keeps nobody else waiting.
        let search = |(topic_at, at, name, asked): (usize, usize, Arc<str>, ListOffsetsPartition)| async move {
            let found = self.shared.search_for(&name, &asked, isolation).await;
            (topic_at, at, found.unwrap_or_else(|error| self.shared.no_offset(caller, &name, &asked, &error)))
        };
        let mut found = stream::iter(searches).map(search).buffer_unordered(limits::LIST_OFFSETS_AT_ONCE);
        while let Some((topic_at, at, answer)) = found.next().await {
            let partition = topics.get_mut(topic_at).and_then(|topic| topic.partitions.get_mut(at));
            if let Some(partition) = partition {
                *partition = answer;
            }
        }
        drop(found);
        ListOffsetsResponse { throttle_time_ms: 0, topics }
    }
}

/// Whether storage may have to be read for it.
fn is_searched(timestamp: i64) -> bool {
    timestamp == MAX_TIMESTAMP || timestamp >= 0
}

/// Whether a version knows this timestamp: each special one came with a version.
fn is_known(timestamp: i64, version: i16) -> bool {
    match timestamp {
        LATEST | EARLIEST => true,
        MAX_TIMESTAMP => version >= 7,
        EARLIEST_LOCAL => version >= 8,
        LATEST_TIERED => version >= 9,
        EARLIEST_PENDING_UPLOAD => version >= 11,
        timestamp => timestamp >= 0,
    }
}

impl Shared {
    /// What the index knows.
    fn end_for(
        &self,
        name: &Arc<str>,
        asked: &ListOffsetsPartition,
        isolation: Isolation,
    ) -> Result<ListOffsetsPartitionResponse, ServeError> {
        let (_, watermarks) = self.locate(name, asked.partition_index)?;
        let offset = match asked.timestamp {
            LATEST => watermarks.served_end(isolation),
            EARLIEST | EARLIEST_LOCAL => watermarks.log_start,
            _ => NONE,
        };
        Ok(answer(asked, ErrorCode::None, offset, NONE))
    }

    async fn search_for(
        &self,
        name: &Arc<str>,
        asked: &ListOffsetsPartition,
        isolation: Isolation,
    ) -> Result<ListOffsetsPartitionResponse, ServeError> {
        let (at, _) = self.locate(name, asked.partition_index)?;
        let found = match asked.timestamp {
            MAX_TIMESTAMP => self.max_timestamp(at, isolation).await?,
            target => self.first_at(at, isolation, target).await?,
        };
        let (offset, timestamp) = found.unwrap_or((NONE, NONE));
        Ok(answer(asked, ErrorCode::None, offset, timestamp))
    }

    fn no_offset(
        &self,
        caller: &Caller,
        name: &str,
        asked: &ListOffsetsPartition,
        error: &ServeError,
    ) -> ListOffsetsPartitionResponse {
        self.reports.report(error, name, asked.partition_index, asked.timestamp);
        tracing::debug!(principal = caller.principal, topic = name, partition = asked.partition_index, %error, "no offset");
        answer(asked, error.code(), NONE, NONE)
    }

    fn locate(&self, name: &Arc<str>, partition: i32) -> Result<(TopicPartition, Watermarks), ServeError> {
        let index = self.cell.view();
        let key = PartitionKey { topic: TopicKey::Name(name.clone()), partition };
        let at = resolve(&index, &key).map_err(ServeError::Refused)?;
        let partition = index.partition(at.topic_id, at.partition);
        let partition = partition.ok_or(ServeError::Refused(ErrorCode::UnknownTopicOrPartition))?;
        Ok((at, Watermarks::of(partition)))
    }
}

fn answer(asked: &ListOffsetsPartition, error: ErrorCode, offset: i64, timestamp: i64) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        error_code: error.code(),
        timestamp,
        offset,
        leader_epoch: -1,
    }
}
