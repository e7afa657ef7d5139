//! DescribeTopicPartitions (75): partitions of topics, in pages (KIP-966).

use strandline_types::TopicId;

api!(DescribeTopicPartitions: DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse);

wire! {
    /// Topics to describe, page by page.
    DescribeTopicPartitionsRequest {
        topics: Vec<TopicRequest> [..];
        response_partition_limit: i32 [..] = 2000;
        cursor: Option<Cursor> [..];
    }

    /// One of `topics` of [`DescribeTopicPartitionsRequest`].
    TopicRequest {
        name: String [..];
    }

    /// `cursor` of [`DescribeTopicPartitionsRequest`].
    Cursor {
        topic_name: String [..];
        partition_index: i32 [..];
    }

    /// A page of partitions, and where the next one starts.
    DescribeTopicPartitionsResponse {
        throttle_time_ms: i32 [..];
        topics: Vec<DescribeTopicPartitionsResponseTopic> [..];
        next_cursor: Option<Cursor> [..];
    }

    /// One of `topics` of [`DescribeTopicPartitionsResponse`].
    DescribeTopicPartitionsResponseTopic {
        error_code: i16 [..];
        name: Option<String> [..];
        topic_id: TopicId [..];
        is_internal: bool [..];
        partitions: Vec<DescribeTopicPartitionsResponsePartition> [..];
        topic_authorized_operations: i32 [..] = i32::MIN;
    }

    /// One of `partitions` of [`DescribeTopicPartitionsResponseTopic`].
    DescribeTopicPartitionsResponsePartition {
        error_code: i16 [..];
        partition_index: i32 [..];
        leader_id: i32 [..];
        leader_epoch: i32 [..] = -1;
        replica_nodes: Vec<i32> [..];
        isr_nodes: Vec<i32> [..];
        eligible_leader_replicas: Option<Vec<i32>> [..];
        last_known_elr: Option<Vec<i32>> [..];
        offline_replicas: Vec<i32> [..];
    }
}
