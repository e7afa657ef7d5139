//! Offsets of partitions, and the deletion of their oldest records.

use super::{Admin, PartitionName, by_topic};
use crate::connection::Connection;
use crate::error::{ClientError, check};
use std::collections::BTreeMap;
use std::sync::Arc;
use strandline_wire::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use strandline_wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use strandline_wire::messages::{DeleteRecordsRequest, ListOffsetsRequest};

/// Which records are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// All, those of open and aborted transactions too.
    #[default]
    ReadUncommitted,
    /// Those of committed transactions, and those of none.
    ReadCommitted,
}

impl Isolation {
    pub(crate) const fn wire(self) -> i8 {
        self as i8
    }
}

/// Which offset is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetAt {
    /// The first one.
    Earliest,
    /// The next one to be written; with [`Isolation::ReadCommitted`] the last stable one.
    Latest,
    /// The record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// The first record at this time or later, in milliseconds since 1970.
    Timestamp(i64),
}

impl OffsetAt {
    const fn wire(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::Timestamp(timestamp_ms) => timestamp_ms,
        }
    }
}

/// An offset that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; `None` when no record is as late as the time asked for.
    pub offset: Option<i64>,
    /// The timestamp of its record, where one was asked for.
    pub timestamp_ms: Option<i64>,
}

impl Admin {
    /// Offsets of partitions, from their leaders; each partition succeeds or fails on its own.
    ///
    /// # Errors
    /// No broker answers, or a topic does not exist.
    pub async fn list_offsets(
        &self,
        wanted: BTreeMap<PartitionName, OffsetAt>,
        isolation: Isolation,
    ) -> Result<BTreeMap<PartitionName, Result<ListedOffset, ClientError>>, ClientError> {
        let timeout_ms = self.timeout_ms();
        self.by_leader("listing offsets", wanted, |connection, items| list_at_leader(connection, items, isolation, timeout_ms))
            .await
    }

    /// Offsets of partitions; the first partition that fails fails all.
    ///
    /// # Errors
    /// As [`Self::list_offsets`], or a partition's own.
    pub async fn offsets_at(
        &self,
        partitions: &[PartitionName],
        at: OffsetAt,
    ) -> Result<BTreeMap<PartitionName, Option<i64>>, ClientError> {
        let wanted = partitions.iter().map(|partition| (partition.clone(), at)).collect();
        let listed = self.list_offsets(wanted, Isolation::ReadUncommitted).await?;
        listed.into_iter().map(|(partition, result)| result.map(|listed| (partition, listed.offset))).collect()
    }

    /// Moves log starts: records below the offsets are gone. -1 is all that is there. Returns the new log starts.
    ///
    /// # Errors
    /// No broker answers, or a topic does not exist.
    pub async fn delete_records(
        &self,
        below: BTreeMap<PartitionName, i64>,
    ) -> Result<BTreeMap<PartitionName, Result<i64, ClientError>>, ClientError> {
        let timeout_ms = self.timeout_ms();
        self.by_leader("deleting records", below, |connection, items| delete_at_leader(connection, items, timeout_ms)).await
    }
}

type Results<T> = Result<BTreeMap<PartitionName, Result<T, ClientError>>, ClientError>;

async fn list_at_leader(
    connection: Arc<Connection>,
    items: Vec<(PartitionName, OffsetAt)>,
    isolation: Isolation,
    timeout_ms: i32,
) -> Results<ListedOffset> {
    let topics = by_topic(items, |partition_index, at| ListOffsetsPartition {
        partition_index,
        timestamp: at.wire(),
        ..Default::default()
    });
    let request = ListOffsetsRequest {
        replica_id: -1,
        isolation_level: isolation.wire(),
        topics: topics.into_iter().map(|(name, partitions)| ListOffsetsTopic { name, partitions }).collect(),
        timeout_ms,
    };
    let response = connection.call(&request).await?;
    let mut results = BTreeMap::new();
    for topic in response.topics {
        for partition in topic.partitions {
            let name = (topic.name.clone(), partition.partition_index);
            let what = || format!("partition {}-{}", name.0, name.1);
            let result = check(partition.error_code, what, None).map(|()| ListedOffset {
                offset: (partition.offset >= 0).then_some(partition.offset),
                timestamp_ms: (partition.timestamp >= 0).then_some(partition.timestamp),
            });
            results.insert(name, result);
        }
    }
    Ok(results)
}

async fn delete_at_leader(connection: Arc<Connection>, items: Vec<(PartitionName, i64)>, timeout_ms: i32) -> Results<i64> {
    let topics = by_topic(items, |partition_index, offset| DeleteRecordsPartition { partition_index, offset });
    let request = DeleteRecordsRequest {
        topics: topics.into_iter().map(|(name, partitions)| DeleteRecordsTopic { name, partitions }).collect(),
        timeout_ms,
    };
    let response = connection.call(&request).await?;
    let mut results = BTreeMap::new();
    for topic in response.topics {
        for partition in topic.partitions {
            let name = (topic.name.clone(), partition.partition_index);
            let what = || format!("partition {}-{}", name.0, name.1);
            let result = check(partition.error_code, what, None).map(|()| partition.low_watermark);
            results.insert(name, result);
        }
    }
    Ok(results)
}
