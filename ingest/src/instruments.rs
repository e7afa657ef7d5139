//! What the produce path counts.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Handles, looked up once.
#[derive(Clone)]
pub(crate) struct Instruments {
    pub(crate) requests: Counter,
    pub(crate) records: Counter,
    pub(crate) bytes: Counter,
    pub(crate) seconds: Histogram,
    pub(crate) blocking_checks: Counter,
    pub(crate) recompressed: Counter,
    pub(crate) decompressing: Gauge,
}

impl Instruments {
    pub(crate) fn new() -> Self {
        Self {
            requests: counter!("strandline_produce_requests_total"),
            records: counter!("strandline_produce_records_total"),
            bytes: counter!("strandline_produce_bytes_total"),
            seconds: histogram!("strandline_produce_seconds"),
            blocking_checks: counter!("strandline_produce_blocking_checks_total"),
            recompressed: counter!("strandline_produce_recompressed_batches_total"),
            decompressing: gauge!("strandline_produce_decompressing_bytes"),
        }
    }

    /// A batch was refused, with this Kafka error.
    pub(crate) fn refused(error: &'static str) {
        counter!("strandline_produce_errors_total", "error" => error).increment(1);
    }
}
