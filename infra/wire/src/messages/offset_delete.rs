//! OffsetDelete (47): deletes committed offsets (KIP-496). Never flexible.

api!(OffsetDelete: OffsetDeleteRequest => OffsetDeleteResponse);

wire! {
    /// Committed offsets to delete.
    OffsetDeleteRequest {
        group_id: String [..];
        topics: Vec<OffsetDeleteRequestTopic> [..];
    }

    /// One of `topics` of [`OffsetDeleteRequest`].
    OffsetDeleteRequestTopic {
        name: String [..];
        partitions: Vec<OffsetDeleteRequestPartition> [..];
    }

    /// One of `partitions` of [`OffsetDeleteRequestTopic`].
    OffsetDeleteRequestPartition {
        partition_index: i32 [..];
    }

    /// What became of each partition.
    OffsetDeleteResponse {
        error_code: i16 [..];
        throttle_time_ms: i32 [..];
        topics: Vec<OffsetDeleteResponseTopic> [..];
    }

    /// One of `topics` of [`OffsetDeleteResponse`].
    OffsetDeleteResponseTopic {
        name: String [..];
        partitions: Vec<OffsetDeleteResponsePartition> [..];
    }

    /// One of `partitions` of [`OffsetDeleteResponseTopic`].
    OffsetDeleteResponsePartition {
        partition_index: i32 [..];
        error_code: i16 [..];
    }
}
