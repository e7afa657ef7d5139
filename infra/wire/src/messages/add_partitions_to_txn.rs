//! AddPartitionsToTxn (24): adds partitions to a transaction.

api!(AddPartitionsToTxn: AddPartitionsToTxnRequest => AddPartitionsToTxnResponse);

wire! {
    /// Partitions to add to a transaction; many transactions from version 4.
    AddPartitionsToTxnRequest {
        transactions: Vec<AddPartitionsToTxnTransaction> [4..];
        v3_and_below_transactional_id: String [..=3];
        v3_and_below_producer_id: i64 [..=3];
        v3_and_below_producer_epoch: i16 [..=3];
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic> [..=3];
    }

    /// One of `transactions` of [`AddPartitionsToTxnRequest`].
    AddPartitionsToTxnTransaction {
        transactional_id: String [4..];
        producer_id: i64 [4..];
        producer_epoch: i16 [4..];
        verify_only: bool [4..];
        topics: Vec<AddPartitionsToTxnTopic> [4..];
    }

    /// A part of [`AddPartitionsToTxnRequest`] that it uses more than once.
    AddPartitionsToTxnTopic {
        name: String [..];
        partitions: Vec<i32> [..];
    }

    /// What became of each partition.
    AddPartitionsToTxnResponse {
        throttle_time_ms: i32 [..];
        error_code: i16 [4..];
        results_by_transaction: Vec<AddPartitionsToTxnResult> [4..];
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult> [..=3];
    }

    /// One of `results_by_transaction` of [`AddPartitionsToTxnResponse`].
    AddPartitionsToTxnResult {
        transactional_id: String [4..];
        topic_results: Vec<AddPartitionsToTxnTopicResult> [4..];
    }

    /// A part of [`AddPartitionsToTxnResponse`] that it uses more than once.
    AddPartitionsToTxnTopicResult {
        name: String [..];
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult> [..];
    }

    /// A part of [`AddPartitionsToTxnResponse`] that it uses more than once.
    AddPartitionsToTxnPartitionResult {
        partition_index: i32 [..];
        partition_error_code: i16 [..];
    }
}
