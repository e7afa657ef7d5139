//! Seeds, run one after the other. `SIMULATION_SEED=7` runs one, `SIMULATION_SEEDS=100..200` a slice.
#![allow(clippy::unwrap_used, clippy::panic)]

use strandline_simulation::{check_seeds, run_seed, seeds_or};

#[test]
fn nothing_acknowledged_is_lost_or_doubled() {
    check_seeds(seeds_or(0..24));
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in seeds_or(0..3) {
        assert_eq!(run_seed(seed), run_seed(seed), "seed {seed}");
    }
}
