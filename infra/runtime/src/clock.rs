//! The clock seam.
#![allow(clippy::disallowed_methods)] // the one place where the global clock is read

use futures::future::BoxFuture;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A clock. Nothing in the fold reads one (I3); proposers, lingers and time-outs do.
pub trait Clock: Send + Sync + 'static {
    /// The time of day, in milliseconds since 1970, UTC. May jump either way.
    fn now_ms(&self) -> i64;

    /// Time since some fixed moment; never goes back, and counts the time a machine was suspended
    /// (the 30 s rule of the commit log needs that).
    fn monotonic(&self) -> Duration;

    /// Waits. Follows tokio's time, so that a paused runtime makes it virtual.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
    }

    fn monotonic(&self) -> Duration {
        // macOS has no CLOCK_BOOTTIME; its CLOCK_MONOTONIC counts suspension already.
        #[cfg(target_os = "linux")]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let id = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(id);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

/// The time for which this thread has used a processor: how busy it is, and nothing that anything is decided by that others see.
pub fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A clock that starts where it is told and follows tokio's time; `skew` moves its time of day alone, as a
/// badly set machine clock would.
#[derive(Debug)]
pub struct VirtualClock {
    started: tokio::time::Instant,
    start_ms: i64,
    skew_ms: AtomicI64,
}

impl VirtualClock {
    /// A clock whose time of day is `start_ms` now. Must be made inside a tokio runtime.
    pub fn new(start_ms: i64) -> Self {
        Self { started: tokio::time::Instant::now(), start_ms, skew_ms: AtomicI64::new(0) }
    }

    /// Moves the time of day by `skew_ms` against the true one.
    pub fn set_skew_ms(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.start_ms.saturating_add(elapsed).saturating_add(self.skew_ms.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_virtual_clock_follows_paused_time_and_skew() {
        let clock = VirtualClock::new(1_000);
        clock.sleep(Duration::from_secs(3_600)).await;
        assert_eq!(clock.now_ms(), 1_000 + 3_600_000);
        clock.set_skew_ms(-86_400_000);
        assert_eq!(clock.now_ms(), 1_000 + 3_600_000 - 86_400_000);
        assert_eq!(clock.monotonic(), Duration::from_secs(3_600));
    }
}
