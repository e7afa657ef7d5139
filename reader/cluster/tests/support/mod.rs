//! Nodes over one commit log in memory, on virtual time, and what their clients ask for.
#![allow(clippy::unwrap_used, dead_code, reason = "helpers of tests; each test binary uses its part")]

use std::sync::Arc;
use std::time::Duration;
use strandline_cell::{Cell, CellOptions, JoinAs};
use strandline_cluster::{Cluster, ClusterOptions};
use strandline_commands::Role;
use strandline_commit_log::memory::Faults;
use strandline_commit_log::{CommitLog, MemoryCommitLog};
use strandline_index::Index;
use strandline_runtime::Runtime;
use strandline_segment_index::MemorySegmentIndex;
use strandline_topic_config::BrokerSettings;
use strandline_types::{Caller, Gone, Seq};
use strandline_wire::ErrorCode;
use strandline_wire::messages::create_topics::{CreatableTopic, CreatableTopicResult, CreateTopicsRequest};
use strandline_wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

/// The type of a topic as a resource.
pub const TOPIC: i8 = 2;
// What IncrementalAlterConfigs may do.
pub const SET: i8 = 0;
pub const DELETE: i8 = 1;
pub const APPEND: i8 = 2;
pub const SUBTRACT: i8 = 3;

/// What the nodes of a test share.
pub struct World {
    runtime: Runtime,
    log: MemoryCommitLog,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let runtime = Runtime::simulated(seed, 1_790_000_000_000);
        let log = MemoryCommitLog::new(runtime.clone());
        Self { runtime, log }
    }

    /// A node that for an hour hears of what others append only if it asks; topics that are mentioned get so many partitions.
    pub async fn node(&self, port: u16, sole: bool, partitions: i32) -> Node {
        self.node_of(Index::default(), port, sole, partitions).await
    }

    /// The same, with an index that is not empty.
    pub async fn node_of(&self, index: Index, port: u16, sole: bool, partitions: i32) -> Node {
        let log = self.log.for_node();
        let faults = log.faults();
        let log: Arc<dyn CommitLog> = Arc::new(log);
        let roles = vec![Role::Ingest, Role::Reader];
        let join = JoinAs { host: "127.0.0.1".to_owned(), port, zone: String::new(), roles, sole };
        let options = CellOptions { join, accept_clock: false, poll: Duration::from_secs(3_600) };
        let cell = Cell::start(self.runtime.clone(), log, index, options).await.unwrap();
        let broker = BrokerSettings {
            node_id: cell.node_id(),
            listen: format!("127.0.0.1:{port}"),
            advertise: format!("127.0.0.1:{port}"),
            zone: String::new(),
            data: String::new(),
            auto_create_topics: true,
            partitions,
            replication_factor: 1,
        };
        let options = ClusterOptions { broker, disk: None };
        let cluster = Cluster::new(options, cell.clone(), Arc::new(MemorySegmentIndex::new()));
        Node { cell, cluster, faults }
    }
}

pub struct Node {
    pub cell: Cell,
    pub cluster: Cluster,
    /// Of its way to the log.
    pub faults: Faults,
}

impl Node {
    /// By itself.
    pub async fn alone() -> Self {
        World::new(1).node(9092, true, 1).await
    }

    pub async fn ask_to_create(
        &self,
        version: i16,
        topics: Vec<CreatableTopic>,
        validate_only: bool,
    ) -> Vec<CreatableTopicResult> {
        let request = CreateTopicsRequest { topics, validate_only, ..CreateTopicsRequest::default() };
        self.cluster.create_topics(&caller(), version, request).await.topics
    }

    /// Creates topics of one partition.
    pub async fn create(&self, names: impl IntoIterator<Item = String>) {
        let topics = names.into_iter().map(|name| topic(&name, 1)).collect();
        let answer = self.ask_to_create(7, topics, false).await;
        assert!(answer.iter().all(|topic| topic.error_code == 0), "{:?}", answer.first());
    }

    /// Changes one topic's configuration.
    pub async fn alter(&self, topic: &str, configs: Vec<AlterableConfig>) -> ErrorCode {
        let resources = vec![AlterConfigsResource { resource_type: TOPIC, resource_name: topic.to_owned(), configs }];
        let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
        let answer = self.cluster.incremental_alter_configs(&caller(), 1, request).await;
        code(answer.responses[0].error_code)
    }

    /// What a topic has set.
    pub fn config(&self, topic: &str, name: &str) -> Option<String> {
        self.cell.view().topic_by_name(topic).unwrap().configs.get(name).cloned()
    }

    pub fn partitions(&self, topic: &str) -> Option<usize> {
        self.cell.view().topic_by_name(topic).map(|topic| topic.partitions.len())
    }
}

pub fn caller() -> Caller {
    Caller::anonymous(Some("test".to_owned()), "/127.0.0.1".to_owned(), Seq::default(), Gone::default())
}

pub fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code)
}

pub fn topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic { name: name.to_owned(), num_partitions: partitions, replication_factor: 1, ..CreatableTopic::default() }
}

pub fn change(name: &str, operation: i8, value: Option<&str>) -> AlterableConfig {
    AlterableConfig { name: name.to_owned(), config_operation: operation, value: value.map(str::to_owned) }
}
