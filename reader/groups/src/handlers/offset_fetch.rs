//! OffsetFetch (9) 1 to 10.

use crate::coordinator::{Groups, Shared};
use std::collections::{BTreeMap, BTreeSet};
use strandline_index::{Group, Index};
use strandline_types::{Caller, TopicId, TopicPartition};
use strandline_wire::ErrorCode;
use strandline_wire::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use strandline_wire::messages::{OffsetFetchRequest, OffsetFetchResponse};

impl Groups {
    /// Committed offsets, never older than the request. No offset is pending while there are no transactions, so that
    /// `require_stable` asks for nothing more.
    pub async fn offset_fetch(&self, _: &Caller, version: i16, request: OffsetFetchRequest) -> OffsetFetchResponse {
        let barrier = self.shared.barrier().await;
        let mut answered = Answered::new();
        if version >= 8 {
            // All offsets of a group once: a small request cannot have them answered a thousand times.
            let mut seen = BTreeSet::new();
            let once = request.groups.into_iter().filter(|group| group.topics.is_some() || seen.insert(group.group_id.clone()));
            let groups = once.map(|group| self.shared.fetch_offsets(version, group, barrier, &mut answered));
            return OffsetFetchResponse { groups: groups.collect(), ..OffsetFetchResponse::default() };
        }
        let topics = request.topics.map(|topics| {
            let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
                name: topic.name,
                partition_indexes: topic.partition_indexes,
                ..OffsetFetchRequestTopics::default()
            });
            topics.collect::<Vec<_>>()
        });
        let asked = topics.clone().unwrap_or_default();
        let group = OffsetFetchRequestGroup { group_id: request.group_id, topics, ..OffsetFetchRequestGroup::default() };
        before_version_8(version, &asked, self.shared.fetch_offsets(version, group, barrier, &mut answered))
    }
}

/// The partitions of groups that a request has been answered: each is answered once, or a small request would have what was committed with a
/// partition answered a thousand times.
type Answered = BTreeMap<(String, String, TopicId), BTreeSet<i32>>;

impl Shared {
    fn fetch_offsets(
        &self,
        version: i16,
        asked: OffsetFetchRequestGroup,
        barrier: Result<(), ErrorCode>,
        answered: &mut Answered,
    ) -> OffsetFetchResponseGroup {
        let OffsetFetchRequestGroup { group_id, topics, .. } = asked;
        // Older clients take any code but these two for a bug.
        let barrier = barrier.map_err(|_| ErrorCode::CoordinatorLoadInProgress);
        if let Err(error) = barrier.and_then(|()| self.demand_coordinator(&group_id)) {
            let error = if error == ErrorCode::CoordinatorNotAvailable { ErrorCode::NotCoordinator } else { error };
            return OffsetFetchResponseGroup { group_id, error_code: error.code(), ..OffsetFetchResponseGroup::default() };
        }
        let index = self.cell.view();
        let group = index.groups.get(&group_id).map(AsRef::as_ref);
        let topics = match topics {
            Some(topics) => {
                let once = topics.into_iter().map(|mut topic| {
                    let answered = answered.entry((group_id.clone(), topic.name.clone(), topic.topic_id)).or_default();
                    topic.partition_indexes.retain(|partition| answered.insert(*partition));
                    offsets_of(&index, version, group, topic)
                });
                once.collect()
            }
            None => group.map(|group| all_offsets(&index, group)).unwrap_or_default(),
        };
        OffsetFetchResponseGroup { group_id, topics, ..OffsetFetchResponseGroup::default() }
    }
}

/// The offsets of the partitions that were asked for.
fn offsets_of(index: &Index, version: i16, group: Option<&Group>, asked: OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
    let (topic_id, error) = if version >= 10 {
        let known = index.topics.contains_key(&asked.topic_id);
        (Some(asked.topic_id), if known { ErrorCode::None } else { ErrorCode::UnknownTopicId })
    } else {
        // A name that is not known has no offsets, which is no error.
        (index.names.get(&asked.name).copied(), ErrorCode::None)
    };
    let partitions = asked.partition_indexes.iter().map(|partition| {
        let place = topic_id.map(|topic_id| TopicPartition { topic_id, partition: *partition });
        offset_of(group, place, *partition, error)
    });
    OffsetFetchResponseTopics { name: asked.name, topic_id: asked.topic_id, partitions: partitions.collect() }
}

/// All offsets of the group, by topic.
fn all_offsets(index: &Index, group: &Group) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: BTreeMap<TopicId, Vec<OffsetFetchResponsePartitions>> = BTreeMap::new();
    for place in group.offsets.keys() {
        let offset = offset_of(Some(group), Some(*place), place.partition, ErrorCode::None);
        topics.entry(place.topic_id).or_default().push(offset);
    }
    let named = topics.into_iter().filter_map(|(topic_id, partitions)| {
        let name = index.topics.get(&topic_id)?.name.clone();
        Some(OffsetFetchResponseTopics { name, topic_id, partitions })
    });
    named.collect()
}

fn offset_of(
    group: Option<&Group>,
    place: Option<TopicPartition>,
    partition: i32,
    error: ErrorCode,
) -> OffsetFetchResponsePartitions {
    let committed = group.zip(place).and_then(|(group, place)| group.offsets.get(&place));
    OffsetFetchResponsePartitions {
        partition_index: partition,
        committed_offset: committed.map_or(-1, |committed| committed.offset),
        committed_leader_epoch: committed.map_or(-1, |committed| committed.leader_epoch),
        metadata: Some(committed.map(|committed| committed.metadata.clone()).unwrap_or_default()),
        error_code: error.code(),
    }
}

/// The answer of one group as versions 1 to 7 have it. Version 1 has no code of its own: there each partition has it.
fn before_version_8(version: i16, asked: &[OffsetFetchRequestTopics], group: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    let error_code = group.error_code;
    let topics = if error_code != 0 && version < 2 {
        asked
            .iter()
            .map(|topic| OffsetFetchResponseTopics {
                name: topic.name.clone(),
                partitions: topic
                    .partition_indexes
                    .iter()
                    .map(|partition| offset_of(None, None, *partition, ErrorCode::from_code(error_code)))
                    .collect(),
                ..OffsetFetchResponseTopics::default()
            })
            .collect()
    } else {
        group.topics
    };
    let topics = topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| OffsetFetchResponsePartition {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                committed_leader_epoch: partition.committed_leader_epoch,
                metadata: partition.metadata,
                error_code: partition.error_code,
            })
            .collect(),
    });
    OffsetFetchResponse { topics: topics.collect(), error_code, ..OffsetFetchResponse::default() }
}
