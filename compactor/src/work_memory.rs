//! The memory that conversions, merges and seals share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_types::limits;
use strandline_types::mutations::{Rule, holds};
use tokio::sync::Notify;

/// Who waits for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A conversion: records are to be rows within seconds. Goes first.
    Fresh,
    /// A merge or seal.
    Upkeep,
}

/// A bound in bytes over all heavy work of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct WorkMemory {
    inner: Arc<Inner>,
}

struct Inner {
    limit_bytes: u64,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    taken_bytes: u64,
    urgent_waiting: usize,
}

/// Memory that was taken; given back when dropped.
pub(crate) struct Taken {
    inner: Arc<Inner>,
    bytes: u64,
}

/// A conversion that waits; merges and seals that come meanwhile wait behind it.
struct Waiting<'a>(&'a Inner);

impl WorkMemory {
    pub fn new(limit_bytes: u64) -> Self {
        Self { inner: Arc::new(Inner { limit_bytes, state: Mutex::default(), changed: Notify::new() }) }
    }

    /// Waits for so many bytes; what is more than there are in all gets all of them.
    pub async fn take(&self, urgency: Urgency, bytes: u64) -> Taken {
        let inner = &self.inner;
        let bytes = bytes.min(inner.limit_bytes);
        let _waiting = (urgency == Urgency::Fresh).then(|| Waiting::new(inner));
        loop {
            let mut changed = std::pin::pin!(inner.changed.notified());
            // From here on, so that nothing given back after the look is missed.
            changed.as_mut().enable();
            {
                let mut state = inner.lock();
                let is_free = urgency == Urgency::Fresh || state.urgent_waiting == 0;
                if is_free && state.taken_bytes + bytes <= inner.limit_bytes {
                    state.taken_bytes += bytes;
                    show(&state);
                    return Taken { inner: inner.clone(), bytes };
                }
            }
            changed.await;
        }
    }
}

impl Default for WorkMemory {
    fn default() -> Self {
        Self::new(limits::COMPACTOR_BYTES as u64)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Waiting<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.lock().urgent_waiting += 1;
        Self(inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().urgent_waiting -= 1;
        self.0.changed.notify_waiters();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        state.taken_bytes -= self.bytes.saturating_sub(u64::from(!holds(Rule::GivenBack)));
        show(&state);
        drop(state);
        self.inner.changed.notify_waiters();
    }
}

fn show(state: &State) {
    metrics::gauge!("strandline_compactor_bytes").set(state.taken_bytes as f64);
}

/// What writing a file of so many record bytes takes.
pub(crate) fn writer_bytes(record_bytes: u64) -> u64 {
    const LEAST: u64 = 1 << 20;
    record_bytes.saturating_mul(2).saturating_add(LEAST).min(limits::WRITER_BYTES as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_conversion_goes_before_a_seal_and_nobody_goes_over_the_bound() {
        let memory = WorkMemory::new(100);
        let first = memory.take(Urgency::Upkeep, 60).now_or_never().unwrap();
        let mut seal = Box::pin(memory.take(Urgency::Upkeep, 50));
        let mut conversion = Box::pin(memory.take(Urgency::Fresh, 70));
        assert!(seal.as_mut().now_or_never().is_none() && conversion.as_mut().now_or_never().is_none());
        assert!(memory.take(Urgency::Upkeep, 1).now_or_never().is_none(), "a conversion waits");
        drop(first);
        assert!(seal.as_mut().now_or_never().is_none(), "the conversion is first");
        let converting = conversion.as_mut().now_or_never().unwrap();
        drop(conversion);
        assert!(seal.as_mut().now_or_never().is_none());
        drop(converting);
        let sealing = seal.as_mut().now_or_never().unwrap();
        assert!(memory.take(Urgency::Fresh, 51).now_or_never().is_none());
        drop(sealing);
        assert!(memory.take(Urgency::Fresh, 1_000).now_or_never().is_some(), "more than there is gets all");
        // Who gives up waiting is in nobody's way.
        let all = memory.take(Urgency::Upkeep, 100).now_or_never().unwrap();
        let mut given_up = Box::pin(memory.take(Urgency::Fresh, 1));
        assert!(given_up.as_mut().now_or_never().is_none());
        drop((given_up, all));
        assert!(memory.take(Urgency::Upkeep, 1).now_or_never().is_some());
    }
}
