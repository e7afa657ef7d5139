//! OffsetCommit (8): commits offsets of a group.

use strandline_types::TopicId;

api!(OffsetCommit: OffsetCommitRequest => OffsetCommitResponse);

wire! {
    /// Offsets of a group to keep.
    OffsetCommitRequest {
        group_id: String [..];
        generation_id_or_member_epoch: i32 [..] = -1;
        member_id: String [..];
        group_instance_id: Option<String> [7..];
        retention_time_ms: i64 [..=4] = -1;
        topics: Vec<OffsetCommitRequestTopic> [..];
    }

    /// One of `topics` of [`OffsetCommitRequest`].
    OffsetCommitRequestTopic {
        name: String [..=9];
        topic_id: TopicId [10..];
        partitions: Vec<OffsetCommitRequestPartition> [..];
    }

    /// One of `partitions` of [`OffsetCommitRequestTopic`].
    OffsetCommitRequestPartition {
        partition_index: i32 [..];
        committed_offset: i64 [..];
        committed_leader_epoch: i32 [6..] = -1;
        committed_metadata: Option<String> [..];
    }

    /// Success or failure, per partition.
    OffsetCommitResponse {
        throttle_time_ms: i32 [3..];
        topics: Vec<OffsetCommitResponseTopic> [..];
    }

    /// One of `topics` of [`OffsetCommitResponse`].
    OffsetCommitResponseTopic {
        name: String [..=9];
        topic_id: TopicId [10..];
        partitions: Vec<OffsetCommitResponsePartition> [..];
    }

    /// One of `partitions` of [`OffsetCommitResponseTopic`].
    OffsetCommitResponsePartition {
        partition_index: i32 [..];
        error_code: i16 [..];
    }
}
