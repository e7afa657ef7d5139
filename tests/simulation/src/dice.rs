//! Everything that happens by chance, from one seed.

use std::sync::Arc;
use std::time::Duration;
use strandline_runtime::{Random, SeededRandom};

/// A generator of its own; the same seed and stream, the same throws.
#[derive(Clone)]
pub(crate) struct Dice(Arc<SeededRandom>);

impl Dice {
    pub fn new(seed: u64, stream: u64) -> Self {
        // Far apart, so that no stream of one seed is that of another.
        Self(Arc::new(SeededRandom::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream.wrapping_mul(0xc2b2_ae3d_27d4_eb4f))))
    }

    pub fn below(&self, below: u64) -> u64 {
        self.0.below(below)
    }

    pub fn between(&self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// `percent` times of a hundred.
    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        from.get(usize::try_from(self.below(from.len() as u64)).ok()?)
    }

    pub fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.between(from, to))
    }

    pub fn random(&self) -> Arc<SeededRandom> {
        self.0.clone()
    }
}
