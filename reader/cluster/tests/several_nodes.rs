//! A node answers for the whole cell, also about what others did.

mod support;

use strandline_wire::messages::describe_topic_partitions::DescribeTopicPartitionsRequest;
use support::{World, caller};

#[tokio::test(start_paused = true)]
async fn every_topic_means_those_that_others_created_as_well() {
    let world = World::new(1);
    let (first, second) = (world.node(9092, false, 1).await, world.node(9093, false, 1).await);
    first.create(["late".to_owned()]).await;
    assert!(second.cell.view().names.is_empty(), "it has not heard of it");
    let request = DescribeTopicPartitionsRequest::default();
    let answer = second.cluster.describe_topic_partitions(&caller(), 0, request).await;
    let described: Vec<_> = answer.topics.iter().map(|topic| (topic.name.as_deref(), topic.partitions.len())).collect();
    assert_eq!(described, [(Some("late"), 1)]);
}
