//! A node answers for the whole cell, also about what others did.

mod support;

use strandline_wire::messages::MetadataRequest;
use strandline_wire::messages::describe_topic_partitions::DescribeTopicPartitionsRequest;
use support::{World, caller};

#[tokio::test(start_paused = true)]
async fn every_topic_means_those_that_others_created_as_well() {
    let world = World::new(1);
    let (first, second) = (world.node(9092, false, 1).await, world.node(9093, false, 1).await);
    first.create(["late".to_owned()]).await;
    assert!(second.cell.view().names.is_empty(), "it has not heard of it");
    let request = DescribeTopicPartitionsRequest::default();
    let answer = second.cluster.describe_topic_partitions(&caller(), 0, request).await.unwrap();
    let described: Vec<_> = answer.topics.iter().map(|topic| (topic.name.as_deref(), topic.partitions.len())).collect();
    assert_eq!(described, [(Some("late"), 1)]);
}

/// There is no place for an error beside no topic: the connection is closed.
#[tokio::test(start_paused = true)]
async fn a_list_of_none_is_no_answer_while_the_log_cannot_be_read() {
    let world = World::new(1);
    let (first, second) = (world.node(9092, false, 1).await, world.node(9093, false, 1).await);
    first.create(["late".to_owned()]).await;
    for is_down in [true, false] {
        second.faults.set_reads_down(is_down);
        let request = MetadataRequest { topics: None, ..MetadataRequest::default() };
        let answer = second.cluster.metadata(&caller(), 12, request).await;
        assert_eq!((answer.error_code != 0, answer.topics.len()), (is_down, usize::from(!is_down)));
        if is_down {
            let request = DescribeTopicPartitionsRequest::default();
            assert_eq!(second.cluster.describe_topic_partitions(&caller(), 0, request).await, None);
        }
    }
}
