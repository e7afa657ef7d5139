//! Faults that are planted on purpose: each is found, by a script or within its number of seeds.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use strandline_simulation::{Finding, Mutation, Runs, run_control, run_mutated};

/// Whether a run that failed was found by what the fault does; whatever else it was is said, and does not count.
fn is_found(fault: &str, failure: &str, expected: Finding) -> bool {
    let what = failure.lines().next().unwrap_or_default();
    let is_expected = expected.is(failure);
    let by = if is_expected { format!("{expected:?}") } else { format!("not {expected:?}, but {:?}", Finding::of(failure)) };
    eprintln!("{fault}: {by}: {what}");
    is_expected
}

fn all_are_found(mutations: impl IntoIterator<Item = (Mutation, u64, Finding)>) {
    let mut missed = Vec::new();
    for (mutation, seeds, expected) in mutations {
        let mut failures = (0..seeds).filter_map(|seed| Some((seed, run_mutated(seed, Some(mutation)).err()?)));
        if !failures.any(|(seed, failure)| is_found(&format!("{mutation:?}: seed {seed}"), &failure, expected)) {
            missed.push(format!("{mutation:?} within {seeds} seeds as {expected:?}"));
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Where a fault is looked for in runs of another kind, it is the fault that is found there.
#[test]
fn nothing_is_found_without_a_fault() {
    let by_chance = Mutation::BY_CHANCE.map(|(rule, seeds, _)| (Mutation::Rule(rule), seeds));
    let all = Mutation::ALL.map(|(mutation, seeds, _)| (mutation, seeds)).into_iter().chain(by_chance);
    let mut kinds = BTreeMap::new();
    for (mutation, seeds) in all.filter(|(mutation, _)| mutation.runs() != Runs::Ordinary) {
        // Faults of a kind are looked for in the same runs.
        let (_, most) = kinds.entry(mutation.runs()).or_insert((mutation, seeds));
        *most = seeds.max(*most);
    }
    let mut failed = Vec::new();
    for (mutation, seeds) in kinds.into_values() {
        for seed in 0..seeds {
            if let Err(failure) = run_control(seed, mutation) {
                eprintln!("as for {mutation:?}, without it: seed {seed}: {failure}\n");
                failed.push((mutation, seed, failure.lines().next().unwrap_or_default().to_owned()));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_planted_fault_is_found() {
    all_are_found(Mutation::ALL);
}

#[cfg(feature = "mutations")]
#[test]
fn chance_finds_the_rules_that_it_meets() {
    all_are_found(Mutation::BY_CHANCE.map(|(rule, seeds, expected)| (Mutation::Rule(rule), seeds, expected)));
}

#[cfg(feature = "mutations")]
#[test]
fn a_script_finds_every_other_rule() {
    let mut missed = Vec::new();
    for (rule, script, expected) in Mutation::BY_SCRIPT {
        let found = match strandline_simulation::run_script(script, Some(Mutation::Rule(rule))) {
            Err(failure) => is_found(&format!("{rule:?}: {script:?}"), &failure, expected),
            Ok(_) => false,
        };
        if !found {
            missed.push((rule, script, expected));
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// What only says that something broke is nothing that a fault is found by.
#[test]
fn a_panic_or_a_run_without_an_end_counts_for_no_fault() {
    for failure in [
        "the run does not end: something waits for ever (I11)",
        "an error in the log that nothing explains: PANIC panicked at reader/src/plan.rs:1:1: index out of bounds",
        "the nodes do not come to agree, without any fault",
        "a run that found nothing\n\nthe last lines:\n wal/1 is deleted, and extents refer to it (I8)",
    ] {
        assert_eq!(Finding::of(failure), None, "{failure}");
    }
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
