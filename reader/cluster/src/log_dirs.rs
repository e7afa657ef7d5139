//! DescribeLogDirs: how much there is of each partition.

use crate::Cluster;
use crate::placement::{leader, serving_nodes};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_index::{Partition, Topic};
use strandline_types::{Caller, ObjectName, TopicPartition};
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
        // Added up once the view is let go: nothing is folded while somebody looks at it.
        let (nodes, known) = {
            let view = self.cell.view();
            let wanted = |topic: &&Arc<Topic>| asked.as_ref().is_none_or(|asked| asked.contains_key(&topic.name));
            (serving_nodes(&view), view.topics.values().filter(wanted).cloned().collect::<Vec<_>>())
        };
        let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
        for topic in known {
            let wanted = asked.as_ref().and_then(|asked| asked.get(&topic.name));
            for (partition, unsealed) in (0..).zip(unsealed_bytes(&topic)) {
                let mine = leader(&nodes, "", topic.id, partition) == self.cell.node_id();
                if !mine || wanted.is_some_and(|wanted| !wanted.contains(&partition)) {
                    continue;
                }
                let Ok(sealed) = self.sealed_bytes(TopicPartition { topic_id: topic.id, partition }).await else {
                    return DescribeLogDirsResponse {
                        error_code: ErrorCode::KafkaStorageError.code(),
                        ..DescribeLogDirsResponse::default()
                    };
                };
                topics.entry(topic.name.clone()).or_default().push(DescribeLogDirsPartition {
                    partition_index: partition,
                    partition_size: i64::try_from(unsealed.saturating_add(sealed)).unwrap_or(i64::MAX),
                    ..DescribeLogDirsPartition::default()
                });
            }
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

/// What is in extents and fresh segments, by partition. Each file is gone through once: for each of its partitions it would be
/// the square of them.
fn unsealed_bytes(topic: &Topic) -> Vec<u64> {
    let mut in_files: BTreeMap<(i32, ObjectName), u64> = BTreeMap::new();
    for (name, segment) in &topic.fresh {
        for range in &segment.file.ranges {
            *in_files.entry((range.partition, *name)).or_default() += range.sent_bytes;
        }
    }
    let of_partition = |(number, partition): (i32, &Partition)| {
        let extents: u64 = partition.extents.iter().map(|extent| extent.length).sum();
        let fresh: u64 = partition.fresh.iter().filter_map(|range| in_files.get(&(number, range.segment))).sum();
        extents.saturating_add(fresh)
    };
    (0..).zip(&topic.partitions).map(of_partition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_commands::{FileRange, NewFile};
    use strandline_index::{Extent, ExtentPlace, FreshRange, FreshSegment};
    use strandline_types::{Incarnation, Seq};

    #[test]
    fn each_partition_has_its_extents_and_its_part_of_each_file_that_still_answers() {
        let name = |n| ObjectName { seq: Seq(1), incarnation: Incarnation(1), n };
        let range = |partition, sent_bytes| FileRange { partition, sent_bytes, ..FileRange::default() };
        let file = |ranges| FreshSegment {
            file: NewFile { ranges, ..NewFile::default() },
            since: Seq(1),
            since_ms: 0,
            plan: None,
            live_ranges: 1,
        };
        let fresh = |n| FreshRange { start: 0, end: 1, segment: name(n), max_timestamp_ms: -1, max_timestamp_offset: -1 };
        let extent = |length| Extent {
            start: 0,
            end: 1,
            place: ExtentPlace::Inline { seq: Seq(1), position: 0 },
            length,
            ingest_ms: 0,
            log_append_time: false,
            max_timestamp_ms: -1,
            max_timestamp_offset: -1,
        };
        let partition = |files: &[u64], bytes| Partition {
            fresh: files.iter().map(|n| fresh(*n)).collect(),
            extents: std::iter::once(extent(bytes)).collect(),
            ..Partition::default()
        };
        let topic = Topic {
            fresh: [(name(1), file(vec![range(2, 30), range(0, 10)])), (name(2), file(vec![range(0, 100), range(1, 200)]))]
                .into(),
            // The log start of partition 1 has passed what the second file holds of it.
            partitions: vec![partition(&[1, 2], 1), partition(&[], 2), partition(&[1], 3)],
            ..Topic::default()
        };
        assert_eq!(unsealed_bytes(&topic), [111, 2, 33]);
    }
}
