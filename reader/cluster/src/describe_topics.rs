//! DescribeTopicPartitions.

use crate::Cluster;
use crate::metadata::{NAMES_A_VIEW, TOPIC_OPERATIONS};
use crate::placement::{leader, replicas, serving_nodes};
use std::ops::Bound;
use std::sync::Arc;
use strandline_index::Topic;
use strandline_topic_config::topic_name;
use strandline_types::Caller;
use strandline_wire::ErrorCode;
use strandline_wire::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};

/// Kafka's `max.request.partition.size.limit`.
const PARTITIONS_A_PAGE: usize = 2_000;

/// A name, and the topic that it is.
type Found = (String, Option<Arc<Topic>>);

impl Cluster {
    /// DescribeTopicPartitions (75): topics in order of their names, a bounded page at a time. None where it is not known which topics there are, for
    /// which an answer has no place: the connection is to be closed.
    pub async fn describe_topic_partitions(
        &self,
        caller: &Caller,
        _version: i16,
        request: DescribeTopicPartitionsRequest,
    ) -> Option<DescribeTopicPartitionsResponse> {
        let mut names: Vec<String> = request.topics.into_iter().map(|topic| topic.name).collect();
        let every_topic = names.is_empty();
        names.sort_unstable();
        names.dedup();
        // Of every topic nobody can tell beforehand whether one is missing.
        let fresh = if every_topic {
            self.fresh().await
        } else {
            self.fresh_unless(&names, |index, name| index.names.contains_key(name)).await
        };
        let refused = fresh.err();
        let cursor = request.cursor.unwrap_or_default();
        let limit = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PARTITIONS_A_PAGE);
        let found = if every_topic {
            // Of the first nothing may be left, each further one has a partition, and the last says where the next page begins. Where all
            // are refused there is no place for the error but beside a topic, and a few say it as well.
            self.topics_from(&cursor.topic_name, if refused.is_some() { limit } else { limit + 2 })
        } else {
            names.retain(|name| *name >= cursor.topic_name);
            self.topics_named(names)
        };
        if every_topic && refused.is_some() && found.is_empty() {
            return None;
        }
        let nodes = serving_nodes(&self.cell.view());
        let mut response = DescribeTopicPartitionsResponse::default();
        let mut room = limit;
        for (name, topic) in found {
            let Some(topic) = topic.filter(|_| refused.is_none()) else {
                let unknown = if topic_name::validate(&name).is_ok() {
                    ErrorCode::UnknownTopicOrPartition
                } else {
                    ErrorCode::InvalidTopicException
                };
                let code = refused.as_ref().map_or(unknown, |refused| refused.code);
                response.topics.push(DescribeTopicPartitionsResponseTopic {
                    error_code: code.code(),
                    name: Some(name),
                    ..DescribeTopicPartitionsResponseTopic::default()
                });
                continue;
            };
            let from = if cursor.topic_name == name { usize::try_from(cursor.partition_index).unwrap_or(0) } else { 0 };
            if room == 0 {
                response.next_cursor = Some(Cursor { topic_name: name, partition_index: i32::try_from(from).unwrap_or(0) });
                break;
            }
            let to = topic.partitions.len().min(from.saturating_add(room));
            let partitions = (from..to).filter_map(|number| i32::try_from(number).ok()).map(|partition_index| {
                let replicas = replicas(&nodes, topic.id, partition_index);
                DescribeTopicPartitionsResponsePartition {
                    partition_index,
                    leader_id: leader(&nodes, &caller.zone, topic.id, partition_index),
                    isr_nodes: replicas.clone(),
                    replica_nodes: replicas,
                    eligible_leader_replicas: Some(Vec::new()),
                    last_known_elr: Some(Vec::new()),
                    ..DescribeTopicPartitionsResponsePartition::default()
                }
            });
            response.topics.push(DescribeTopicPartitionsResponseTopic {
                name: Some(name.clone()),
                topic_id: topic.id,
                partitions: partitions.collect(),
                topic_authorized_operations: TOPIC_OPERATIONS,
                ..DescribeTopicPartitionsResponseTopic::default()
            });
            room -= to.saturating_sub(from);
            if to < topic.partitions.len() {
                response.next_cursor = Some(Cursor { topic_name: name, partition_index: i32::try_from(to).unwrap_or(0) });
                break;
            }
        }
        Some(response)
    }

    /// So many topics at most, in the order of their names, from that one on.
    fn topics_from(&self, name: &str, most: usize) -> Vec<Found> {
        let view = self.cell.view();
        let names = view.names.range::<str, _>((Bound::Included(name), Bound::Unbounded)).take(most);
        names.map(|(name, id)| (name.clone(), view.topics.get(id).cloned())).collect()
    }

    /// The topics of these names.
    fn topics_named(&self, names: Vec<String>) -> Vec<Found> {
        let mut found = Vec::with_capacity(names.len());
        for some in names.chunks(NAMES_A_VIEW) {
            let view = self.cell.view();
            found.extend(some.iter().map(|name| view.topic_by_name(name).cloned()));
        }
        names.into_iter().zip(found).collect()
    }
}
