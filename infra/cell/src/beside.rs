//! What is served on the driver's own thread, beside it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use strandline_runtime::{Spawner, thread_cpu_time};
use strandline_types::limits;

/// Places on the thread on which the log is written. A producer's connection that is served there hears of its commit, and brings the next
/// requests, without any thread being woken: those that came while the log was synced are the next commit. But it is one thread. So it takes
/// in while it has time left, and sends away where it has none.
#[derive(Debug)]
pub struct Beside {
    spawner: OnceLock<Spawner>,
    taken: AtomicUsize,
    /// The share of the last window in which the thread computed, in percent.
    busy_percent: AtomicU32,
    /// One comes or goes in a window, so that what it costs is seen before the next one does: whether that may still be.
    turn: AtomicBool,
}

/// A place on the driver's thread, for as long as it is held.
#[derive(Debug)]
pub struct Place {
    beside: Arc<Beside>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.beside.taken.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("strandline_connections_on_log_thread").decrement(1.0);
    }
}

impl Place {
    /// Starts what runs in this place.
    pub fn spawner(&self) -> Option<&Spawner> {
        self.beside.spawner.get()
    }

    /// Whether others may wait for this place.
    pub fn is_wanted(&self) -> bool {
        self.beside.is_full()
    }

    /// Whether this one should go, since the thread has no time left.
    pub fn is_to_leave(&self) -> bool {
        self.beside.busy_percent.load(Ordering::Relaxed) > limits::LOG_THREAD_LEAVE_PERCENT && self.beside.take_turn()
    }
}

impl Default for Beside {
    fn default() -> Self {
        let (taken, busy_percent) = (AtomicUsize::new(0), AtomicU32::new(0));
        Self { spawner: OnceLock::new(), taken, busy_percent, turn: AtomicBool::new(true) }
    }
}

impl Beside {
    /// A place, if there is such a thread and it has time left.
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        let has_time = self.busy_percent.load(Ordering::Relaxed) < limits::LOG_THREAD_ENTER_PERCENT;
        if self.spawner.get().is_none() || !has_time || self.is_full() || !self.take_turn() {
            return None;
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!("strandline_connections_on_log_thread").increment(1.0);
        Some(Place { beside: self.clone() })
    }

    fn is_full(&self) -> bool {
        self.taken() >= limits::LOG_THREAD_CONNECTIONS
    }

    /// There is such a thread, on which this starts tasks.
    pub fn open(&self, spawner: Spawner) {
        let _ = self.spawner.set(spawner);
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn take_turn(&self) -> bool {
        self.turn.swap(false, Ordering::Relaxed)
    }

    /// So much of the last window did the thread compute. The next connection may come or go.
    pub fn measured(&self, computed: Duration, window: Duration) {
        let percent = computed.as_micros().saturating_mul(100).checked_div(window.as_micros()).unwrap_or_default();
        self.busy_percent.store(u32::try_from(percent).unwrap_or(100).min(100), Ordering::Relaxed);
        self.turn.store(true, Ordering::Relaxed);
    }
}

/// How much of its time the driver's thread computes: asked by the driver now and then, on that thread.
#[derive(Debug, Default)]
pub(crate) struct Load {
    began: Duration,
    computed: Duration,
}

impl Load {
    /// Shows what it was since the last time, if that is a while ago.
    pub(crate) fn look(&mut self, beside: &Beside, now: Duration) {
        let window = now.saturating_sub(self.began);
        if window < limits::LOG_THREAD_WINDOW || beside.spawner.get().is_none() {
            return;
        }
        let computed = thread_cpu_time();
        beside.measured(computed.saturating_sub(self.computed), window);
        *self = Self { began: now, computed };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = limits::LOG_THREAD_WINDOW;

    fn open() -> Arc<Beside> {
        let beside = Arc::new(Beside::default());
        beside.open(Spawner::in_place());
        beside
    }

    fn busy(beside: &Beside, percent: u32) {
        beside.measured(WINDOW * percent / 100, WINDOW);
    }

    #[test]
    fn one_enters_in_a_window_while_there_is_time() {
        let beside = open();
        assert!(Arc::new(Beside::default()).enter().is_none(), "there is no thread");
        let first = beside.enter();
        assert!(first.is_some() && beside.enter().is_none());
        busy(&beside, limits::LOG_THREAD_ENTER_PERCENT - 1);
        let second = beside.enter();
        assert!(second.is_some());
        busy(&beside, limits::LOG_THREAD_ENTER_PERCENT);
        assert!(beside.enter().is_none());
        assert_eq!(beside.taken(), 2);
        drop((first, second));
        assert_eq!(beside.taken(), 0);
    }

    #[test]
    fn one_leaves_in_a_window_where_there_is_no_time() {
        let beside = open();
        let first = beside.enter().unwrap();
        busy(&beside, limits::LOG_THREAD_LEAVE_PERCENT);
        assert!(!first.is_to_leave());
        busy(&beside, 100);
        assert!(first.is_to_leave() && !first.is_to_leave());
        busy(&beside, 100);
        assert!(first.is_to_leave());
    }
}
