//! Objects that nothing ever referred to: names below the horizon, and sealed names that a delayed PUT brought back.

use crate::error::WorkError;
use crate::options::millis;
use crate::sealed::SealedFiles;
use crate::shared::Shared;
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use strandline_bronze::SealedName;
use strandline_commands::{FileRange, LeaseKind, RaiseHorizon};
use strandline_index::{Index, Topic};
use strandline_object_store::Purpose;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{ObjectName, TopicId, limits};

/// Samples of (time, seq) that are kept; enough for a day at one a minute.
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

/// What a sweep of `bronze/` makes of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is sealed, planned, or on the garbage list.
    Known,
    /// Nobody knows it and nothing is lost with it.
    Delete,
    /// Nobody knows it, and no other file answers for its first offset: people have to look.
    Suspicious,
}

/// Judges an object of `bronze/` by an index that was brought up to date after the listing. `planned` are the names of plans that
/// were open before the rows were read: one that is done by now wrote its rows after that, perhaps.
pub(crate) fn judge_sealed(
    index: &Index,
    planned: &BTreeSet<String>,
    sealed: &BTreeMap<TopicId, SealedFiles>,
    path: &str,
) -> Found {
    if index.garbage.contains_key(path) || planned.contains(path) {
        return Found::Known;
    }
    let mut parts = path.split('/').skip(1);
    let (Some(name), Some(id8)) = (parts.next(), parts.next()) else { return Found::Suspicious };
    let is_folder = |id: &TopicId, topic: &str| topic == name && id.id8() == id8;
    if index.dropped.iter().any(|(id, topic)| is_folder(id, &topic.name)) {
        // Its own step empties that folder.
        return Found::Known;
    }
    let Some(topic) = index.topic_by_name(name).filter(|topic| is_folder(&topic.id, &topic.name)) else {
        return Found::Delete;
    };
    let files = sealed.get(&topic.id);
    if topic.plans.contains_key(path) || files.is_some_and(|files| files.files.contains_key(path)) {
        return Found::Known;
    }
    let Ok(parsed) = path.parse::<SealedName>() else { return Found::Suspicious };
    let Some(partition) = topic.partition(parsed.partition) else { return Found::Suspicious };
    let answered = parsed.offset < partition.log_start
        || parsed.offset >= partition.sealed_end
        || topic.sealed_plan_at(parsed.partition, parsed.offset).is_some()
        || files.is_some_and(|files| {
            files.ranges_of(parsed.partition).iter().any(|range| range.start <= parsed.offset && parsed.offset < range.end)
        });
    if answered { Found::Delete } else { Found::Suspicious }
}

fn suspect(path: &str) {
    metrics::counter!("strandline_suspicious_objects_total").increment(1);
    tracing::error!(
        path,
        "an object under bronze/ is in no index, and nothing else holds its offsets or it cannot be read: it is left alone; run `strandline bronze verify`"
    );
}

/// Whether each offset of a range is deleted, or has another place: below the sealed end a file of the segment index or of an open plan.
fn is_answered(topic: &Topic, files: Option<&SealedFiles>, partition: i32, start: i64, end: i64) -> bool {
    let Some(state) = topic.partition(partition) else { return false };
    let (mut at, end) = (start.max(state.log_start), end.min(state.sealed_end));
    let planned = topic.plans.values().filter_map(|plan| plan.file.as_ref()).flat_map(|file| file.ranges.iter().cloned());
    let mut ranges: Vec<FileRange> = files.map(|files| files.ranges_of(partition)).unwrap_or_default();
    ranges.extend(planned.filter(|range| range.partition == partition));
    ranges.sort_by_key(|range| range.start);
    for range in ranges.iter().filter(|range| range.start <= end) {
        if range.start <= at {
            at = at.max(range.end);
        }
    }
    at >= end
}

impl Shared {
    /// Whether an object under `bronze/` that nobody knows, and whose name says that it may go, says so itself: all that it covers is
    /// deleted or has another place. Its name tells of its first partition alone; and one that cannot be read may be all that is left.
    async fn holds_nothing_of_its_own(&self, sealed: &BTreeMap<TopicId, SealedFiles>, path: &str) -> bool {
        let topic_id = {
            let view = self.cell.view();
            let mut parts = path.split('/').skip(1);
            let topic = parts.next().and_then(|name| view.topic_by_name(name));
            topic.filter(|topic| parts.next() == Some(topic.id.id8().as_str())).map(|topic| topic.id)
        };
        // Of no topic that there is: with the topic its records were deleted.
        let Some(topic_id) = topic_id else { return true };
        let footer = match self.objects.head(Purpose::Sweep, path).await {
            Ok(found) => self.parse_footer(Purpose::Sweep, path, found.size).await,
            Err(error) => Err(error.into()),
        };
        let footer = match footer {
            Ok(Ok(footer)) => footer,
            Ok(Err(error)) => {
                tracing::warn!(path, %error, "an object under bronze/ does not say what it holds");
                return false;
            }
            Err(error) => {
                tracing::warn!(path, %error, "an object under bronze/ could not be read");
                return false;
            }
        };
        let view = self.cell.view();
        let Some(topic) = view.topics.get(&topic_id) else { return false };
        footer.topic_id() == topic_id
            && footer
                .partitions()
                .iter()
                .all(|part| is_answered(topic, sealed.get(&topic_id), part.partition, part.start, part.end))
    }

