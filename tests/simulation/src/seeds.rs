//! Which seeds are run, and what is printed when one fails.

use crate::gauges::Gauges;
use crate::happenings::Happening;
use crate::run::{Finished, run_seed};
use crate::shape::Shape;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// In so many runs clients are answered now and then, whatever goes wrong.
const SOME: usize = 5;
/// So many runs do between them all that runs do, but for what is seldom.
const MANY: usize = 100;
/// So many do that, too.
const VERY_MANY: usize = 200;
/// Records that are acknowledged in any run, however short and rough.
const LEAST: usize = 3;

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
///
/// # Panics
/// If a kind is never drawn.
pub fn seeds_of_each_kind() -> Vec<u64> {
    Shape::one_of_each()
}

/// What runs had between them.
#[derive(Default)]
struct Slice {
    count: usize,
    entries: u64,
    records: (usize, usize),
    at_work: (u64, u64),
    moved: BTreeSet<&'static str>,
    happened: BTreeMap<&'static str, u64>,
    failed: Vec<(u64, String)>,
}

/// A run in which nothing is taken in holds nothing against what is true.
fn demand_records(finished: Finished) -> Result<Finished, String> {
    let (acked, _) = finished.records;
    if acked < LEAST { Err(format!("no more than {acked} records were acknowledged, {LEAST} are due")) } else { Ok(finished) }
}

/// Of what so many runs have between them, what never happened.
fn missing(count: usize, happened: &BTreeMap<&'static str, u64>) -> Vec<&'static str> {
    let is_due = |what: &Happening| count >= if what.is_seldom() { VERY_MANY } else { MANY };
    let due = Happening::ALL.iter().copied().filter(is_due).map(Happening::words);
    due.filter(|words| happened.get(words).is_none_or(|times| *times == 0)).collect()
}

impl Slice {
    fn take(&mut self, seed: u64, run: Result<Finished, String>) {
        self.count += 1;
        match run.and_then(demand_records) {
            Ok(finished) => self.add(finished),
            Err(what) => {
                eprintln!(
                    "seed {seed}: {what}\n\nagain: SIMULATION_SEED={seed} cargo test -p strandline-simulation --test seeds\n"
                );
                self.failed.push((seed, what.lines().next().unwrap_or_default().to_owned()));
            }
        }
    }

    fn add(&mut self, finished: Finished) {
        self.entries += finished.entries;
        self.records.0 += finished.records.0;
        self.records.1 += finished.records.1;
        self.at_work.0 += finished.at_work.0;
        self.at_work.1 += finished.at_work.1;
        self.moved.extend(finished.moved);
        for (words, times) in finished.happened {
            *self.happened.entry(words).or_default() += times;
        }
    }

    fn print(&self, seeds: &Range<u64>) {
        let Self { count, entries, records: (acked, seen), at_work: (acked_at_work, read_at_work), failed, .. } = self;
        eprintln!(
            "{count} of the seeds {seeds:?}: {entries} entries, {acked} records acknowledged, {seen} seen; while things went wrong \
             {acked_at_work} were acknowledged and {read_at_work} answers had some; {} failed",
            failed.len()
        );
        let times = |words: &str| self.happened.get(words).copied().unwrap_or(0);
        let happened: Vec<_> = Happening::ALL.iter().map(|what| format!("{} {}", times(what.words()), what.words())).collect();
        eprintln!("  they had {}", happened.join(", "));
        for (seed, what) in failed {
            eprintln!("  SIMULATION_SEED={seed}: {what}");
        }
    }

    fn demand(&self) {
        let (count, failed) = (self.count, &self.failed);
        let seeds: Vec<_> = failed.iter().map(|(seed, _)| *seed).collect();
        assert!(failed.is_empty(), "{} of {count} seeds failed: {seeds:?}", failed.len());
        // Faults that leave clients without an answer, those that never strike, and a gauge that nobody sets any more, would make all
        // checks pass.
        assert!(count < SOME || (self.at_work.0 > 0 && self.at_work.1 > 0), "no client had an answer while things went wrong");
        let still: Vec<_> = Gauges::expected().filter(|name| !self.moved.contains(name)).collect();
        assert!(count < MANY || still.is_empty(), "never above zero in {count} runs: {still:?}");
        let never = missing(count, &self.happened);
        assert!(never.is_empty(), "{count} runs had none of these: {never:?}");
    }
}

/// Runs those of them that are `part` modulo `parts`; says how to run each that failed again.
///
/// # Panics
/// If one failed, or if so many runs should have had between them what they had not.
pub fn check_seeds(seeds: Range<u64>, part: u64, parts: u64) {
    let mut slice = Slice::default();
    for seed in seeds.clone().filter(|seed| seed % parts == part) {
        slice.take(seed, run_seed(seed));
    }
    slice.print(&seeds);
    slice.demand();
}

#[cfg(test)]
mod tests {
    use super::{Happening, MANY, VERY_MANY, asked_for, missing};
    use std::collections::BTreeMap;

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

    #[test]
    fn what_never_happens_is_missed_where_many_runs_should_have_it() {
        let mut happened: BTreeMap<_, _> = Happening::ALL.iter().map(|what| (what.words(), 1)).collect();
        assert!(missing(VERY_MANY, &happened).is_empty());
        happened.insert(Happening::Upgrades.words(), 0);
        happened.remove(Happening::Crashes.words());
        happened.remove(Happening::TornFrames.words());
        assert!(missing(MANY - 1, &happened).is_empty());
        assert_eq!(missing(MANY, &happened), ["upgrades", "crashes"]);
        assert_eq!(missing(VERY_MANY, &happened), ["upgrades", "crashes", "torn frames"]);
    }
}
