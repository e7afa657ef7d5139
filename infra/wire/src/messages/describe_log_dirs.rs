//! DescribeLogDirs (35): sizes of partitions.

api!(DescribeLogDirs: DescribeLogDirsRequest => DescribeLogDirsResponse);

wire! {
    /// Partitions whose size is asked for; null is all.
    DescribeLogDirsRequest {
        topics: Option<Vec<DescribableLogDirTopic>> [..];
    }

    /// One of `topics` of [`DescribeLogDirsRequest`].
    DescribableLogDirTopic {
        topic: String [..];
        partitions: Vec<i32> [..];
    }

    /// Folders and the partitions in them.
    DescribeLogDirsResponse {
        throttle_time_ms: i32 [..];
        error_code: i16 [3..];
        results: Vec<DescribeLogDirsResult> [..];
    }

    /// One of `results` of [`DescribeLogDirsResponse`].
    DescribeLogDirsResult {
        error_code: i16 [..];
        log_dir: String [..];
        topics: Vec<DescribeLogDirsTopic> [..];
        total_bytes: i64 [4..] = -1;
        usable_bytes: i64 [4..] = -1;
    }

    /// One of `topics` of [`DescribeLogDirsResult`].
    DescribeLogDirsTopic {
        name: String [..];
        partitions: Vec<DescribeLogDirsPartition> [..];
    }

    /// One of `partitions` of [`DescribeLogDirsTopic`].
    DescribeLogDirsPartition {
        partition_index: i32 [..];
        partition_size: i64 [..];
        offset_lag: i64 [..];
        is_future_key: bool [..];
    }
}
