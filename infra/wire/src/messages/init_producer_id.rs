//! InitProducerId (22): ids for idempotent and transactional producers.

api!(InitProducerId: InitProducerIdRequest => InitProducerIdResponse);

wire! {
    /// Asks for a producer id, or for the next epoch of one.
    InitProducerIdRequest {
        transactional_id: Option<String> [..];
        transaction_timeout_ms: i32 [..];
        producer_id: i64 [3..] = -1;
        producer_epoch: i16 [3..] = -1;
    }

    /// The producer id and its epoch.
    InitProducerIdResponse {
        throttle_time_ms: i32 [..];
        error_code: i16 [..];
        producer_id: i64 [..] = -1;
        producer_epoch: i16 [..];
    }
}
