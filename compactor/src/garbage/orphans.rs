//! Objects of `wal/` and `fresh/` that nothing ever referred to: names below the horizon.

use crate::error::WorkError;
use crate::options::millis;
use crate::shared::Shared;
use futures::TryStreamExt;
use std::time::Duration;
use strandline_commands::{LeaseKind, RaiseHorizon};
use strandline_index::Index;
use strandline_object_store::Purpose;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{ObjectName, Seq, limits};

/// Samples of (time, seq) that are kept; enough for a day, the longest grace, at one a minute.
const SAMPLES: usize = 2_048;
/// Samples are at least this far apart.
const SAMPLE_MS: i64 = 30_000;

/// Whether an object of `wal/` or `fresh/` belongs to nobody, in an index that has folded its own raise of the horizon.
pub(crate) fn is_orphan(index: &Index, path: &str) -> bool {
    let Ok(name) = path.parse::<ObjectName>() else { return false };
    let waits = index.garbage.contains_key(path) && holds(Rule::B7);
    let at_horizon = name.seq == index.cell.horizon && !holds(Rule::B3);
    (name.seq < index.cell.horizon || at_horizon) && !waits && !is_referenced(index, path, name)
}

/// Whether the index names an object of `wal/` or `fresh/`.
pub(crate) fn is_referenced(index: &Index, path: &str, name: ObjectName) -> bool {
    if path.starts_with("wal/") {
        return index.wal_objects.contains_key(&name);
    }
    // fresh/<topic>/<id8>/<name>.parquet
    let mut parts = path.split('/').skip(1);
    let (Some(topic), Some(id8)) = (parts.next(), parts.next()) else { return true };
    index.topic_by_name(topic).is_some_and(|topic| topic.id.id8() == id8 && topic.fresh.contains_key(&name))
}

impl Shared {
    /// Remembers what was folded when: a horizon is raised to what was folded long ago, and a grace ends with it. By the time that only
    /// goes forward, so that a clock that is wrong puts neither off.
    pub fn sample_folded(&self) {
        let (now_ms, seq) = (self.steady_ms(), self.cell.seq());
        let mut memory = self.memory();
        if memory
            .folded_at
            .back()
            .is_none_or(|(at_ms, _)| now_ms.saturating_sub(*at_ms) >= SAMPLE_MS.min(millis(self.options.orphan_age)))
        {
            memory.folded_at.push_back((now_ms, seq));
            if memory.folded_at.len() > SAMPLES {
                memory.folded_at.pop_front();
            }
        }
    }

    /// What this node had folded so long ago; nothing if it has not run for so long.
    pub fn folded_before(&self, age: Duration) -> Seq {
        let before_ms = self.steady_ms().saturating_sub(millis(age));
        let memory = self.memory();
        memory.folded_at.iter().rev().find(|(at_ms, _)| *at_ms <= before_ms).map_or(Seq::ZERO, |(_, seq)| *seq)
    }

    /// Deletes orphans of `wal/` and `fresh/`. Writes nothing if there is none. Returns how many went.
    pub async fn collect_orphans_once(&self) -> Result<usize, WorkError> {
        self.sample_folded();
        let target = self.folded_before(self.options.orphan_age);
        if target <= self.memory().orphans_below {
            return Ok(0);
        }
        let mut candidates = Vec::new();
        for folder in ["wal", "fresh"] {
            let mut listed = self.objects.list(Purpose::Sweep, folder);
            while let Some(object) = listed.try_next().await? {
                let below = object
                    .path
                    .parse::<ObjectName>()
                    .is_ok_and(|name| name.seq < target || (name.seq == target && !holds(Rule::B3)));
                if below && self.would_be_orphan(&object.path) {
                    candidates.push(object.path);
                    if candidates.len() >= limits::GARBAGE_BATCH {
                        break;
                    }
                }
            }
        }
        if candidates.is_empty() {
            self.memory().orphans_below = target;
            return Ok(0);
        }
        let lease = self.lease(LeaseKind::Garbage, &[]).await?;
        let early = (!holds(Rule::B2) || !holds(Rule::B9)).then(|| self.cell.view().clone());
        if self.cell.view().cell.horizon < target && holds(Rule::B2) {
            self.commit_one(RaiseHorizon { lease: lease.0, to: target.0 }).await?;
        }
        // From an index that has folded its own raise: what it does not know now, it never will (docs/rules.md, B2, B9).
        let orphans: Vec<String> = {
            let view = self.cell.view();
            if view.cell.snapshot.disagreed {
                return Ok(0);
            }
            match early {
                None => candidates.into_iter().filter(|path| is_orphan(&view, path)).collect(),
                Some(mut early) => {
                    early.cell.horizon = target;
                    candidates.into_iter().filter(|path| is_orphan(&early, path)).collect()
                }
            }
        };
        for answer in self.objects.delete_all(Purpose::Sweep, &orphans).await {
            answer?;
        }
        metrics::counter!("strandline_orphans_deleted_total").increment(orphans.len() as u64);
        Ok(orphans.len())
    }

    fn would_be_orphan(&self, path: &str) -> bool {
        let view = self.cell.view();
        let known = path.parse::<ObjectName>().map_or(true, |name| is_referenced(&view, path, name));
        !(known || view.garbage.contains_key(path) && holds(Rule::B7))
    }
}
