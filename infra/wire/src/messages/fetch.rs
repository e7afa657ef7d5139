//! Fetch (1): batches out. Sessions from version 7 (KIP-227), topic ids from 13 (KIP-516).

use crate::primitives::Records;
use strandline_types::TopicId;
use uuid::Uuid;

api!(Fetch: FetchRequest => FetchResponse);

wire! {
    /// Which partitions to read, from where, and how much.
    FetchRequest {
        cluster_id: Option<String> [12..] tag(0);
        replica_id: i32 [..=14] = -1;
        replica_state: ReplicaState [15..] tag(1);
        max_wait_ms: i32 [..];
        min_bytes: i32 [..];
        max_bytes: i32 [..] = i32::MAX;
        isolation_level: i8 [..];
        session_id: i32 [7..];
        session_epoch: i32 [7..] = -1;
        topics: Vec<FetchTopic> [..];
        forgotten_topics_data: Vec<ForgottenTopic> [7..];
        rack_id: String [11..];
    }

    /// `replica_state` of [`FetchRequest`].
    ReplicaState {
        replica_id: i32 [15..] = -1;
        replica_epoch: i64 [15..] = -1;
    }

    /// One of `topics` of [`FetchRequest`].
    FetchTopic {
        topic: String [..=12];
        topic_id: TopicId [13..];
        partitions: Vec<FetchPartition> [..];
    }

    /// One of `partitions` of [`FetchTopic`].
    FetchPartition {
        partition: i32 [..];
        current_leader_epoch: i32 [9..] = -1;
        fetch_offset: i64 [..];
        last_fetched_epoch: i32 [12..] = -1;
        log_start_offset: i64 [5..] = -1;
        partition_max_bytes: i32 [..];
        replica_directory_id: Uuid [17..] tag(0);
        high_watermark: i64 [18..] tag(1) = i64::MAX;
    }

    /// One of `forgotten_topics_data` of [`FetchRequest`].
    ForgottenTopic {
        topic: String [7..=12];
        topic_id: TopicId [13..];
        partitions: Vec<i32> [7..];
    }

    /// The record batches, as a rope: nothing of them is copied.
    FetchResponse {
        throttle_time_ms: i32 [..];
        error_code: i16 [7..];
        session_id: i32 [7..];
        responses: Vec<FetchableTopicResponse> [..];
        node_endpoints: Vec<NodeEndpoint> [16..] tag(0);
    }

    /// One of `responses` of [`FetchResponse`].
    FetchableTopicResponse {
        topic: String [..=12];
        topic_id: TopicId [13..];
        partitions: Vec<PartitionData> [..];
    }

    /// One of `partitions` of [`FetchableTopicResponse`].
    PartitionData {
        partition_index: i32 [..];
        error_code: i16 [..];
        high_watermark: i64 [..];
        last_stable_offset: i64 [..] = -1;
        log_start_offset: i64 [5..] = -1;
        diverging_epoch: EpochEndOffset [12..] tag(0);
        current_leader: LeaderIdAndEpoch [12..] tag(1);
        snapshot_id: SnapshotId [12..] tag(2);
        aborted_transactions: Option<Vec<AbortedTransaction>> [..];
        preferred_read_replica: i32 [11..] = -1;
        records: Option<Records> [..];
    }

    /// `diverging_epoch` of [`PartitionData`].
    EpochEndOffset {
        epoch: i32 [12..] = -1;
        end_offset: i64 [12..] = -1;
    }

    /// `current_leader` of [`PartitionData`].
    LeaderIdAndEpoch {
        leader_id: i32 [12..] = -1;
        leader_epoch: i32 [12..] = -1;
    }

    /// `snapshot_id` of [`PartitionData`].
    SnapshotId {
        end_offset: i64 [..] = -1;
        epoch: i32 [..] = -1;
    }

    /// One of `aborted_transactions` of [`PartitionData`].
    AbortedTransaction {
        producer_id: i64 [..];
        first_offset: i64 [..];
    }

    /// One of `node_endpoints` of [`FetchResponse`].
    NodeEndpoint {
        node_id: i32 [16..];
        host: String [16..];
        port: i32 [16..];
        rack: Option<String> [16..];
    }
}
