//! DeleteRecords (21): moves the log start (KIP-107).

api!(DeleteRecords: DeleteRecordsRequest => DeleteRecordsResponse);

wire! {
    /// Offsets below which records are to go.
    DeleteRecordsRequest {
        topics: Vec<DeleteRecordsTopic> [..];
        timeout_ms: i32 [..];
    }

    /// One of `topics` of [`DeleteRecordsRequest`].
    DeleteRecordsTopic {
        name: String [..];
        partitions: Vec<DeleteRecordsPartition> [..];
    }

    /// One of `partitions` of [`DeleteRecordsTopic`].
    DeleteRecordsPartition {
        partition_index: i32 [..];
        offset: i64 [..];
    }

    /// The new log start of each partition.
    DeleteRecordsResponse {
        throttle_time_ms: i32 [..];
        topics: Vec<DeleteRecordsTopicResult> [..];
    }

    /// One of `topics` of [`DeleteRecordsResponse`].
    DeleteRecordsTopicResult {
        name: String [..];
        partitions: Vec<DeleteRecordsPartitionResult> [..];
    }

    /// One of `partitions` of [`DeleteRecordsTopicResult`].
    DeleteRecordsPartitionResult {
        partition_index: i32 [..];
        low_watermark: i64 [..];
        error_code: i16 [..];
    }
}
