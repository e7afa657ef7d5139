//! EndTxn (26): ends a transaction.

api!(EndTxn: EndTxnRequest => EndTxnResponse);

wire! {
    /// Commit or abort.
    EndTxnRequest {
        transactional_id: String [..];
        producer_id: i64 [..];
        producer_epoch: i16 [..];
        committed: bool [..];
    }

    /// Success, and from version 5 the next producer epoch.
    EndTxnResponse {
        throttle_time_ms: i32 [..];
        error_code: i16 [..];
        producer_id: i64 [5..] = -1;
        producer_epoch: i16 [5..] = -1;
    }
}
