//! What one request names twice is not done at all, and answered once; and other things that a change may name.

mod support;

use strandline_types::TopicId;
use strandline_wire::ErrorCode;
use strandline_wire::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use strandline_wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use strandline_wire::messages::{alter_configs, incremental_alter_configs};
use support::{DELETE, Node, SET, TOPIC, caller, change, code, topic};

const RETENTION: &str = "retention.ms";

/// A node with these topics.
async fn with_topics(names: &[&str]) -> Node {
    let node = Node::alone().await;
    node.create(names.iter().map(|name| (*name).to_owned())).await;
    node
}

fn sorted<'a>(answers: impl Iterator<Item = (&'a str, i16)>) -> Vec<(&'a str, ErrorCode)> {
    let mut answers: Vec<_> = answers.map(|(name, error_code)| (name, code(error_code))).collect();
    answers.sort_unstable();
    answers
}

#[tokio::test(start_paused = true)]
async fn topics_to_create() {
    let node = with_topics(&[]).await;
    let answer = node.ask_to_create(7, vec![topic("a", 1), topic("b", 1), topic("a", 2), topic("a", 1)], false).await;
    let answered = sorted(answer.iter().map(|topic| (topic.name.as_str(), topic.error_code)));
    assert_eq!(answered, [("a", ErrorCode::InvalidRequest), ("b", ErrorCode::None)]);
    assert_eq!((node.partitions("a"), node.partitions("b")), (None, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn topics_to_delete_by_name_or_by_id() {
    let node = with_topics(&["id", "kept", "name", "once"]).await;
    let id_of = |name: &str| node.cell.view().names[name];
    let by_name = |name: &str| DeleteTopicState { name: Some(name.to_owned()), topic_id: TopicId::ZERO };
    let by_id = |topic_id| DeleteTopicState { name: None, topic_id };
    let topics = vec![
        by_name("name"),
        by_id(id_of("id")),
        by_name("kept"),
        by_name("missing"),
        by_name("once"),
        by_id(id_of("id")),
        by_id(id_of("kept")),
        by_name("missing"),
        by_name("name"),
    ];
    let request = DeleteTopicsRequest { topics, ..DeleteTopicsRequest::default() };
    let answer = node.cluster.delete_topics(&caller(), 6, request).await;
    let answered = sorted(answer.responses.iter().map(|topic| (topic.name.as_deref().unwrap(), topic.error_code)));
    let twice = ErrorCode::InvalidRequest;
    assert_eq!(answered, [("id", twice), ("kept", twice), ("missing", twice), ("name", twice), ("once", ErrorCode::None)]);
    assert!(node.cell.view().names.keys().eq(["id", "kept", "name"]));
    // And as older versions name them.
    let topic_names = ["id", "kept", "id"].map(str::to_owned).to_vec();
    let request = DeleteTopicsRequest { topic_names, ..DeleteTopicsRequest::default() };
    let answer = node.cluster.delete_topics(&caller(), 5, request).await;
    let answered = sorted(answer.responses.iter().map(|topic| (topic.name.as_deref().unwrap(), topic.error_code)));
    assert_eq!(answered, [("id", twice), ("kept", ErrorCode::None)]);
    assert!(node.cell.view().names.keys().eq(["id", "name"]));
}

#[tokio::test(start_paused = true)]
async fn topics_to_grow() {
    let node = with_topics(&["a", "b"]).await;
    let grown = |name: &str, count| CreatePartitionsTopic { name: name.to_owned(), count, ..CreatePartitionsTopic::default() };
    let topics = vec![grown("a", 2), grown("b", 2), grown("a", 3)];
    let request = CreatePartitionsRequest { topics, ..CreatePartitionsRequest::default() };
    let answer = node.cluster.create_partitions(&caller(), 3, request).await;
    let answered = sorted(answer.results.iter().map(|topic| (topic.name.as_str(), topic.error_code)));
    assert_eq!(answered, [("a", ErrorCode::InvalidRequest), ("b", ErrorCode::None)]);
    assert_eq!((node.partitions("a"), node.partitions("b")), (Some(1), Some(2)));
}

#[tokio::test(start_paused = true)]
async fn topics_to_configure() {
    let node = with_topics(&["a", "b", "c"]).await;
    // One of them is no operation at all.
    let resource = |name: &str, operation| incremental_alter_configs::AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: name.to_owned(),
        configs: vec![change(RETENTION, operation, Some("1000"))],
    };
    let resources = vec![resource("a", SET), resource("b", SET), resource("c", SET), resource("a", SET), resource("c", 9)];
    let request = incremental_alter_configs::IncrementalAlterConfigsRequest { resources, validate_only: false };
    let answer = node.cluster.incremental_alter_configs(&caller(), 1, request).await;
    let answered = sorted(answer.responses.iter().map(|topic| (topic.resource_name.as_str(), topic.error_code)));
    let twice = ErrorCode::InvalidRequest;
    assert_eq!(answered, [("a", twice), ("b", ErrorCode::None), ("c", twice)]);
    let set = |name| node.config(name, RETENTION);
    assert_eq!((set("a"), set("b"), set("c")), (None, Some("1000".to_owned()), None));
    let resource = |name: &str, value: &str| alter_configs::AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: name.to_owned(),
        configs: vec![alter_configs::AlterableConfig { name: RETENTION.to_owned(), value: Some(value.to_owned()) }],
    };
    let resources = vec![resource("a", "2000"), resource("b", "2000"), resource("b", "3000")];
    let request = alter_configs::AlterConfigsRequest { resources, validate_only: false };
    let answer = node.cluster.alter_configs(&caller(), 2, request).await;
    let answered = sorted(answer.responses.iter().map(|topic| (topic.resource_name.as_str(), topic.error_code)));
    assert_eq!(answered, [("a", ErrorCode::None), ("b", twice)]);
    assert_eq!((set("a"), set("b")), (Some("2000".to_owned()), Some("1000".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_does_not_exist_is_taken_out_without_complaint() {
    let node = with_topics(&["a"]).await;
    let changes = vec![change("no.such", DELETE, None), change(RETENTION, SET, Some("1000"))];
    assert_eq!(node.alter("a", changes).await, ErrorCode::None);
    assert_eq!(node.config("a", RETENTION).as_deref(), Some("1000"));
    assert_eq!(node.alter("a", vec![change("no.such", SET, Some("1"))]).await, ErrorCode::InvalidConfig);
    assert_eq!(node.config("a", "no.such"), None);
}
