//! Metadata (3): who serves what.

use strandline_types::TopicId;

api!(Metadata: MetadataRequest => MetadataResponse);

wire! {
    /// Topics to describe; null is all of them (in version 0 an empty list is).
    MetadataRequest {
        topics: Option<Vec<MetadataRequestTopic>> [..] nullable[1..];
        allow_auto_topic_creation: bool [4..] = true;
        include_cluster_authorized_operations: bool [8..=10];
        include_topic_authorized_operations: bool [8..];
    }

    /// One of `topics` of [`MetadataRequest`].
    MetadataRequestTopic {
        topic_id: TopicId [10..];
        name: Option<String> [..] nullable[10..];
    }

    /// Brokers, topics, partitions and their leaders.
    MetadataResponse {
        throttle_time_ms: i32 [3..];
        brokers: Vec<MetadataResponseBroker> [..];
        cluster_id: Option<String> [2..];
        controller_id: i32 [1..] = -1;
        topics: Vec<MetadataResponseTopic> [..];
        cluster_authorized_operations: i32 [8..=10] = i32::MIN;
        error_code: i16 [13..];
    }

    /// One of `brokers` of [`MetadataResponse`].
    MetadataResponseBroker {
        node_id: i32 [..];
        host: String [..];
        port: i32 [..];
        rack: Option<String> [1..];
    }

    /// One of `topics` of [`MetadataResponse`].
    MetadataResponseTopic {
        error_code: i16 [..];
        name: Option<String> [..] nullable[12..];
        topic_id: TopicId [10..];
        is_internal: bool [1..];
        partitions: Vec<MetadataResponsePartition> [..];
        topic_authorized_operations: i32 [8..] = i32::MIN;
    }

    /// One of `partitions` of [`MetadataResponseTopic`].
    MetadataResponsePartition {
        error_code: i16 [..];
        partition_index: i32 [..];
        leader_id: i32 [..];
        leader_epoch: i32 [7..] = -1;
        replica_nodes: Vec<i32> [..];
        isr_nodes: Vec<i32> [..];
        offline_replicas: Vec<i32> [5..];
    }
}
