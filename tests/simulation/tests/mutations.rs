//! Faults that are planted on purpose: each is found, by a script or within its number of seeds.
#![allow(clippy::unwrap_used, clippy::panic)]

use strandline_simulation::{Mutation, run_mutated};

/// The first seed that finds it, and what was found.
fn found(mutation: Mutation, seeds: u64) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| Some((seed, run_mutated(seed, Some(mutation)).err()?.lines().next()?.to_owned())))
}

fn all_are_found(mutations: impl IntoIterator<Item = (Mutation, u64)>) {
    let mut missed = Vec::new();
    for (mutation, seeds) in mutations {
        match found(mutation, seeds) {
            Some((seed, what)) => eprintln!("{mutation:?}: seed {seed}: {what}"),
            None => missed.push(format!("{mutation:?} within {seeds} seeds")),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn every_planted_fault_is_found() {
    all_are_found(Mutation::ALL);
}

#[cfg(feature = "mutations")]
#[test]
fn chance_finds_the_rules_that_it_meets() {
    all_are_found(Mutation::BY_CHANCE.map(|(rule, seeds)| (Mutation::Rule(rule), seeds)));
}

#[cfg(feature = "mutations")]
#[test]
fn a_script_finds_every_other_rule() {
    let mut missed = Vec::new();
    for (rule, script) in Mutation::BY_SCRIPT {
        match strandline_simulation::run_script(script, Some(Mutation::Rule(rule))) {
            Err(what) => eprintln!("{rule:?}: {script:?}: {}", what.lines().next().unwrap_or_default()),
            Ok(_) => missed.push((rule, script)),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Nothing is written anew yet, so every row has generation 0 and no cell needs this rule (C1): the suite that every segment
/// index has to pass misses it.
#[cfg(feature = "mutations")]
#[tokio::test]
async fn the_suite_of_segment_indexes_finds_rows_that_give_way_to_any() {
    use std::sync::Arc;
    use strandline_segment_index::{MemorySegmentIndex, SegmentIndex, conformance};
    use strandline_types::mutations::{Rule, switch_off};

    let make = async || Arc::new(MemorySegmentIndex::new()) as Arc<dyn SegmentIndex>;
    conformance::run(make).await.unwrap();
    switch_off(Some(Rule::C1));
    let broken = conformance::run(make).await.unwrap_err();
    switch_off(None);
    assert_eq!(broken.promise, "a row gives way only to a higher generation");
}
