//! TxnOffsetCommit (28): commits offsets inside a transaction.

api!(TxnOffsetCommit: TxnOffsetCommitRequest => TxnOffsetCommitResponse);

wire! {
    /// Offsets to commit with a transaction.
    TxnOffsetCommitRequest {
        transactional_id: String [..];
        group_id: String [..];
        producer_id: i64 [..];
        producer_epoch: i16 [..];
        generation_id: i32 [3..] = -1;
        member_id: String [3..];
        group_instance_id: Option<String> [3..];
        topics: Vec<TxnOffsetCommitRequestTopic> [..];
    }

    /// One of `topics` of [`TxnOffsetCommitRequest`].
    TxnOffsetCommitRequestTopic {
        name: String [..];
        partitions: Vec<TxnOffsetCommitRequestPartition> [..];
    }

    /// One of `partitions` of [`TxnOffsetCommitRequestTopic`].
    TxnOffsetCommitRequestPartition {
        partition_index: i32 [..];
        committed_offset: i64 [..];
        committed_leader_epoch: i32 [2..] = -1;
        committed_metadata: Option<String> [..];
    }

    /// What became of each partition.
    TxnOffsetCommitResponse {
        throttle_time_ms: i32 [..];
        topics: Vec<TxnOffsetCommitResponseTopic> [..];
    }

    /// One of `topics` of [`TxnOffsetCommitResponse`].
    TxnOffsetCommitResponseTopic {
        name: String [..];
        partitions: Vec<TxnOffsetCommitResponsePartition> [..];
    }

    /// One of `partitions` of [`TxnOffsetCommitResponseTopic`].
    TxnOffsetCommitResponsePartition {
        partition_index: i32 [..];
        error_code: i16 [..];
    }
}
