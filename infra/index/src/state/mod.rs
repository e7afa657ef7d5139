//! The index: everything that the fold knows, and nothing else.

mod cell;
pub(crate) mod fill;
mod group;
mod partition;
mod producer;
mod topic;

pub use cell::{CellState, Garbage, Lease, NodeRun, Slot, SnapshotState, WalObject};
pub use fill::Fill;
pub use group::{Claim, Group, GroupOffset};
pub use partition::{AbortedTransaction, Extent, ExtentPlace, FreshRange, MarkerKind, Partition};
pub use producer::{Producer, ProducerPartition, RecentBatch};
pub use topic::{DroppedTopic, Format, FreshSegment, Plan, Topic};

use std::collections::BTreeMap;
use std::sync::Arc;
use strandline_types::{Incarnation, NodeId, ObjectName, ProducerId, Seq, TopicId, TopicPartition};

/// The index. Cloning it is cheap (topics, groups and producers are shared until they change), so that a snapshot is
/// taken without holding up the fold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Index {
    /// The cell's own state.
    pub cell: CellState,
    /// Runs of nodes that are alive as far as the log knows.
    pub nodes: BTreeMap<Incarnation, NodeRun>,
    /// Kafka node ids with the addresses that outlive their nodes.
    pub slots: BTreeMap<NodeId, Slot>,
    /// Leases by kind and scope (a topic's id, or empty).
    pub leases: BTreeMap<(i32, Vec<u8>), Lease>,
    /// Topics by id.
    pub topics: BTreeMap<TopicId, Arc<Topic>>,
    /// Topic ids by name.
    pub names: BTreeMap<String, TopicId>,
    /// Deleted topics whose sealed objects may still be there.
    pub dropped: BTreeMap<TopicId, DroppedTopic>,
    /// Producers by id.
    pub producers: BTreeMap<ProducerId, Arc<Producer>>,
    /// Groups by name.
    pub groups: BTreeMap<String, Arc<Group>>,
    /// WAL segments that extents refer to.
    pub wal_objects: BTreeMap<ObjectName, WalObject>,
    /// Entries whose payload extents refer to, with how many do. The floor never passes the first.
    pub inline_references: BTreeMap<Seq, u64>,
    /// Objects that nothing refers to any more, by path.
    pub garbage: BTreeMap<String, Garbage>,
    /// Extents of all partitions together (bounded: [`strandline_types::limits::EXTENTS`]).
    pub extent_count: u64,
    /// Partitions of all topics together.
    pub partition_count: u64,
    /// How full the parts are that are bounded in bytes.
    pub fill: Fill,
}

/// What the index says of an object under `bronze/`, without the rows of the segment index.
#[derive(Debug, Clone, Copy)]
pub enum SealedObject<'a> {
    /// An open plan's, on the garbage list, or in the folder of a deleted topic, which its own step empties.
    Expected,
    /// In the folder of this topic: the segment index has to say whether it answers.
    Of(&'a Arc<Topic>),
    /// In no topic's folder.
    Foreign,
}

/// A topic's name and short id, as an object's path has them.
fn topic_folders(path: &str) -> Option<(&str, &str)> {
    let mut folders = path.split('/').skip(1);
    folders.next().zip(folders.next())
}

impl Index {
    /// Whose the object at `bronze/<topic>/<id8>/…` is.
    pub fn sealed_object(&self, path: &str) -> SealedObject<'_> {
        if self.garbage.contains_key(path) {
            return SealedObject::Expected;
        }
        let Some((name, id8)) = topic_folders(path) else { return SealedObject::Foreign };
        if self.dropped.iter().any(|(id, topic)| topic.name == name && id.id8() == id8) {
            return SealedObject::Expected;
        }
        match self.topic_of_object(path) {
            Some(topic) if topic.plans.contains_key(path) => SealedObject::Expected,
            Some(topic) => SealedObject::Of(topic),
            None => SealedObject::Foreign,
        }
    }

    /// The topic in whose folder an object at `<kind>/<topic>/<id8>/…` is.
    pub fn topic_of_object(&self, path: &str) -> Option<&Arc<Topic>> {
        let (name, id8) = topic_folders(path)?;
        self.topic_by_name(name).filter(|topic| topic.id.id8() == id8)
    }

    /// The topic of that name.
    pub fn topic_by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.names.get(name).and_then(|id| self.topics.get(id))
    }

    /// The partition, if topic and partition exist.
    pub fn partition(&self, topic_id: TopicId, partition: i32) -> Option<&Partition> {
        self.topics.get(&topic_id)?.partition(partition)
    }

    /// Whether the partition remembers something of the producer: then its sequences are judged.
    pub fn knows_producer(&self, at: TopicPartition, producer: ProducerId) -> bool {
        self.partition(at.topic_id, at.partition).is_some_and(|partition| partition.producers.contains_key(&producer))
    }

    /// The first entry that extents still refer to: the floor must not pass it.
    pub fn first_inline_reference(&self) -> Option<Seq> {
        self.inline_references.keys().next().copied()
    }
}
