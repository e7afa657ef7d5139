//! How long clients are asked to wait before their next request.

use metrics::Gauge;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strandline_types::limits;

/// Bytes of batches that were taken in and not answered yet.
#[derive(Clone)]
pub(crate) struct InFlight {
    bytes: Arc<AtomicUsize>,
    gauge: Gauge,
}

/// A request's share; given back when it is dropped.
pub(crate) struct InFlightBytes {
    of: InFlight,
    bytes: usize,
}

impl Default for InFlight {
    fn default() -> Self {
        Self { bytes: Arc::default(), gauge: metrics::gauge!("strandline_produce_in_flight_bytes") }
    }
}

impl InFlight {
    pub(crate) fn add(&self, bytes: usize) -> InFlightBytes {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.gauge.set(before.saturating_add(bytes) as f64);
        InFlightBytes { of: self.clone(), bytes }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for InFlightBytes {
    fn drop(&mut self) {
        let before = self.of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.of.gauge.set(before.saturating_sub(self.bytes) as f64);
    }
}

/// 0 up to three quarters of `full`, then rising to `longest`.
fn rising(fill: u64, full: u64, longest: Duration) -> Duration {
    let from = full / 4 * 3;
    let beyond = fill.saturating_sub(from).min(full - from);
    let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(beyond.saturating_mul(longest_ms) / (full - from).max(1))
}

/// `throttle_time_ms`: back-pressure that a client sees before its socket is left unread (KIP-219).
pub(crate) fn throttle_time_ms(in_flight_bytes: usize, extents: u64) -> i32 {
    let queue = rising(in_flight_bytes as u64, limits::COMMIT_QUEUE_BYTES as u64, limits::THROTTLE_QUEUE);
    let index = rising(extents, limits::EXTENTS as u64, limits::THROTTLE_EXTENTS);
    i32::try_from(queue.max(index).min(limits::REQUEST_WAIT).as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_slowed_down_only_near_the_bound() {
        assert_eq!(throttle_time_ms(0, 0), 0);
        assert_eq!(throttle_time_ms(limits::COMMIT_QUEUE_BYTES / 4 * 3, 0), 0);
        assert_eq!(throttle_time_ms(limits::COMMIT_QUEUE_BYTES / 8 * 7, 0), 100);
        assert_eq!(throttle_time_ms(usize::MAX, 0), 200);
        assert_eq!(throttle_time_ms(0, limits::EXTENTS as u64), 5_000);
        assert_eq!(throttle_time_ms(usize::MAX, u64::MAX), 5_000);
    }

    #[test]
    fn a_share_is_given_back() {
        let in_flight = InFlight::default();
        let share = in_flight.add(10);
        assert_eq!(in_flight.bytes(), 10);
        drop(share);
        assert_eq!(in_flight.bytes(), 0);
    }
}
