//! How full the parts of the index are that are bounded in bytes (I11), and what all parts together may come to in a snapshot.
//!
//! A weight is at least what the thing takes in a snapshot, so that bounds of weights bound snapshots. It follows from the thing
//! alone: the fold counts up and down, and a count made anew from the index is the same.

use super::{Group, GroupOffset, Index, Partition, Plan, Topic};
use prost::Message;
use std::collections::BTreeMap;
use strandline_commands::{GroupMember, NewFile};
use strandline_types::limits;

const EXTENT_BYTES: u64 = 128;
/// A WAL segment's place on the garbage list, which is more than its place among those that are referred to.
const WAL_OBJECT_BYTES: u64 = 160;
const PARTITION_BYTES: u64 = 64;
const PRODUCER_BYTES: u64 = 64;
const PRODUCER_PARTITION_BYTES: u64 = 272;
/// A node's run and its slot, whose strings the fold bounds.
const NODE_BYTES: u64 = 1_536;
/// A topic with its leases, without name and configuration; also a deleted one.
const TOPIC_BYTES: u64 = 256;
const GROUP_BYTES: u64 = 192;
const OFFSET_BYTES: u64 = 96;
const GARBAGE_BYTES: u64 = 64;
/// A fresh segment, the path of its plan, and its share of that plan, without its file's own message.
const FRESH_BYTES: u64 = 2_048;
/// What a range adds: in its partition, in its plan, and in the plan's file.
const FRESH_RANGE_BYTES: u64 = 320;
/// The cell's own state and its leases.
const CELL_BYTES: u64 = 8_192;

/// How full the parts of the index are that the fold counts by weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fill {
    /// Pairs of a producer and a partition that remembers batches of it.
    pub producer_partitions: u64,
    /// Names, configurations and leases of topics, deleted ones that are not forgotten included.
    pub topic_bytes: u64,
    /// Groups: members and committed offsets.
    pub group_bytes: u64,
    /// Fresh segments and plans.
    pub file_bytes: u64,
    /// The garbage list.
    pub garbage_bytes: u64,
}

impl Fill {
    /// Counted anew.
    pub(crate) fn of(index: &Index) -> Self {
        let mut fill = Self::default();
        for topic in index.topics.values() {
            fill.topic_bytes += topic_weight(topic);
            fill.file_bytes += topic_files_weight(topic);
            fill.producer_partitions += topic.partitions.iter().map(producers_of).sum::<u64>();
        }
        fill.topic_bytes += index.dropped.values().map(|dropped| topic_name_weight(&dropped.name)).sum::<u64>();
        fill.group_bytes = index.groups.iter().map(|(name, group)| group_weight(name, group)).sum();
        fill.garbage_bytes = index.garbage.keys().map(|path| garbage_weight(path)).sum();
        fill
    }

