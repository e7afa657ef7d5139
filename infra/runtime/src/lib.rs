//! Time, randomness and tasks, as seams.
//!
//! Everything that runs in a node is handed a [`Runtime`]. In the binary it is the machine's clock, a
//! generator seeded by the operating system and tokio's tasks; in a simulation it is a virtual clock, a
//! seed and a set of tasks that can be killed at once, as a crash kills them.
//!
//! [`Held`] is what all bounded rooms hand out: bytes that a gauge shows for as long as they are held.
//!
//! What it must never do: offer a way around itself. `clippy.toml` forbids the global clock and bare
//! spawning everywhere else; global random numbers are not there, since `rand` is built without them.

mod background;
mod clock;
mod held;
mod random;
mod spawner;

pub use clock::{Clock, SystemClock, VirtualClock, thread_cpu_time};
pub use held::Held;
pub use random::{Random, SeededRandom, system_random};
pub use spawner::{BlockingError, Spawner, TaskGroup, after_blocking, tidy_thread};

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// After a panic a lasting task is begun anew, and not at once: what it stumbled over is likely still there.
const AFTER_PANIC: Duration = Duration::from_secs(10);

/// The three seams together; cheap to clone, handed to every component.
#[derive(Clone)]
pub struct Runtime {
    /// The time of day and the time that only goes forward.
    pub clock: Arc<dyn Clock>,
    /// Random numbers.
    pub random: Arc<dyn Random>,
    /// Tasks and blocking work.
    pub spawner: Spawner,
}

impl Runtime {
    /// The machine's own clock and randomness, tasks on the current tokio runtime.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), random: Arc::new(system_random()), spawner: Spawner::tokio() }
    }

    /// A virtual clock that starts at `start_ms` and follows tokio's (pausable) time, random numbers from
    /// `seed`, blocking work done in place. For simulations and tests.
    pub fn simulated(seed: u64, start_ms: i64) -> Self {
        Self {
            clock: Arc::new(VirtualClock::new(start_ms)),
            random: Arc::new(SeededRandom::new(seed)),
            spawner: Spawner::in_place(),
        }
    }

    /// Sleeps on the injected clock.
    pub async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    /// Starts a task in the group of `spawner` that must go on until it ends by itself: one that panics is begun anew after ten seconds, so
    /// that a fault met once ends no upkeep for good. It must not rely on what an earlier run left half done in `state`.
    pub fn spawn_lasting<S, F>(&self, spawner: &Spawner, name: &'static str, state: &Arc<S>, task: fn(Arc<S>) -> F)
    where
        S: Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (clock, state) = (self.clock.clone(), state.clone());
        spawner.spawn(name, async move {
            while spawner::caught(name, task(state.clone())).await.is_none() {
                clock.sleep(AFTER_PANIC).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_lasting_task_goes_on_after_a_panic() {
        let runtime = Runtime::simulated(1, 0);
        let counts: Arc<[AtomicU32; 2]> = Arc::default();
        runtime.spawn_lasting(&runtime.spawner, "stumbles", &counts, |counts| async move {
            assert!(counts[0].fetch_add(1, Ordering::Relaxed) > 1, "ordered by the test");
            counts[1].fetch_add(1, Ordering::Relaxed);
        });
        let [begun, ended] = &*counts;
        runtime.sleep(AFTER_PANIC / 2).await;
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        runtime.sleep(AFTER_PANIC * 10).await;
        assert_eq!((begun.load(Ordering::Relaxed), ended.load(Ordering::Relaxed)), (3, 1), "it ends when it ends by itself");
    }
}
