//! What one request may ask for has bounds, and who only asks whether it would be done hears of them, too.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use strandline_index::Index;
use strandline_types::limits;
use strandline_wire::ErrorCode;
use strandline_wire::messages::alter_configs;
use strandline_wire::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use strandline_wire::messages::create_topics::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
use strandline_wire::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResult};
use strandline_wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
};
use strandline_wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponseTopic};
use support::{APPEND, Node, SET, SUBTRACT, TOPIC, World, caller, change, code, topic};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const REPLICAS: &str = "leader.replication.throttled.replicas";

fn topics(count: usize) -> Vec<CreatableTopic> {
    (0..count).map(|number| topic(&format!("t{number}"), 1)).collect()
}

/// All that it has; nothing else.
async fn replace(node: &Node, name: &str, value: &str) -> ErrorCode {
    let configs = vec![alter_configs::AlterableConfig { name: name.to_owned(), value: Some(value.to_owned()) }];
    let resource = alter_configs::AlterConfigsResource { resource_type: TOPIC, resource_name: "t0".to_owned(), configs };
    let request = alter_configs::AlterConfigsRequest { resources: vec![resource], validate_only: false };
    code(node.cluster.alter_configs(&caller(), 2, request).await.responses[0].error_code)
}

#[tokio::test(start_paused = true)]
async fn a_value_of_a_configuration() {
    let node = Node::alone().await;
    node.create(["t0".to_owned()]).await;
    let longest = vec!["0:1"; limits::CONFIG_VALUE_BYTES.div_ceil(4)].join(",");
    let longer = format!(" {longest}");
    let huge = vec!["0:1"; 1 << 18].join(",");
    for value in [&longer, &huge] {
        for operation in [SET, APPEND, SUBTRACT] {
            let changes = vec![change(REPLICAS, operation, Some(value))];
            assert_eq!(node.alter("t0", changes).await, ErrorCode::InvalidConfig, "operation {operation}");
        }
        assert_eq!(replace(&node, REPLICAS, value).await, ErrorCode::InvalidConfig);
        let configs = vec![CreatableTopicConfig { name: REPLICAS.to_owned(), value: Some(value.clone()) }];
        let answer = node.ask_to_create(7, vec![CreatableTopic { configs, ..topic("new", 1) }], false).await;
        assert_eq!(code(answer[0].error_code), ErrorCode::InvalidConfig);
    }
    assert_eq!(node.config("t0", REPLICAS), None);
    assert_eq!(node.alter("t0", vec![change(REPLICAS, SET, Some(&longest))]).await, ErrorCode::None);
    // What an addition would make of it is a value as well.
    let replicas = |from: usize| (from..from + 3_000).map(|number| format!("{number}:1")).collect::<Vec<_>>().join(",");
    assert_eq!(node.alter("t0", vec![change(REPLICAS, SET, Some(&replicas(10_000)))]).await, ErrorCode::None);
    let more = vec![change(REPLICAS, APPEND, Some(&replicas(20_000)))];
    assert_eq!(node.alter("t0", more).await, ErrorCode::InvalidConfig);
    assert_eq!(node.config("t0", REPLICAS), Some(replicas(10_000)));
}

