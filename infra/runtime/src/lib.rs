//! Time, randomness and tasks, as seams.
//!
//! Everything that runs in a node is handed a [`Runtime`]. In the binary it is the machine's clock, a
//! generator seeded by the operating system and tokio's tasks; in a simulation it is a virtual clock, a
//! seed and a set of tasks that can be killed at once, as a crash kills them.
//!
//! [`Held`] is what all bounded rooms hand out: bytes that a gauge shows for as long as they are held.
//!
//! What it must never do: offer a way around itself. `clippy.toml` forbids the global clock, the global
//! random numbers and bare spawning everywhere else.

mod background;
mod clock;
mod held;
mod random;
mod spawner;

pub use clock::{Clock, SystemClock, VirtualClock};
pub use held::Held;
pub use random::{Random, SeededRandom, system_random};
pub use spawner::{BlockingError, Spawner, TaskGroup, after_blocking};

use std::sync::Arc;

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
    pub async fn sleep(&self, duration: std::time::Duration) {
        self.clock.sleep(duration).await;
    }
}
