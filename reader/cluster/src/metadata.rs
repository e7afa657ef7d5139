//! Metadata and DescribeCluster.

use crate::Cluster;
use crate::cluster::Refused;
use crate::placement::{ServingNode, leader, replicas, serving_nodes};
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_index::{Index, Topic};
use strandline_topic_config::topic_name;
use strandline_types::{Caller, TopicId};
use strandline_wire::ErrorCode;
use strandline_wire::messages::describe_cluster::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse};
use strandline_wire::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};

/// Without access rules everybody may do everything: the bits of all operations that a topic knows.
pub(crate) const TOPIC_OPERATIONS: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
/// The same for the cluster.
const CLUSTER_OPERATIONS: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);
const NOT_ASKED: i32 = i32::MIN;
/// Names that are looked up in one view: nothing is folded while somebody has one.
pub(crate) const NAMES_A_VIEW: usize = 1_024;

const fn bits(operations: &[u8]) -> i32 {
    let (mut bits, mut at) = (0, 0);
    while at < operations.len() {
        bits |= 1 << operations[at];
        at += 1;
    }
    bits
}

fn operations(asked: bool, all: i32) -> i32 {
    if asked { all } else { NOT_ASKED }
}

/// The name by which a topic is asked for; nothing where it is asked for by id. Java's Admin leaves an empty name beside the id.
fn name_asked(topic: &MetadataRequestTopic) -> Option<&str> {
    topic.name.as_deref().filter(|_| topic.topic_id == TopicId::ZERO)
}

/// One topic of the answer: there, or why not.
enum Found {
    Topic(Arc<Topic>),
    Not { name: Option<String>, topic_id: TopicId, code: ErrorCode },
}

impl Found {
    fn of(asked: &MetadataRequestTopic, index: &Index) -> Self {
        match name_asked(asked) {
            Some(name) => match index.topic_by_name(name) {
                Some(topic) => Self::Topic(topic.clone()),
                None => {
                    let code = match topic_name::validate(name) {
                        Err(_) => ErrorCode::InvalidTopicException,
                        Ok(_) => ErrorCode::UnknownTopicOrPartition,
                    };
                    Self::Not { name: Some(name.to_owned()), topic_id: TopicId::ZERO, code }
                }
            },
            None => match index.topics.get(&asked.topic_id) {
                Some(topic) => Self::Topic(topic.clone()),
                None => Self::Not { name: None, topic_id: asked.topic_id, code: ErrorCode::UnknownTopicId },
            },
        }
    }
}

impl Cluster {
    /// Metadata (3).
    pub async fn metadata(&self, caller: &Caller, version: i16, mut request: MetadataRequest) -> MetadataResponse {
        if let Some(topics) = &mut request.topics {
            // Asked for once or often, as in Kafka: a small request cannot have one topic's partitions answered a thousand times.
            let mut seen = BTreeSet::new();
            topics.retain(|topic| seen.insert((topic.topic_id, topic.name.clone())));
        }
        let found = if asks_for_all_topics(&request, version) {
            let fresh = self.fresh().await;
            fresh.map(|()| self.cell.view().topics.values().cloned().map(Found::Topic).collect())
        } else {
            let topics = request.topics.clone().unwrap_or_default();
            self.find(&topics, request.allow_auto_topic_creation || version < 4).await
        };
        let view = self.cell.view();
        let nodes = serving_nodes(&view);
        let brokers = nodes.iter().map(|node| MetadataResponseBroker {
            node_id: node.node_id,
            host: node.host.clone(),
            port: node.port,
            rack: Some(node.zone.clone()).filter(|zone| !zone.is_empty()),
        });
        let mut response = MetadataResponse {
            brokers: brokers.collect(),
            cluster_id: Some(view.cell.cluster_id.clone()),
            controller_id: self.cell.node_id(),
            cluster_authorized_operations: operations(request.include_cluster_authorized_operations, CLUSTER_OPERATIONS),
            ..MetadataResponse::default()
        };
        drop(view);
        let topic_operations = operations(request.include_topic_authorized_operations, TOPIC_OPERATIONS);
        match found {
            Ok(found) => {
                let answer = |found| topic_metadata(found, &nodes, &caller.zone, topic_operations);
                response.topics = found.into_iter().map(answer).collect();
            }
            Err(refused) => {
                response.error_code = refused.code.code();
                let failed = |topic: MetadataRequestTopic| MetadataResponseTopic {
                    error_code: refused.code.code(),
                    name: topic.name,
                    topic_id: topic.topic_id,
                    ..MetadataResponseTopic::default()
                };
                response.topics = request.topics.unwrap_or_default().into_iter().map(failed).collect();
            }
        }
        response
    }

