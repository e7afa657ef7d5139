//! OffsetFetch (9): committed offsets of a group, of many from version 8.

use strandline_types::TopicId;

api!(OffsetFetch: OffsetFetchRequest => OffsetFetchResponse);

wire! {
    /// Partitions whose committed offset is asked for; `groups` from version 8.
    OffsetFetchRequest {
        group_id: String [..=7];
        topics: Option<Vec<OffsetFetchRequestTopic>> [..=7] nullable[2..=7];
        groups: Vec<OffsetFetchRequestGroup> [8..];
        require_stable: bool [7..];
    }

    /// One of `topics` of [`OffsetFetchRequest`].
    OffsetFetchRequestTopic {
        name: String [..=7];
        partition_indexes: Vec<i32> [..=7];
    }

    /// One of `groups` of [`OffsetFetchRequest`].
    OffsetFetchRequestGroup {
        group_id: String [8..];
        member_id: Option<String> [9..];
        member_epoch: i32 [9..] = -1;
        topics: Option<Vec<OffsetFetchRequestTopics>> [8..];
    }

    /// One of `topics` of [`OffsetFetchRequestGroup`].
    OffsetFetchRequestTopics {
        name: String [8..=9];
        topic_id: TopicId [10..];
        partition_indexes: Vec<i32> [8..];
    }

    /// The committed offsets; `groups` from version 8.
    OffsetFetchResponse {
        throttle_time_ms: i32 [3..];
        topics: Vec<OffsetFetchResponseTopic> [..=7];
        error_code: i16 [2..=7];
        groups: Vec<OffsetFetchResponseGroup> [8..];
    }

    /// One of `topics` of [`OffsetFetchResponse`].
    OffsetFetchResponseTopic {
        name: String [..=7];
        partitions: Vec<OffsetFetchResponsePartition> [..=7];
    }

    /// One of `partitions` of [`OffsetFetchResponseTopic`].
    OffsetFetchResponsePartition {
        partition_index: i32 [..=7];
        committed_offset: i64 [..=7];
        committed_leader_epoch: i32 [5..=7] = -1;
        metadata: Option<String> [..=7];
        error_code: i16 [..=7];
    }

    /// One of `groups` of [`OffsetFetchResponse`].
    OffsetFetchResponseGroup {
        group_id: String [8..];
        topics: Vec<OffsetFetchResponseTopics> [8..];
        error_code: i16 [8..];
    }

    /// One of `topics` of [`OffsetFetchResponseGroup`].
    OffsetFetchResponseTopics {
        name: String [8..=9];
        topic_id: TopicId [10..];
        partitions: Vec<OffsetFetchResponsePartitions> [8..];
    }

    /// One of `partitions` of [`OffsetFetchResponseTopics`].
    OffsetFetchResponsePartitions {
        partition_index: i32 [8..];
        committed_offset: i64 [8..];
        committed_leader_epoch: i32 [8..] = -1;
        metadata: Option<String> [8..];
        error_code: i16 [8..];
    }
}
