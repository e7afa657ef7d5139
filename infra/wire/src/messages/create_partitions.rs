//! CreatePartitions (37): adds partitions to topics.

api!(CreatePartitions: CreatePartitionsRequest => CreatePartitionsResponse);

wire! {
    /// Topics and the partitions that they are to have.
    CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic> [..];
        timeout_ms: i32 [..];
        validate_only: bool [..];
    }

    /// One of `topics` of [`CreatePartitionsRequest`].
    CreatePartitionsTopic {
        name: String [..];
        count: i32 [..];
        assignments: Option<Vec<CreatePartitionsAssignment>> [..];
    }

    /// One of `assignments` of [`CreatePartitionsTopic`].
    CreatePartitionsAssignment {
        broker_ids: Vec<i32> [..];
    }

    /// What became of each topic.
    CreatePartitionsResponse {
        throttle_time_ms: i32 [..];
        results: Vec<CreatePartitionsTopicResult> [..];
    }

    /// One of `results` of [`CreatePartitionsResponse`].
    CreatePartitionsTopicResult {
        name: String [..];
        error_code: i16 [..];
        error_message: Option<String> [..];
    }
}
