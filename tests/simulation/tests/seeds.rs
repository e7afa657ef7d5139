//! Seeds, run one after the other. `SIMULATION_SEED=7` runs one, `SIMULATION_SEEDS=100..200` a slice.
#![allow(clippy::unwrap_used, clippy::panic)]

use strandline_simulation::{Script, check_seeds, run_script, run_seed, seeds_of_each_kind, seeds_or};

/// Those that a build of the project runs.
const SEEDS: std::ops::Range<u64> = 0..300;

// In two halves, one a core.
#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_even_seeds() {
    check_seeds(seeds_or(SEEDS), 0, 2);
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_odd_seeds() {
    check_seeds(seeds_or(SEEDS), 1, 2);
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in seeds_of_each_kind() {
        assert_eq!(run_seed(seed), run_seed(seed), "seed {seed}");
    }
    let script = || run_script(Script::OpenPlanTakenOver, None);
    assert_eq!(script(), script());
}
