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

fn parse(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// `SIMULATION_SEED=7`, or `SIMULATION_SEEDS=100..200`, or these.
pub fn seeds_or(range: Range<u64>) -> Range<u64> {
    if let Some(seed) = std::env::var("SIMULATION_SEED").ok().as_deref().and_then(parse) {
        return seed..seed + 1;
    }
    let chosen = std::env::var("SIMULATION_SEEDS").ok();
    let chosen = chosen.as_deref().and_then(|text| text.split_once("..")).and_then(|(from, to)| Some(parse(from)?..parse(to)?));
    chosen.unwrap_or(range)
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
