//! Names and ids become topics, once, at the door.

use crate::config_cache::ConfigCache;
use strandline_cell::Cell;
use strandline_topic_config::TopicConfig;
use strandline_types::TopicId;
use strandline_wire::messages::produce::TopicProduceData;

/// From this version on a request names topics by id (KIP-516).
pub(crate) const TOPIC_IDS_SINCE: i16 = 13;

/// A topic, as the index has it now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolved {
    pub(crate) id: TopicId,
    pub(crate) partitions: i32,
    pub(crate) config: TopicConfig,
}

/// What the view says about the topics of a request, and how full it is.
pub(crate) struct View {
    pub(crate) topics: Vec<Option<Resolved>>,
    pub(crate) extents: u64,
}

pub(crate) fn resolve(cell: &Cell, configs: &ConfigCache, version: i16, topics: &[TopicProduceData]) -> View {
    let index = cell.view();
    let resolved = topics.iter().map(|data| {
        let topic = match version >= TOPIC_IDS_SINCE {
            true => index.topics.get(&data.topic_id),
            false => index.topic_by_name(&data.name),
        }?;
        let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        Some(Resolved { id: topic.id, partitions, config: configs.of(topic) })
    });
    View { topics: resolved.collect(), extents: index.extent_count }
}

impl View {
    /// Whether every partition of the request exists: only then may the answer come from a view that may be old.
    pub(crate) fn knows_all(&self, topics: &[TopicProduceData]) -> bool {
        self.topics.iter().zip(topics).all(|(resolved, data)| {
            resolved
                .is_some_and(|topic| data.partition_data.iter().all(|partition| (0..topic.partitions).contains(&partition.index)))
        })
    }
}