    /// Remembers what was folded when: a horizon is raised to what was folded long ago.
    pub fn sample_folded(&self) {
        let (now_ms, seq) = (self.now_ms(), self.cell.seq());
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

    /// Deletes orphans of `wal/` and `fresh/`. Writes nothing if there is none. Returns how many went.
    pub async fn collect_orphans_once(&self) -> Result<usize, WorkError> {
        self.sample_folded();
        let before_ms = self.now_ms().saturating_sub(millis(self.options.orphan_age));
        let target = {
            let memory = self.memory();
            memory.folded_at.iter().rev().find(|(at_ms, _)| *at_ms <= before_ms).map(|(_, seq)| *seq)
        };
        let swept = self.memory().orphans_below;
        let Some(target) = target.filter(|target| *target > swept) else { return Ok(0) };
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

    /// Lists `bronze/`, then takes a barrier, then deletes what nobody knows (docs/rules.md, C7). Returns how many went.
    pub async fn sweep_bronze_once(&self) -> Result<usize, WorkError> {
        let mut after = String::new();
        let mut deleted = 0;
        loop {
            let mut listed = Vec::new();
            let early = if holds(Rule::C7) { None } else { Some(self.sealed_now().await?) };
            let mut listing = self.objects.list_after(Purpose::Sweep, "bronze", &after);
            while let Some(object) = listing.try_next().await? {
                listed.push(object.path);
                if listed.len() >= limits::SEGMENT_INDEX_SCAN_ROWS {
                    break;
                }
            }
            let Some(last) = listed.last().cloned() else { return Ok(deleted) };
            if let Some((view, sealed)) = early {
                let unknown = |path: &String| judge_sealed(&view, &BTreeSet::new(), &sealed, path) == Found::Delete;
                let unknown: Vec<String> = listed.into_iter().filter(unknown).collect();
                self.objects.delete_all(Purpose::Sweep, &unknown).await;
                return Ok(unknown.len());
            }
            self.cell.barrier().await?;
            deleted += self.sweep_listed(listed).await?;
            after = last;
        }
    }

    /// What a simulation switches on in place of C7: what is known before the listing.
    async fn sealed_now(&self) -> Result<(Index, BTreeMap<TopicId, SealedFiles>), WorkError> {
        let view = self.cell.view().clone();
        let mut sealed = BTreeMap::new();
        for topic_id in view.topics.keys() {
            sealed.insert(*topic_id, (*self.load_sealed_files(*topic_id).await?).clone());
        }
        Ok((view, sealed))
    }

    async fn sweep_listed(&self, listed: Vec<String>) -> Result<usize, WorkError> {
        // The rows as they are now, after the listing: never what was remembered before it.
        let (topics, planned): (BTreeSet<TopicId>, BTreeSet<String>) = {
            let view = self.cell.view();
            let names: BTreeSet<&str> = listed.iter().filter_map(|path| path.split('/').nth(1)).collect();
            let topics = names.into_iter().filter_map(|name| view.topic_by_name(name)).map(|topic| topic.id).collect();
            (topics, view.topics.values().flat_map(|topic| topic.plans.keys().cloned()).collect())
        };
        let mut sealed = BTreeMap::new();
        for topic_id in topics {
            sealed.insert(topic_id, (*self.load_sealed_files(topic_id).await?).clone());
        }
        self.lease(LeaseKind::Garbage, &[]).await?;
        let mut unknown = Vec::new();
        {
            let view = self.cell.view();
            if view.cell.snapshot.disagreed {
                return Ok(0);
            }
            for path in listed {
                match judge_sealed(&view, &planned, &sealed, &path) {
                    Found::Known => {}
                    Found::Delete => unknown.push(path),
                    Found::Suspicious => suspect(&path),
                }
            }
        }
        let mut sure = Vec::new();
        for path in unknown {
            if self.holds_nothing_of_its_own(&sealed, &path).await {
                sure.push(path);
            } else {
                suspect(&path);
            }
        }
        let mut unknown = sure;
        if unknown.is_empty() {
            return Ok(0);
        }
        // A row that is gone was dropped by an entry that may be younger than that view: then its object is garbage by now, and waits.
        self.cell.barrier().await?;
        {
            let view = self.cell.view();
            unknown.retain(|path| judge_sealed(&view, &planned, &sealed, path) == Found::Delete);
        }
        for answer in self.objects.delete_all(Purpose::Sweep, &unknown).await {
            answer?;
        }
        Ok(unknown.len())
    }
}
