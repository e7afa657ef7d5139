//! DeleteRecords, by what the topic's `cleanup.policy` says.

mod support;

use strandline_wire::ErrorCode;
use strandline_wire::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use strandline_wire::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use support::{Node, caller, code, topic};

/// As Kafka 4.2 has it.
#[tokio::test(start_paused = true)]
async fn only_what_is_compacted_alone_loses_no_records_by_request() {
    let node = Node::alone().await;
    let policies = [
        ("delete", ErrorCode::None),
        ("compact,delete", ErrorCode::None),
        ("", ErrorCode::None),
        ("compact", ErrorCode::PolicyViolation),
    ];
    for (number, (policy, expected)) in policies.into_iter().enumerate() {
        let name = format!("t{number}");
        let configs = vec![CreatableTopicConfig { name: "cleanup.policy".to_owned(), value: Some(policy.to_owned()) }];
        let created = node.ask_to_create(7, vec![CreatableTopic { configs, ..topic(&name, 1) }], false).await;
        assert_eq!(code(created[0].error_code), ErrorCode::None, "{policy}");
        let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 0 }];
        let request = DeleteRecordsRequest { topics: vec![DeleteRecordsTopic { name, partitions }], timeout_ms: 1_000 };
        let answer = node.cluster.delete_records(&caller(), 2, request).await;
        assert_eq!(code(answer.topics[0].partitions[0].error_code), expected, "`{policy}`");
    }
}
