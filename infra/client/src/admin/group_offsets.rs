//! Committed offsets of groups: read, write, delete.

use super::{Admin, PartitionName, by_topic};
use crate::connection::Connection;
use crate::error::{ClientError, Retry, check};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use strandline_wire::messages::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use strandline_wire::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use strandline_wire::messages::{OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest};

/// From version 10 on topics go by id; names do for us.
const NAMES_CAP: i16 = 9;

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next record to read.
    pub offset: i64,
    /// What the member wrote beside it.
    pub metadata: String,
}

impl Admin {
    /// The committed offsets of a group: of `partitions`, or all there are.
    ///
    /// # Errors
    /// No broker answers, or it refuses.
    pub async fn group_offsets(
        &self,
        group: &str,
        partitions: Option<&[PartitionName]>,
    ) -> Result<BTreeMap<PartitionName, CommittedOffset>, ClientError> {
        let timeout = self.client().options().request_timeout;
        self.client()
            .retrying("reading a group's offsets", |_| async {
                fetch_offsets(&self.coordinator(group).await?, timeout, group, partitions, false).await
            })
            .await
    }

    /// Sets committed offsets of a group that has no members.
    ///
    /// # Errors
    /// No broker answers, the group has members (UNKNOWN_MEMBER_ID), or a partition does not exist.
    pub async fn commit_group_offsets(&self, group: &str, offsets: &BTreeMap<PartitionName, i64>) -> Result<(), ClientError> {
        let timeout = self.client().options().request_timeout;
        self.client()
            .retrying("committing a group's offsets", |_| async {
                let request = commit_request(group, -1, "", None, offsets);
                commit_offsets(&self.coordinator(group).await?, timeout, &request).await
            })
            .await
    }

    /// Deletes committed offsets of a group.
    ///
    /// # Errors
    /// No broker answers, or a member is subscribed to one of the topics.
    pub async fn delete_group_offsets(&self, group: &str, partitions: &[PartitionName]) -> Result<(), ClientError> {
        let items = partitions.iter().map(|partition| (partition.clone(), ())).collect();
        let topics = by_topic(items, |partition_index, ()| OffsetDeleteRequestPartition { partition_index });
        let request = OffsetDeleteRequest {
            group_id: group.to_owned(),
            topics: topics.into_iter().map(|(name, partitions)| OffsetDeleteRequestTopic { name, partitions }).collect(),
        };
        self.client()
            .retrying("deleting a group's offsets", |_| async {
                let response = self.coordinator(group).await?.call(&request).await?;
                check(response.error_code, || format!("group \"{group}\""), None)?;
                for topic in response.topics {
                    for partition in topic.partitions {
                        let what = || format!("partition {}-{}", topic.name, partition.partition_index);
                        check(partition.error_code, what, None)?;
                    }
                }
                Ok(())
            })
            .await
    }
}

pub(crate) fn commit_request(
    group: &str,
    generation: i32,
    member_id: &str,
    group_instance_id: Option<&str>,
    offsets: &BTreeMap<PartitionName, i64>,
) -> OffsetCommitRequest {
    let items = offsets.iter().map(|(partition, offset)| (partition.clone(), *offset)).collect();
    let topics = by_topic(items, |partition_index, committed_offset| OffsetCommitRequestPartition {
        partition_index,
        committed_offset,
        committed_leader_epoch: -1,
        committed_metadata: Some(String::new()),
    });
    OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: generation,
        member_id: member_id.to_owned(),
        group_instance_id: group_instance_id.map(str::to_owned),
        topics: topics
            .into_iter()
            .map(|(name, partitions)| OffsetCommitRequestTopic { name, partitions, ..Default::default() })
            .collect(),
        ..Default::default()
    }
}

pub(crate) async fn commit_offsets(
    connection: &Arc<Connection>,
    timeout: Duration,
    request: &OffsetCommitRequest,
) -> Result<(), ClientError> {
    if request.topics.is_empty() {
        return Ok(());
    }
    let response = connection.call_capped(NAMES_CAP, timeout, request).await?;
    let mut passing = Ok(());
    for topic in response.topics {
        for partition in topic.partitions {
            let what = || format!("group \"{}\", partition {}-{}", request.group_id, topic.name, partition.partition_index);
            match check(partition.error_code, what, None) {
                // It says more of the membership than a topic that is gone.
                Err(error) if error.retry() == Retry::Never => return Err(error),
                result => passing = passing.and(result),
            }
        }
    }
    passing
}

pub(crate) async fn fetch_offsets(
    connection: &Arc<Connection>,
    timeout: Duration,
    group: &str,
    partitions: Option<&[PartitionName]>,
    require_stable: bool,
) -> Result<BTreeMap<PartitionName, CommittedOffset>, ClientError> {
    let topics = partitions.map(|partitions| {
        by_topic(partitions.iter().map(|partition| (partition.clone(), ())).collect(), |partition, ()| partition)
    });
    let request = OffsetFetchRequest {
        group_id: group.to_owned(),
        topics: topics.clone().map(|topics| {
            topics.into_iter().map(|(name, partition_indexes)| OffsetFetchRequestTopic { name, partition_indexes }).collect()
        }),
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            topics: topics.map(|topics| {
                let topic =
                    |(name, partition_indexes)| OffsetFetchRequestTopics { name, partition_indexes, ..Default::default() };
                topics.into_iter().map(topic).collect()
            }),
            ..Default::default()
        }],
        require_stable,
    };
    let what = || format!("the offsets of group \"{group}\"");
    let response = connection.call_capped(NAMES_CAP, timeout, &request).await?;
    check(response.error_code, what, None)?;
    let mut offsets = BTreeMap::new();
    let mut add = |topic: &str, partition: i32, offset: i64, metadata: Option<String>, code: i16| {
        check(code, || format!("group \"{group}\", partition {topic}-{partition}"), None)?;
        if offset >= 0 {
            let committed = CommittedOffset { offset, metadata: metadata.unwrap_or_default() };
            offsets.insert((topic.to_owned(), partition), committed);
        }
        Ok::<(), ClientError>(())
    };
    for topic in response.topics {
        for found in topic.partitions {
            add(&topic.name, found.partition_index, found.committed_offset, found.metadata, found.error_code)?;
        }
    }
    for found in response.groups {
        check(found.error_code, what, None)?;
        for topic in found.topics {
            for found in topic.partitions {
                add(&topic.name, found.partition_index, found.committed_offset, found.metadata, found.error_code)?;
            }
        }
    }
    Ok(offsets)
}
