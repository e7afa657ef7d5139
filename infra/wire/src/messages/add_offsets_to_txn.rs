//! AddOffsetsToTxn (25): adds a group to a transaction.

api!(AddOffsetsToTxn: AddOffsetsToTxnRequest => AddOffsetsToTxnResponse);

wire! {
    /// A group whose offsets are to be part of a transaction.
    AddOffsetsToTxnRequest {
        transactional_id: String [..];
        producer_id: i64 [..];
        producer_epoch: i16 [..];
        group_id: String [..];
    }

    /// Success or failure.
    AddOffsetsToTxnResponse {
        throttle_time_ms: i32 [..];
        error_code: i16 [..];
    }
}
