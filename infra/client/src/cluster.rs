//! What the client knows of the cluster: brokers, topics, leaders.

use crate::error::ClientError;
use crate::pool::Address;
use std::collections::BTreeMap;
use std::sync::Arc;
use strandline_types::TopicId;
use strandline_wire::ErrorCode;
use strandline_wire::messages::MetadataResponse;
use strandline_wire::messages::metadata::{MetadataResponsePartition, MetadataResponseTopic};

/// A broker as Metadata names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub node_id: i32,
    /// The name to connect to.
    pub host: String,
    /// The port to connect to.
    pub port: u16,
    /// Its rack, or zone.
    pub rack: Option<String>,
}

impl Broker {
    pub(crate) fn address(&self) -> Address {
        (self.host.clone(), self.port)
    }
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub partition: i32,
    /// The broker that serves it; -1 for none.
    pub leader: i32,
    /// The brokers that hold it.
    pub replicas: Vec<i32>,
    /// Those of them that are up to date.
    pub in_sync: Vec<i32>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id; zero from brokers that do not say.
    pub topic_id: TopicId,
    /// Whether it is the cluster's own.
    pub is_internal: bool,
    /// Its partitions, in order.
    pub partitions: Vec<Partition>,
}

impl Topic {
    /// One of its partitions.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn partition(&self, partition: i32) -> Result<&Partition, ClientError> {
        let index = self.partitions.binary_search_by_key(&partition, |partition| partition.partition);
        index.map(|index| &self.partitions[index]).map_err(|_| ClientError::NoPartition {
            topic: self.name.clone(),
            partition,
            partitions: self.partitions.len(),
        })
    }
}

/// The cluster at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The broker to send changes of topics to; -1 for none.
    pub controller_id: i32,
    /// All brokers, by id.
    pub brokers: BTreeMap<i32, Broker>,
    /// The topics that were asked for, by name.
    pub topics: BTreeMap<String, Arc<Topic>>,
}

impl Cluster {
    /// The broker that serves a partition.
    ///
    /// # Errors
    /// The topic is not known here, the partition does not exist or has no leader now.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<&Broker, ClientError> {
        let known = self.topics.get(topic).ok_or_else(|| unknown_topic(topic))?;
        let leader = known.partition(partition)?.leader;
        self.brokers.get(&leader).ok_or_else(|| ClientError::NoLeader { topic: topic.to_owned(), partition })
    }

    /// Takes an answer in. `all` means that it names every topic there is.
    pub(crate) fn merge(&self, response: MetadataResponse, all: bool) -> (Self, BTreeMap<String, ErrorCode>) {
        let brokers = response.brokers.into_iter().filter_map(|broker| {
            let port = u16::try_from(broker.port).ok()?;
            Some((broker.node_id, Broker { node_id: broker.node_id, host: broker.host, port, rack: broker.rack }))
        });
        let mut topics = if all { BTreeMap::new() } else { self.topics.clone() };
        let mut errors = BTreeMap::new();
        for topic in response.topics {
            let name = topic.name.clone().unwrap_or_default();
            match ErrorCode::from_code(topic.error_code) {
                ErrorCode::None => {
                    topics.insert(name, Arc::new(topic_of(topic)));
                }
                code => {
                    topics.remove(&name);
                    errors.insert(name, code);
                }
            }
        }
        let cluster =
            Self { cluster_id: response.cluster_id, controller_id: response.controller_id, brokers: brokers.collect(), topics };
        (cluster, errors)
    }
}

pub(crate) fn unknown_topic(topic: &str) -> ClientError {
    ClientError::broker(format!("topic \"{topic}\""), ErrorCode::UnknownTopicOrPartition, None)
}

fn topic_of(topic: MetadataResponseTopic) -> Topic {
    let mut partitions: Vec<Partition> = topic.partitions.into_iter().map(partition_of).collect();
    partitions.sort_by_key(|partition| partition.partition);
    Topic { name: topic.name.unwrap_or_default(), topic_id: topic.topic_id, is_internal: topic.is_internal, partitions }
}

fn partition_of(partition: MetadataResponsePartition) -> Partition {
    Partition {
        partition: partition.partition_index,
        leader: partition.leader_id,
        replicas: partition.replica_nodes,
        in_sync: partition.isr_nodes,
    }
}
