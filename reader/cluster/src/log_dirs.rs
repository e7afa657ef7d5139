//! DescribeLogDirs: how much there is of each partition.

use crate::Cluster;
use crate::placement::{leader, serving_nodes};
use std::collections::{BTreeMap, BTreeSet};
use strandline_index::Topic;
use strandline_types::{Caller, TopicPartition};
use strandline_wire::ErrorCode;
use strandline_wire::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};

const ROWS_AT_A_TIME: usize = 1_000;

impl Cluster {
    /// DescribeLogDirs (35). Clients ask every node and add up, so each answers for the partitions that hash to it without
    /// a zone. Sizes are bytes as producers sent them.
    pub async fn describe_log_dirs(
        &self,
        _caller: &Caller,
        _version: i16,
        request: DescribeLogDirsRequest,
    ) -> DescribeLogDirsResponse {
        let asked: Option<BTreeMap<String, BTreeSet<i32>>> = request
            .topics
            .map(|topics| topics.into_iter().map(|topic| (topic.topic, topic.partitions.into_iter().collect())).collect());
        let mut places = Vec::new();
        {
            let view = self.cell.view();
            let nodes = serving_nodes(&view);
            for topic in view.topics.values() {
                let wanted = match &asked {
                    None => None,
                    Some(asked) => match asked.get(&topic.name) {
                        None => continue,
                        Some(partitions) => Some(partitions),
                    },
                };
                for partition in 0..i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX) {
                    let mine = leader(&nodes, "", topic.id, partition) == self.cell.node_id();
                    if mine && wanted.is_none_or(|wanted| wanted.contains(&partition)) {
                        places.push((
                            topic.name.clone(),
                            TopicPartition { topic_id: topic.id, partition },
                            unsealed_bytes(topic, partition),
                        ));
                    }
                }
            }
        }
        let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
        for (name, place, unsealed) in places {
            let Ok(sealed) = self.sealed_bytes(place).await else {
                return DescribeLogDirsResponse {
                    error_code: ErrorCode::KafkaStorageError.code(),
                    ..DescribeLogDirsResponse::default()
                };
            };
            topics.entry(name).or_default().push(DescribeLogDirsPartition {
                partition_index: place.partition,
                partition_size: i64::try_from(unsealed.saturating_add(sealed)).unwrap_or(i64::MAX),
                ..DescribeLogDirsPartition::default()
            });
        }
        let disk = self.options.disk.as_ref().and_then(|disk| disk());
        let result = DescribeLogDirsResult {
            log_dir: self.options.broker.data.clone(),
            topics: topics.into_iter().map(|(name, partitions)| DescribeLogDirsTopic { name, partitions }).collect(),
            total_bytes: disk.map_or(-1, |disk| disk.total_bytes),
            usable_bytes: disk.map_or(-1, |disk| disk.usable_bytes),
            ..DescribeLogDirsResult::default()
        };
        DescribeLogDirsResponse { results: vec![result], ..DescribeLogDirsResponse::default() }
    }

    async fn sealed_bytes(&self, place: TopicPartition) -> Result<u64, strandline_segment_index::ReadError> {
        let (mut bytes, mut from) = (0_u64, 0);
        loop {
            let rows = self.segment_index.scan(place, from, ROWS_AT_A_TIME).await?;
            bytes = bytes.saturating_add(rows.iter().map(|row| row.sent_bytes).sum());
            match rows.last() {
                Some(last) if rows.len() == ROWS_AT_A_TIME => from = last.end_offset,
                _ => return Ok(bytes),
            }
        }
    }
}

/// What is in extents and fresh segments.
fn unsealed_bytes(topic: &Topic, number: i32) -> u64 {
    let Some(partition) = topic.partition(number) else { return 0 };
    let extents: u64 = partition.extents.iter().map(|extent| extent.length).sum();
    let fresh: u64 = partition
        .fresh
        .iter()
        .filter_map(|range| topic.fresh.get(&range.segment))
        .flat_map(|segment| segment.file.ranges.iter().filter(|range| range.partition == number))
        .map(|range| range.sent_bytes)
        .sum();
    extents.saturating_add(fresh)
}