    async fn find(&self, topics: &[MetadataRequestTopic], may_create: bool) -> Result<Vec<Found>, Refused> {
        self.fresh_unless(topics, |index, topic| match name_asked(topic) {
            Some(name) => index.names.contains_key(name),
            None => index.topics.contains_key(&topic.topic_id),
        })
        .await?;
        if may_create && self.options.broker.auto_create_topics {
            let names: Vec<&str> =
                topics.iter().filter_map(name_asked).filter(|name| topic_name::validate(name).is_ok()).collect();
            let mut missing = Vec::new();
            for some in names.chunks(NAMES_A_VIEW) {
                let view = self.cell.view();
                missing.extend(some.iter().copied().filter(|name| !view.names.contains_key(*name)));
            }
            self.auto_create(&missing).await;
        }
        let mut found = Vec::with_capacity(topics.len());
        for some in topics.chunks(NAMES_A_VIEW) {
            let view = self.cell.view();
            found.extend(some.iter().map(|asked| Found::of(asked, &view)));
        }
        Ok(found)
    }

    /// DescribeCluster (60).
    pub async fn describe_cluster(
        &self,
        _caller: &Caller,
        _version: i16,
        request: DescribeClusterRequest,
    ) -> DescribeClusterResponse {
        let endpoint_type = request.endpoint_type;
        if endpoint_type != 1 {
            return DescribeClusterResponse {
                error_code: ErrorCode::MismatchedEndpointType.code(),
                error_message: Some("This listener serves brokers' clients: ask for endpoint type 1 (brokers).".to_owned()),
                endpoint_type,
                ..DescribeClusterResponse::default()
            };
        }
        let view = self.cell.view();
        let brokers = serving_nodes(&view).into_iter().map(|node| DescribeClusterBroker {
            broker_id: node.node_id,
            host: node.host,
            port: node.port,
            rack: Some(node.zone).filter(|zone| !zone.is_empty()),
            is_fenced: false,
        });
        DescribeClusterResponse {
            endpoint_type,
            cluster_id: view.cell.cluster_id.clone(),
            controller_id: self.cell.node_id(),
            brokers: brokers.collect(),
            cluster_authorized_operations: operations(request.include_cluster_authorized_operations, CLUSTER_OPERATIONS),
            ..DescribeClusterResponse::default()
        }
    }
}

/// Whether a Metadata request is for every topic. The first version has no null: there an empty list is all of them.
pub fn asks_for_all_topics(request: &MetadataRequest, version: i16) -> bool {
    request.topics.as_ref().is_none_or(|topics| version == 0 && topics.is_empty())
}

fn topic_metadata(found: Found, nodes: &[ServingNode], zone: &str, topic_authorized_operations: i32) -> MetadataResponseTopic {
    match found {
        Found::Not { name, topic_id, code } => {
            MetadataResponseTopic { error_code: code.code(), name, topic_id, ..MetadataResponseTopic::default() }
        }
        Found::Topic(topic) => {
            let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            let partitions = (0..count).map(|partition_index| {
                let replicas = replicas(nodes, topic.id, partition_index);
                MetadataResponsePartition {
                    partition_index,
                    leader_id: leader(nodes, zone, topic.id, partition_index),
                    isr_nodes: replicas.clone(),
                    replica_nodes: replicas,
                    ..MetadataResponsePartition::default()
                }
            });
            MetadataResponseTopic {
                name: Some(topic.name.clone()),
                topic_id: topic.id,
                partitions: partitions.collect(),
                topic_authorized_operations,
                ..MetadataResponseTopic::default()
            }
        }
    }
}
