//! The randomness seam.

use rand::{RngCore, SeedableRng, rngs::StdRng};
use std::sync::{Mutex, PoisonError};

/// Random numbers that a simulation can replay.
pub trait Random: Send + Sync + 'static {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;

    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// Uniform in `[0, below)`; 0 when `below` is 0.
    fn below(&self, below: u64) -> u64 {
        if below == 0 { 0 } else { self.next_u64() % below }
    }

    /// 16 random bytes, for ids and nonces.
    fn id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        self.fill(&mut id);
        id
    }
}

/// A generator with a seed: the same seed, the same numbers.
pub struct SeededRandom(Mutex<StdRng>);

impl SeededRandom {
    /// A generator that starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }
}

/// A generator seeded by the operating system.
pub fn system_random() -> SeededRandom {
    SeededRandom(Mutex::new(StdRng::from_os_rng()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (a, b) = (SeededRandom::new(7), SeededRandom::new(7));
        assert_eq!((a.id(), a.below(10), a.below(0)), (b.id(), b.below(10), b.below(0)));
        assert_ne!(SeededRandom::new(8).id(), SeededRandom::new(7).id());
    }
}