    /// What a topic of that name and configuration adds to [`Self::topic_bytes`].
    pub fn of_topic(name: &str, configs: &BTreeMap<String, String>) -> u64 {
        topic_name_weight(name) + configs_weight(configs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

impl Index {
    /// Whether topics may come to so many bytes, each as [`Fill::of_topic`] has it.
    pub fn has_room_for_topics(&self, bytes: u64) -> bool {
        !self.has_version_2() || bytes <= limits::TOPICS_BYTES
    }

    /// No snapshot of this index is larger.
    pub fn snapshot_bytes_bound(&self) -> u64 {
        snapshot_bytes_bound(
            self.extent_count,
            self.partition_count,
            self.producers.len() as u64,
            self.slots.len().max(self.nodes.len()) as u64,
            &self.fill,
        )
    }

    /// No snapshot of an index that keeps its bounds is larger (fold version 2).
    pub fn largest_snapshot_bytes() -> u64 {
        let full = Fill {
            producer_partitions: limits::PRODUCER_PARTITIONS as u64,
            topic_bytes: limits::TOPICS_BYTES,
            group_bytes: limits::GROUPS_BYTES,
            file_bytes: limits::FILES_BYTES,
            // What joined the list after it was full had its weight, or more, where it came from: nothing new comes in meanwhile.
            garbage_bytes: limits::GARBAGE_BYTES,
        };
        let counts = (limits::EXTENTS as u64, limits::PARTITIONS as u64, limits::PRODUCERS as u64, limits::NODES as u64);
        snapshot_bytes_bound(counts.0, counts.1, counts.2, counts.3, &full)
    }
}

impl Index {
    /// How full each part is: its name, what it holds, its bound. Past it what would grow is refused.
    pub fn parts(&self) -> [(&'static str, u64, u64); 10] {
        let fill = &self.fill;
        [
            ("extents", self.extent_count, limits::EXTENTS as u64),
            ("partitions", self.partition_count, limits::PARTITIONS as u64),
            ("producers", self.producers.len() as u64, limits::PRODUCERS as u64),
            ("producers_of_partitions", fill.producer_partitions, limits::PRODUCER_PARTITIONS as u64),
            ("nodes", self.slots.len() as u64, limits::NODES as u64),
            ("groups", self.groups.len() as u64, limits::GROUPS as u64),
            ("topics_bytes", fill.topic_bytes, limits::TOPICS_BYTES),
            ("groups_bytes", fill.group_bytes, limits::GROUPS_BYTES),
            ("files_bytes", fill.file_bytes, limits::FILES_BYTES),
            ("garbage_bytes", fill.garbage_bytes, limits::GARBAGE_BYTES),
        ]
    }
}

fn snapshot_bytes_bound(extents: u64, partitions: u64, producers: u64, nodes: u64, fill: &Fill) -> u64 {
    CELL_BYTES
        + extents * (EXTENT_BYTES + WAL_OBJECT_BYTES)
        + partitions * PARTITION_BYTES
        + producers * PRODUCER_BYTES
        + fill.producer_partitions * PRODUCER_PARTITION_BYTES
        + nodes * NODE_BYTES
        + fill.topic_bytes
        + fill.group_bytes
        + fill.file_bytes
        + fill.garbage_bytes
}

pub(crate) fn producers_of(partition: &Partition) -> u64 {
    partition.producers.len() as u64
}

/// A topic's name and what belongs to it one by one.
pub(crate) fn topic_name_weight(name: &str) -> u64 {
    TOPIC_BYTES + name.len() as u64
}

/// A topic without its partitions and files.
pub(crate) fn topic_weight(topic: &Topic) -> u64 {
    Fill::of_topic(&topic.name, &topic.configs)
}

/// Values of a topic's configuration.
pub(crate) fn configs_weight<'a>(configs: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    configs.map(|(name, value)| 24 + (name.len() + value.len()) as u64).sum()
}

/// A fresh segment, whether a plan has it or not.
pub(crate) fn fresh_weight(file: &NewFile) -> u64 {
    let own = file.encoded_len() as u64 + file.path.len() as u64;
    FRESH_BYTES + own + file.ranges.len() as u64 * FRESH_RANGE_BYTES
}

/// A plan over extents, with the file that it becomes; one over fresh segments weighs nothing, they do.
pub(crate) fn plan_weight(plan: &Plan) -> u64 {
    if plan.is_over_extents() { extents_plan_weight(plan.ranges.len()) } else { 0 }
}

/// A plan over extents of so many partitions.
pub(crate) fn extents_plan_weight(ranges: usize) -> u64 {
    FRESH_BYTES + ranges as u64 * FRESH_RANGE_BYTES
}

/// All files and plans of a topic.
pub(crate) fn topic_files_weight(topic: &Topic) -> u64 {
    let fresh = topic.fresh.values().map(|segment| fresh_weight(&segment.file)).sum::<u64>();
    fresh + topic.plans.values().map(plan_weight).sum::<u64>()
}

/// An object on the garbage list.
pub(crate) fn garbage_weight(path: &str) -> u64 {
    GARBAGE_BYTES + path.len() as u64
}

/// A group without its offsets.
pub(crate) fn membership_weight<'a>(name: &str, strings: [&str; 3], members: impl Iterator<Item = &'a GroupMember>) -> u64 {
    let strings = strings.iter().map(|text| text.len()).sum::<usize>() + name.len();
    GROUP_BYTES + strings as u64 + members.map(|member| member.encoded_len() as u64 + 8).sum::<u64>()
}

/// The same of a group that is there.
pub(crate) fn group_membership_weight(name: &str, group: &Group) -> u64 {
    membership_weight(name, [&group.protocol_type, &group.protocol_name, &group.leader], group.members.iter())
}

/// A committed offset with this metadata.
pub(crate) fn offset_weight(metadata: &str) -> u64 {
    OFFSET_BYTES + metadata.len() as u64
}

pub(crate) fn group_weight(name: &str, group: &Group) -> u64 {
    let offset = |offset: &GroupOffset| offset_weight(&offset.metadata);
    group_membership_weight(name, group) + group.offsets.values().map(offset).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index that is full in every part can be written and read back.
    #[test]
    fn the_largest_snapshot_fits() {
        let largest = Index::largest_snapshot_bytes();
        assert!(largest <= limits::SNAPSHOT_BYTES, "{largest} bytes");
        assert!(largest > limits::SNAPSHOT_BYTES / 2, "the bound is far from what it bounds: {largest} bytes");
    }
}