/// Adds to a list of topic `t0`.
async fn append(node: &Node, value: &str, validate_only: bool) -> AlterConfigsResourceResponse {
    let configs = vec![change(REPLICAS, APPEND, Some(value))];
    let resources = vec![AlterConfigsResource { resource_type: TOPIC, resource_name: "t0".to_owned(), configs }];
    let request = IncrementalAlterConfigsRequest { resources, validate_only };
    node.cluster.incremental_alter_configs(&caller(), 1, request).await.responses.remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_value_that_several_additions_at_once_would_make() {
    let node = Node::alone().await;
    node.create(["t0".to_owned()]).await;
    let replicas = |from: usize| (from..from + 3_000).map(|number| format!("{number}:1")).collect::<Vec<_>>().join(",");
    let (some, others) = (replicas(10_000), replicas(20_000));
    let (first, second) = tokio::join!(append(&node, &some, false), append(&node, &others, false));
    let refused: Vec<_> = [first, second].into_iter().filter(|answer| answer.error_code != 0).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(code(refused[0].error_code), ErrorCode::InvalidConfig);
    let said = refused[0].error_message.as_deref().unwrap_or_default();
    assert!(said.contains(REPLICAS) && said.contains("32767 at most"), "{said}");
    assert!(node.config("t0", REPLICAS).is_some_and(|value| value == some || value == others));
    // A value that is too long would be in the way of every other change.
    assert_eq!(node.alter("t0", vec![change("retention.ms", SET, Some("1000"))]).await, ErrorCode::None);
}

#[tokio::test(start_paused = true)]
async fn bytes_of_topics_that_are_only_asked_for() {
    let mut index = Index::default();
    index.fill.topic_bytes = limits::TOPICS_BYTES - 1_000;
    let node = World::new(1).node_of(index, 9092, true, 1).await;
    // Three more fit, and a little beside.
    for validate_only in [true, false] {
        let answer = node.ask_to_create(7, topics(4), validate_only).await;
        let refused: Vec<_> = answer.iter().filter(|topic| topic.error_code != 0).collect();
        assert_eq!(refused.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["t3"], "{validate_only}");
        assert_eq!(code(refused[0].error_code), ErrorCode::PolicyViolation);
    }
    let long = (10..60).map(|number| format!("{number}:1")).collect::<Vec<_>>().join(",");
    for validate_only in [true, false] {
        assert_eq!(code(append(&node, &long, validate_only).await.error_code), ErrorCode::PolicyViolation);
    }
    for validate_only in [true, false] {
        assert_eq!(code(append(&node, "0:1", validate_only).await.error_code), ErrorCode::None);
    }
    // More partitions do not count there.
    let wider = CreatePartitionsTopic { name: "t0".to_owned(), count: 50_000, ..CreatePartitionsTopic::default() };
    for validate_only in [true, false] {
        let request =
            CreatePartitionsRequest { topics: vec![wider.clone()], validate_only, ..CreatePartitionsRequest::default() };
        let answer = node.cluster.create_partitions(&caller(), 3, request).await.results;
        assert_eq!(code(answer[0].error_code), ErrorCode::None);
    }
}

#[tokio::test(start_paused = true)]
async fn the_topics_of_one_request() {
    let node = Node::alone().await;
    let refused = node.ask_to_create(4, [topics(10_001), topics(10_001)].concat(), true).await;
    assert_eq!(refused.len(), 10_001, "each once");
    assert!(refused.iter().all(|topic| code(topic.error_code) == ErrorCode::PolicyViolation));
    // So many at once are created, and one may be as wide as ever.
    let created = node.ask_to_create(7, [topics(9_999), vec![topic("wide", 100_000)]].concat(), false).await;
    assert!(created.iter().all(|topic| topic.error_code == 0));
    assert_eq!((node.cell.view().names.len(), node.partitions("wide")), (10_000, Some(100_000)));
    // Where an answer has no place for configurations none are made.
    let with_configs = async |version| node.ask_to_create(version, vec![topic("more", 1)], true).await[0].configs.is_some();
    assert_eq!((with_configs(4).await, with_configs(5).await), (false, true));
}

async fn mention(node: &Node, names: &[String]) -> Vec<MetadataResponseTopic> {
    let topic = |name: &String| MetadataRequestTopic { name: Some(name.clone()), ..MetadataRequestTopic::default() };
    let topics = Some(names.iter().map(topic).collect());
    let request = MetadataRequest { topics, allow_auto_topic_creation: true, ..MetadataRequest::default() };
    node.cluster.metadata(&caller(), 9, request).await.topics
}

#[tokio::test(start_paused = true)]
async fn topics_that_are_created_by_mention() {
    const AT_ONCE: usize = 4_096;
    const OLD: usize = 1_000;
    let node = Node::alone().await;
    node.create((0..OLD).map(|number| format!("old.{number}"))).await;
    // Those that cannot be created are in nobody's way.
    let collide = (0..OLD).map(|number| format!("old_{number}"));
    let names: Vec<String> = collide.chain((0..20_000).map(|number| format!("new.{number}"))).collect();
    for round in 1..=2 {
        let answer = mention(&node, &names).await;
        let known = OLD..OLD + round * AT_ONCE;
        assert_eq!(answer.len(), names.len());
        for (at, topic) in answer.iter().enumerate() {
            let expected = if known.contains(&at) { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition };
            assert_eq!((topic.name.as_ref(), code(topic.error_code)), (Some(&names[at]), expected));
        }
        assert_eq!(node.cell.view().names.len(), OLD + round * AT_ONCE);
    }
    assert!(ErrorCode::UnknownTopicOrPartition.is_retriable(), "clients ask again");
}

/// Counts this crate's warnings.
struct Warnings(Arc<AtomicUsize>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("strandline_cluster")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test(start_paused = true)]
async fn what_is_logged_where_nothing_can_be_created() {
    let count = Arc::new(AtomicUsize::new(0));
    let _guard = tracing::subscriber::set_default(Warnings(count.clone()));
    let node = World::new(1).node(9092, true, limits::PARTITIONS_PER_TOPIC + 1).await;
    let names: Vec<String> = (0..100).map(|number| format!("n{number}")).collect();
    let answer = mention(&node, &names).await;
    assert!(answer.iter().all(|topic| code(topic.error_code) == ErrorCode::UnknownTopicOrPartition));
    assert_eq!(count.load(Ordering::Relaxed), 1, "a line for all of them");
}

#[tokio::test(start_paused = true)]
async fn the_configurations_of_one_answer() {
    const TOPICS: usize = 8_000;
    let node = Node::alone().await;
    node.create((0..TOPICS).map(|number| format!("t{number}"))).await;
    let describe = async |all: bool| -> Vec<DescribeConfigsResult> {
        let resource = |number| DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: format!("t{number}"),
            ..DescribeConfigsResource::default()
        };
        let resources = (0..TOPICS).map(resource).collect();
        let request = DescribeConfigsRequest { resources, include_synonyms: all, include_documentation: all };
        node.cluster.describe_configs(&caller(), 4, request).await.results
    };
    let is_described = |result: &DescribeConfigsResult| result.error_code == 0 && result.configs.len() > 30;
    assert!(describe(false).await.iter().all(is_described));
    let answer = describe(true).await;
    assert_eq!(answer.len(), TOPICS);
    let described = answer.iter().take_while(|&result| is_described(result)).count();
    assert!((1_000..TOPICS).contains(&described), "{described}");
    assert!(answer[described..].iter().all(|result| code(result.error_code) == ErrorCode::PolicyViolation));
    assert!(answer[described..].iter().all(|result| result.configs.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn partitions_that_are_only_asked_for() {
    let node = Node::alone().await;
    let replica = |partition_index| CreatableReplicaAssignment { partition_index, broker_ids: vec![1] };
    let assignments = (0..=limits::PARTITIONS_PER_TOPIC).map(replica).collect();
    let by_hand = CreatableTopic { replication_factor: -1, assignments, ..topic("by-hand", -1) };
    for validate_only in [true, false] {
        let answer = node.ask_to_create(7, vec![by_hand.clone()], validate_only).await;
        assert_eq!(code(answer[0].error_code), ErrorCode::InvalidPartitions);
    }
    // Those of all topics together: there may be ten so wide.
    let wide = (0..11).map(|number| topic(&format!("wide-{number}"), limits::PARTITIONS_PER_TOPIC)).collect();
    let answer = node.ask_to_create(7, wide, true).await;
    let refused: Vec<_> = answer.iter().filter(|topic| topic.error_code != 0).collect();
    assert_eq!(refused.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["wide-10"]);
    assert_eq!(code(refused[0].error_code), ErrorCode::PolicyViolation);
    node.create((0..11).map(|number| format!("t{number}"))).await;
    let grown = |number| CreatePartitionsTopic {
        name: format!("t{number}"),
        count: limits::PARTITIONS_PER_TOPIC,
        ..CreatePartitionsTopic::default()
    };
    let request = CreatePartitionsRequest {
        topics: (0..11).map(grown).collect(),
        validate_only: true,
        ..CreatePartitionsRequest::default()
    };
    let answer = node.cluster.create_partitions(&caller(), 3, request).await.results;
    let refused: Vec<_> = answer.iter().filter(|topic| topic.error_code != 0).collect();
    assert_eq!(refused.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["t9", "t10"]);
    assert!(refused.iter().all(|topic| code(topic.error_code) == ErrorCode::PolicyViolation));
}
