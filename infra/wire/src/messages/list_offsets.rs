//! ListOffsets (2): offsets for timestamps and for the ends of the log.

api!(ListOffsets: ListOffsetsRequest => ListOffsetsResponse);

wire! {
    /// Timestamps to find, or the special values -1 (end) to -6.
    ListOffsetsRequest {
        replica_id: i32 [..];
        isolation_level: i8 [2..];
        topics: Vec<ListOffsetsTopic> [..];
        timeout_ms: i32 [10..];
    }

    /// One of `topics` of [`ListOffsetsRequest`].
    ListOffsetsTopic {
        name: String [..];
        partitions: Vec<ListOffsetsPartition> [..];
    }

    /// One of `partitions` of [`ListOffsetsTopic`].
    ListOffsetsPartition {
        partition_index: i32 [..];
        current_leader_epoch: i32 [4..] = -1;
        timestamp: i64 [..];
    }

    /// The offset for each timestamp.
    ListOffsetsResponse {
        throttle_time_ms: i32 [2..];
        topics: Vec<ListOffsetsTopicResponse> [..];
    }

    /// One of `topics` of [`ListOffsetsResponse`].
    ListOffsetsTopicResponse {
        name: String [..];
        partitions: Vec<ListOffsetsPartitionResponse> [..];
    }

    /// One of `partitions` of [`ListOffsetsTopicResponse`].
    ListOffsetsPartitionResponse {
        partition_index: i32 [..];
        error_code: i16 [..];
        timestamp: i64 [..] = -1;
        offset: i64 [..] = -1;
        leader_epoch: i32 [4..] = -1;
    }
}
