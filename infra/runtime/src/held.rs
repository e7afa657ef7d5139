//! Room that is held, shown by a gauge.

use metrics::Gauge;
use tokio::sync::OwnedSemaphorePermit;

/// Part of a bounded room, in bytes (I11). The gauge shows all parts together: each adds itself, and takes itself away when it is
/// dropped, in whatever order threads do so.
#[derive(Debug)]
pub struct Held {
    permit: OwnedSemaphorePermit,
    gauge: Gauge,
}

impl Held {
    /// What was just acquired.
    pub fn new(permit: OwnedSemaphorePermit, gauge: Gauge) -> Self {
        gauge.increment(permit.num_permits() as f64);
        Self { permit, gauge }
    }

    /// How much it is.
    pub fn bytes(&self) -> usize {
        self.permit.num_permits()
    }

    /// Makes it larger by what was just acquired of the same room.
    pub fn grow(&mut self, more: OwnedSemaphorePermit) {
        self.gauge.increment(more.num_permits() as f64);
        self.permit.merge(more);
    }

    /// So many bytes of it, or all that it is.
    pub fn split(&mut self, bytes: usize) -> Option<Self> {
        Some(Self { permit: self.permit.split(bytes.min(self.bytes()))?, gauge: self.gauge.clone() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gauge.decrement(self.bytes() as f64);
    }
}
