//! What a run is made of, drawn from its seed.

use crate::dice::Dice;
use crate::happenings::Happening;
use crate::mutation::{Mutation, Runs};
use std::time::Duration;
use strandline_commit_log::memory::Semantics;
use strandline_compactor::CompactorOptions;

/// How long entries stay below the floor: longer than an append may take before the floor is looked at again, with
/// something to spare for the read before it. (A day in a real cell, A11.)
const ENTRIES_STAY: Duration = Duration::from_secs(45);

/// When a run starts: far from midnight, so that most have one day; see [`Shape::start_ms`] for the others.
const START_MS: i64 = 1_790_000_000_000;

/// The dimensions of one run.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub nodes: usize,
    /// One node that holds the lock of its log, with payloads inline.
    pub sole: bool,
    /// Its log is the embedded one, on a disk that fails.
    pub disk: bool,
    pub semantics: Semantics,
    pub start_ms: i64,
    /// How long clients work, in virtual time.
    pub active: Duration,
    pub retries: bool,
    pub skew: bool,
    /// Nodes of an older fold version come and go, and the cell is raised at some time.
    pub upgrade: bool,
    /// Who is paused sleeps until what it knows is trimmed, and is left alone.
    pub long_sleeps: bool,
    /// Requests to the store take long, all the time.
    pub slow_store: bool,
    /// Below the floor.
    pub entries_stay: Duration,
    /// A script says what happens: no upkeep by itself, no weather.
    pub directed: bool,
    pub compactor: CompactorOptions,
}

impl Shape {
    pub fn of(seed: u64, mutation: Option<Mutation>) -> Self {
        let dice = Dice::new(seed, 1);
        let sole = seed % 5 == 4;
        let nodes = if sole { 1 } else { 2 + dice.below(2) as usize };
        let semantics = if !sole && dice.chance(60) { Semantics::ConditionalPut } else { Semantics::Checked };
        // Now and then a UTC day ends in the middle.
        let start_ms = if dice.chance(15) { START_MS - START_MS % 86_400_000 + 86_400_000 - 40_000 } else { START_MS };
        let active = dice.millis(60_000, 150_000);
        let compactor = CompactorOptions {
            merge_segments: dice.between(2, 5) as usize,
            conversion_bytes: dice.between(4, 64) << 10,
            sealed_file_bytes: dice.between(8, 128) << 10,
            whole_input_bytes: if dice.chance(30) { 4 << 10 } else { 64 << 20 },
            log_copy_interval: dice.millis(500, 5_000),
            snapshot_entries: dice.between(40, 200),
            retention_interval: Duration::from_secs(11),
            garbage_interval: dice.millis(2_000, 6_000),
            sweep_interval: dice.millis(5_000, 15_000),
            orphan_age: dice.millis(1_000, 12_000),
            fresh_grace: dice.millis(1_000, 10_000),
            sealed_grace: dice.millis(1_000, 10_000),
            dropped_grace: dice.millis(10_000, 30_000),
            // Longer than a clock is ever wrong.
            producer_expiry: Duration::from_secs(30 * 86_400),
            rehome_age: dice.millis(500, 5_000),
            ..CompactorOptions::default()
        };
        let runs = mutation.map_or(Runs::Ordinary, Mutation::runs);
        if runs == Runs::NothingKept {
            // Where the rule is needed: on a log that keeps nothing for those who sleep, with snapshots all the time.
            let compactor = CompactorOptions { snapshot_entries: 20, ..compactor };
            let (semantics, active) = (Semantics::ConditionalPut, Duration::from_secs(400));
            let fixed = Self::directed(3, Duration::ZERO);
            let long_sleeps = true;
            return Self {
                semantics,
                start_ms,
                active,
                compactor,
                long_sleeps,
                entries_stay: ENTRIES_STAY,
                directed: false,
                ..fixed
            };
        }
        if runs == Runs::SlowStore {
            let often = Duration::from_millis(700);
            let age = Duration::from_millis(100);
            let compactor = CompactorOptions { orphan_age: age, garbage_interval: often, sweep_interval: often, ..compactor };
            let fixed = Self::directed(nodes, ENTRIES_STAY);
            return Self { sole, semantics, start_ms, active, compactor, slow_store: true, directed: false, ..fixed };
        }
        let (retries, skew, upgrade) = (dice.chance(50), dice.chance(25), dice.chance(30));
        let (entries_stay, directed, disk) = (ENTRIES_STAY, false, sole && dice.chance(60));
        let semantics = if disk { Semantics::Checked } else { semantics };
        let fixed = Self::directed(nodes, entries_stay);
        Self { sole, disk, semantics, start_ms, active, retries, skew, upgrade, directed, compactor, ..fixed }
    }

    /// Of which kinds a run is: seeds of different kinds go through different code.
    pub fn kinds(&self) -> [(Happening, bool); 5] {
        [
            (Happening::ThreeNodes, self.nodes > 2),
            (Happening::SoleNodes, self.sole && !self.disk),
            (Happening::EmbeddedLogs, self.disk),
            (Happening::Upgrades, self.upgrade),
            (Happening::WrongClocks, self.skew),
        ]
    }

    /// The first seeds that have one of each kind between them.
    pub fn one_of_each() -> Vec<u64> {
        let mut missing = Self::of(0, None).kinds().map(|(kind, _)| kind).to_vec();
        let mut seeds = Vec::new();
        for seed in 0..1_000 {
            let (kinds, before) = (Self::of(seed, None).kinds(), missing.len());
            missing.retain(|kind| !kinds.contains(&(*kind, true)));
            if missing.len() < before {
                seeds.push(seed);
            }
        }
        assert!(missing.is_empty(), "no seed below 1000 is of these kinds: {missing:?}");
        seeds
    }

    /// What a script runs on: a log that treats seqs as a key-value store does, and everything young is old.
    pub fn directed(nodes: usize, entries_stay: Duration) -> Self {
        let soon = Duration::from_millis(100);
        let compactor = CompactorOptions {
            merge_segments: 2,
            orphan_age: soon,
            fresh_grace: soon,
            sealed_grace: soon,
            dropped_grace: soon,
            rehome_age: soon,
            producer_expiry: Duration::from_secs(30 * 86_400),
            ..CompactorOptions::default()
        };
        Self {
            nodes,
            sole: false,
            disk: false,
            semantics: Semantics::ConditionalPut,
            start_ms: START_MS,
            active: Duration::ZERO,
            retries: false,
            skew: false,
            upgrade: false,
            long_sleeps: false,
            slow_store: false,
            entries_stay,
            directed: true,
            compactor,
        }
    }
}
