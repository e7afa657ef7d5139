//! Which seeds are run, and what is printed when one fails.

use crate::gauges::Gauges;
use crate::run::run_seed;
use crate::shape::Shape;
use std::collections::BTreeSet;
use std::ops::Range;

/// In so many runs clients are answered now and then, whatever goes wrong.
const SOME: usize = 5;
/// So many runs do between them all that runs do.
const MANY: usize = 100;

/// What is asked for and cannot be understood must not run something else, or nothing, and pass.
fn number(name: &str, text: &str) -> u64 {
    text.trim().parse().unwrap_or_else(|error| panic!("{name}: `{text}` is no seed ({error})"))
}

/// `SIMULATION_SEED=7`, or `SIMULATION_SEEDS=100..200`, or these.
///
/// # Panics
/// If what is asked for is no seed, or no seeds.
pub fn seeds_or(range: Range<u64>) -> Range<u64> {
    asked_for(std::env::var("SIMULATION_SEED").ok(), std::env::var("SIMULATION_SEEDS").ok()).unwrap_or(range)
}

fn asked_for(one: Option<String>, some: Option<String>) -> Option<Range<u64>> {
    if let Some(text) = one {
        let seed = number("SIMULATION_SEED", &text);
        return Some(seed..seed + 1);
    }
    let text = some?;
    let (from, to) = text.split_once("..").unwrap_or_else(|| panic!("SIMULATION_SEEDS: `{text}` is not of the form 100..200"));
    let seeds = number("SIMULATION_SEEDS", from)..number("SIMULATION_SEEDS", to);
    assert!(!seeds.is_empty(), "SIMULATION_SEEDS: there is no seed in `{text}`");
    Some(seeds)
}

/// Seeds that have every kind of run between them: several nodes, a sole one, one on a disk, an upgrade, clocks that are wrong.
pub fn seeds_of_each_kind() -> Vec<u64> {
    Shape::one_of_each()
}

/// Runs those of them that are `part` modulo `parts`; says how to run each that failed again.
///
/// # Panics
/// If one failed.
pub fn check_seeds(seeds: Range<u64>, part: u64, parts: u64) {
    let mut failed = Vec::new();
    let (mut count, mut entries, mut acked, mut seen) = (0, 0, 0, 0);
    let (mut acked_at_work, mut read_at_work) = (0, 0);
    let mut moved = BTreeSet::new();
    for seed in seeds.clone().filter(|seed| seed % parts == part) {
        count += 1;
        match run_seed(seed) {
            Ok(finished) => {
                entries += finished.entries;
                acked += finished.records.0;
                seen += finished.records.1;
                acked_at_work += finished.at_work.0;
                read_at_work += finished.at_work.1;
                moved.extend(finished.moved);
            }
            Err(what) => {
                eprintln!(
                    "seed {seed}: {what}\n\nagain: SIMULATION_SEED={seed} cargo test -p strandline-simulation --test seeds\n"
                );
                failed.push((seed, what.lines().next().unwrap_or_default().to_owned()));
            }
        }
    }
    eprintln!(
        "{count} of the seeds {seeds:?}: {entries} entries, {acked} records acknowledged, {seen} seen; while things went wrong \
         {acked_at_work} were acknowledged and {read_at_work} answers had some; {} failed",
        failed.len()
    );
    for (seed, what) in &failed {
        eprintln!("  SIMULATION_SEED={seed}: {what}");
    }
    assert!(
        failed.is_empty(),
        "{} of {count} seeds failed: {:?}",
        failed.len(),
        failed.iter().map(|(seed, _)| *seed).collect::<Vec<_>>()
    );
    // Faults that leave clients without an answer, and a gauge that nobody sets any more, would make all checks pass.
    assert!(count < SOME || (acked_at_work > 0 && read_at_work > 0), "no client had an answer while things went wrong");
    let still: Vec<_> = Gauges::expected().filter(|name| !moved.contains(name)).collect();
    assert!(count < MANY || still.is_empty(), "never above zero in {count} runs: {still:?}");
}

#[cfg(test)]
mod tests {
    use super::asked_for;

    fn range(text: &str) -> Option<std::ops::Range<u64>> {
        asked_for(None, Some(text.to_owned()))
    }

    #[test]
    fn seeds_are_those_asked_for() {
        assert_eq!(asked_for(None, None), None);
        assert_eq!(asked_for(Some("7".to_owned()), Some("100..200".to_owned())), Some(7..8));
        assert_eq!(range("100..200"), Some(100..200));
    }

    #[test]
    fn what_is_no_seed_is_no_reason_to_pass() {
        for wrong in ["7", "a..b", "200..100", "5..5", "0..=9", ""] {
            assert!(std::panic::catch_unwind(|| range(wrong)).is_err(), "{wrong}");
        }
        assert!(std::panic::catch_unwind(|| asked_for(Some("seven".to_owned()), None)).is_err());
    }
}
