//! Numbers of a node at one moment.

use super::Parts;
use serde::{Deserialize, Serialize};
use strandline_index::{ExtentPlace, FreshSegment, Topic};

/// What a node has and where.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Kafka's cluster id.
    pub cluster_id: String,
    /// The node's Kafka id.
    pub node_id: i32,
    /// The last entry folded.
    pub entries: u64,
    /// Topics.
    pub topics: u64,
    /// Partitions.
    pub partitions: u64,
    /// Groups.
    pub groups: u64,
    /// Bytes of the commit log on the disk.
    pub log_bytes: u64,
    /// Runs of batches not yet in Parquet.
    pub extents: u64,
    /// Their bytes: the write-ahead cache.
    pub wal_bytes: u64,
    /// Records not yet in Parquet.
    pub wal_records: i64,
    /// Fresh segments.
    pub fresh_segments: u64,
    /// Their bytes.
    pub fresh_bytes: u64,
    /// Sealed segments.
    pub sealed_segments: u64,
    /// Their bytes.
    pub sealed_bytes: u64,
    /// Rows in fresh and sealed segments.
    pub bronze_rows: u64,
    /// How long ago the oldest record that is not yet in Parquet was acknowledged; 0 when all are.
    pub freshness_ms: i64,
    /// Objects that wait for their grace to pass.
    pub garbage_objects: u64,
}

impl NodeStatus {
    /// Of this node, now.
    pub async fn of(parts: &Parts) -> Self {
        let mut status = Self { log_bytes: parts.log.disk_use().bytes, node_id: parts.cell.node_id(), ..Self::default() };
        let mut sealed_plans = Vec::new();
        {
            let view = parts.cell.view();
            status.cluster_id.clone_from(&view.cell.cluster_id);
            status.entries = view.cell.seq.0;
            status.topics = view.topics.len() as u64;
            status.partitions = view.partition_count;
            status.groups = view.groups.len() as u64;
            status.extents = view.extent_count;
            status.garbage_objects = view.garbage.len() as u64;
            let mut oldest = i64::MAX;
            for topic in view.topics.values() {
                for partition in &topic.partitions {
                    for extent in &partition.extents {
                        if !matches!(extent.place, ExtentPlace::Hole) {
                            oldest = oldest.min(extent.ingest_ms);
                        }
                        status.wal_bytes += extent.length;
                        status.wal_records += extent.end - extent.start;
                    }
                }
                for segment in answering_fresh(topic) {
                    status.fresh_segments += 1;
                    status.fresh_bytes += segment.file.size;
                    status.bronze_rows += segment.file.rows;
                }
                sealed_plans.extend(topic.plans.values().filter_map(|plan| plan.file.clone()));
            }
            if oldest != i64::MAX {
                status.freshness_ms = parts.runtime.clock.now_ms().saturating_sub(oldest).max(0);
            }
        }
        let mut paths = std::collections::BTreeMap::new();
        for file in sealed_plans {
            paths.insert(file.path, (file.size, file.rows));
        }
        let counted = strandline_segment_index::for_each(&*parts.segment_index, |row| {
            let entry = paths.entry(row.path).or_insert((row.size, 0));
            entry.1 += row.rows;
        });
        if let Err(error) = counted.await {
            tracing::warn!(%error, "sealed segments could not be counted");
        }
        status.sealed_segments = paths.len() as u64;
        status.sealed_bytes = paths.values().map(|(size, _)| size).sum();
        status.bronze_rows += paths.values().map(|(_, rows)| rows).sum::<u64>();
        status
    }
}

/// The fresh segments that answer for something: not those whose sealed file answers in their place.
pub(crate) fn answering_fresh(topic: &Topic) -> impl Iterator<Item = &FreshSegment> {
    let is_sealed = |segment: &FreshSegment| {
        let plan = segment.plan.as_ref().and_then(|path| topic.plans.get(path));
        plan.is_some_and(|plan| plan.file.is_some())
    };
    topic.fresh.values().filter(move |segment| segment.live_ranges > 0 && !is_sealed(segment))
}
