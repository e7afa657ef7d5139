//! OffsetForLeaderEpoch (23): where a leader epoch ended (KIP-320).

api!(OffsetForLeaderEpoch: OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse);

wire! {
    /// Leader epochs whose end is asked for.
    OffsetForLeaderEpochRequest {
        replica_id: i32 [3..] = -2;
        topics: Vec<OffsetForLeaderTopic> [..];
    }

    /// One of `topics` of [`OffsetForLeaderEpochRequest`].
    OffsetForLeaderTopic {
        topic: String [..];
        partitions: Vec<OffsetForLeaderPartition> [..];
    }

    /// One of `partitions` of [`OffsetForLeaderTopic`].
    OffsetForLeaderPartition {
        partition: i32 [..];
        current_leader_epoch: i32 [..] = -1;
        leader_epoch: i32 [..];
    }

    /// The end offset of each epoch.
    OffsetForLeaderEpochResponse {
        throttle_time_ms: i32 [..];
        topics: Vec<OffsetForLeaderTopicResult> [..];
    }

    /// One of `topics` of [`OffsetForLeaderEpochResponse`].
    OffsetForLeaderTopicResult {
        topic: String [..];
        partitions: Vec<EpochEndOffset> [..];
    }

    /// One of `partitions` of [`OffsetForLeaderTopicResult`].
    EpochEndOffset {
        error_code: i16 [..];
        partition: i32 [..];
        leader_epoch: i32 [..] = -1;
        end_offset: i64 [..] = -1;
    }
}
