//! Faults that are planted on purpose: each is found within its number of seeds.
#![allow(clippy::unwrap_used, clippy::panic)]

use strandline_simulation::{Mutation, run_mutated};

/// The first seed that finds it, and what was found.
fn found(mutation: Mutation, seeds: u64) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| Some((seed, run_mutated(seed, Some(mutation)).err()?.lines().next()?.to_owned())))
}

fn all_are_found(mutations: &[(Mutation, u64)]) {
    let mut missed = Vec::new();
    for (mutation, seeds) in mutations.iter().copied() {
        match found(mutation, seeds) {
            Some((seed, what)) => eprintln!("{mutation:?}: seed {seed}: {what}"),
            None => missed.push(format!("{mutation:?} within {seeds} seeds")),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn every_planted_fault_is_found() {
    all_are_found(&Mutation::ALL);
}

#[cfg(feature = "mutations")]
#[test]
fn every_rule_of_the_fold_that_is_switched_off_is_missed() {
    all_are_found(&Mutation::SWITCHES);
}
