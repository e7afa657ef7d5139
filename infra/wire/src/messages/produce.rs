//! Produce (0): batches in, base offsets out. Names before version 13, topic ids from it on (KIP-516).

use bytes::Bytes;
use strandline_types::TopicId;

api!(Produce: ProduceRequest => ProduceResponse);

wire! {
    /// Batches to append, per topic and partition.
    ProduceRequest {
        transactional_id: Option<String> [..];
        acks: i16 [..];
        timeout_ms: i32 [..];
        topic_data: Vec<TopicProduceData> [..];
    }

    /// One of `topic_data` of [`ProduceRequest`].
    TopicProduceData {
        name: String [..=12];
        topic_id: TopicId [13..];
        partition_data: Vec<PartitionProduceData> [..];
    }

    /// One of `partition_data` of [`TopicProduceData`].
    PartitionProduceData {
        index: i32 [..];
        records: Option<Bytes> [..];
    }

    /// Where each batch went, or why it did not.
    ProduceResponse {
        responses: Vec<TopicProduceResponse> [..];
        throttle_time_ms: i32 [..];
        node_endpoints: Vec<NodeEndpoint> [10..] tag(0);
    }

    /// One of `responses` of [`ProduceResponse`].
    TopicProduceResponse {
        name: String [..=12];
        topic_id: TopicId [13..];
        partition_responses: Vec<PartitionProduceResponse> [..];
    }

    /// One of `partition_responses` of [`TopicProduceResponse`].
    PartitionProduceResponse {
        index: i32 [..];
        error_code: i16 [..];
        base_offset: i64 [..];
        log_append_time_ms: i64 [..] = -1;
        log_start_offset: i64 [5..] = -1;
        record_errors: Vec<BatchIndexAndErrorMessage> [8..];
        error_message: Option<String> [8..];
        current_leader: LeaderIdAndEpoch [10..] tag(0);
    }

    /// One of `record_errors` of [`PartitionProduceResponse`].
    BatchIndexAndErrorMessage {
        batch_index: i32 [8..];
        batch_index_error_message: Option<String> [8..];
    }

    /// `current_leader` of [`PartitionProduceResponse`].
    LeaderIdAndEpoch {
        leader_id: i32 [10..] = -1;
        leader_epoch: i32 [10..] = -1;
    }

    /// One of `node_endpoints` of [`ProduceResponse`].
    NodeEndpoint {
        node_id: i32 [10..];
        host: String [10..];
        port: i32 [10..];
        rack: Option<String> [10..];
    }
}
