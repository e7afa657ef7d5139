//! Upkeep goes on: what waits is converted in time, what nobody needs goes, and the floor follows the snapshots. Nodes do all of it by
//! themselves, and nothing else would notice that they do not.

use crate::world::World;
use futures::TryStreamExt;
use std::collections::BTreeSet;
use std::time::Duration;
use strandline_commit_log::{CommitLog, Floor};
use strandline_compactor::{LogCopyName, SnapshotName};
use strandline_index::Index;
use strandline_object_store::Purpose;
use strandline_segment_index::for_each;
use strandline_types::{ObjectName, Seq};

/// A step that has failed waits up to a minute, and then has to be taken.
const SLACK: Duration = Duration::from_secs(100);
/// Looks until what is under way is done.
const LOOKS: usize = 20;
/// What a topic has that says nothing (docs/topic-configs.md).
const FRESHNESS_MS: i64 = 10_000;

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// No record waits for its conversion much longer than its topic wants.
pub(crate) fn conversion(world: &World) {
    if world.shape.directed {
        return;
    }
    let now_ms = world.core.clock().now_ms();
    let oracle = world.core.oracle();
    let late = oracle.index().topics.values().find_map(|topic| {
        let fresh_ms =
            topic.config("strandline.bronze.freshness.ms").and_then(|value| value.parse().ok()).unwrap_or(FRESHNESS_MS);
        let extents = topic.partitions.iter().flat_map(|partition| &partition.extents);
        let oldest_ms = extents.map(|extent| extent.ingest_ms).min()?;
        let age_ms = now_ms - oldest_ms;
        (age_ms > fresh_ms + millis(SLACK)).then(|| format!("{} holds what came {age_ms} ms ago", topic.name))
    });
    drop(oracle);
    if let Some(late) = late {
        world.core.fail(format!("conversion does not go on, without any fault: {late}"));
    }
}

/// What is known before a wait, for what must have come of it.
pub(crate) struct Before {
    /// All that is there now is old afterwards.
    head: Seq,
}

impl Before {
    pub fn of(world: &World) -> Self {
        Self { head: world.core.oracle().index().cell.seq }
    }
}

/// A snapshot, whoever has its lease, and a search for what nobody knows.
pub(crate) async fn upkeep_by_hand(world: &World) {
    let mut errors = Vec::new();
    let mut is_taken = false;
    for node in world.live() {
        match node.ask(node.compactor.snapshot_once(true)).await {
            Some(Ok(Some(_))) => is_taken = true,
            other => errors.push(format!("{}: {other:?}", node.name())),
        }
        node.ask(node.compactor.sweep_once()).await;
    }
    if !is_taken {
        world.core.fail(format!("no node can take a snapshot, without any fault: {}", errors.join("; ")));
    }
}

/// What has waited for its grace and more is gone, and snapshots were taken. What only a snapshot takes away is looked at where one
/// `was_taken` without faults.
pub(crate) async fn leftovers(world: &World, before: &Before, was_taken: bool) {
    if world.shape.directed {
        return;
    }
    let mut wrong = None;
    for _ in 0..LOOKS {
        wrong = find(world, before, was_taken).await.err();
        if wrong.is_none() || world.core.has_failed() {
            break;
        }
        world.core.runtime.sleep(Duration::from_secs(2)).await;
    }
    if let Some(what) = wrong {
        world.core.fail(format!("upkeep does not go on, without any fault: {what}"));
    }
}

async fn find(world: &World, before: &Before, was_taken: bool) -> Result<(), String> {
    let floor = world.core.log.for_node().floor().await.map_err(|error| format!("the floor: {error}"))?;
    let listed: Vec<_> = world.plain_objects().list(Purpose::Sweep, "").try_collect().await.unwrap();
    let mut rows = BTreeSet::new();
    let visited = for_each(&world.core.segment_index, |row| {
        rows.insert(row.path);
    });
    visited.await.map_err(|error| format!("the segment index: {error}"))?;
    let now_ms = world.core.clock().now_ms();
    let oracle = world.core.oracle();
    let index = oracle.index();
    check_snapshots(world, index, &floor, was_taken)?;
    check_lists(world, index, before, now_ms)?;
    for object in listed {
        if !was_taken && (object.path.starts_with("index/") || object.path.starts_with("log/")) {
            continue;
        }
        let known = oracle.refers_to(&object.path).is_some() || rows.contains(&object.path);
        if known || index.garbage.contains_key(&object.path) {
            continue;
        }
        if let Some(what) = left_over(index, before, &floor, &object.path) {
            return Err(format!("{}: {what}", object.path));
        }
    }
    Ok(())
}

/// One is taken every so many entries; the floor follows it as far as extents let it (those of then: with the next one it goes on).
fn check_snapshots(world: &World, index: &Index, floor: &Floor, was_taken: bool) -> Result<(), String> {
    let agreed = index.cell.snapshot.agreed.as_ref().map_or(Seq::ZERO, |(seq, ..)| *seq);
    let since = index.cell.seq.0.saturating_sub(agreed.0);
    // Entries go on coming while one is taken.
    let most = world.shape.compactor.snapshot_entries + 100;
    if since > most {
        return Err(format!("{since} entries came since the last snapshot, {agreed}; one is due every {most}"));
    }
    let named = floor.snapshot.as_ref().map_or(Seq::ZERO, |snapshot| snapshot.seq);
    let may_be = agreed.next().min(index.first_inline_reference().unwrap_or(Seq(u64::MAX)));
    let stays = floor.seq < may_be && index.first_inline_reference().is_none();
    if was_taken && (named < agreed || stays) {
        return Err(format!("the floor is at {} with snapshot {named}; {agreed} is agreed, so {may_be} is due", floor.seq));
    }
    Ok(())
}

/// The garbage list: whatever clocks have said, what was there before the wait is gone, which is longer than any grace. And topics that
/// were deleted: where a clock was ahead, they are forgotten when the time of day has come there.
fn check_lists(world: &World, index: &Index, before: &Before, now_ms: i64) -> Result<(), String> {
    let options = &world.shape.compactor;
    for (path, garbage) in &index.garbage {
        let grace = if path.starts_with("bronze/") { options.sealed_grace } else { options.fresh_grace };
        let is_old = now_ms - garbage.since_ms > millis(grace + options.garbage_interval + SLACK);
        if is_old || garbage.since <= before.head {
            return Err(format!("{path} has been garbage since {}, {} ms", garbage.since, now_ms - garbage.since_ms));
        }
    }
    for topic in index.dropped.values() {
        if now_ms - topic.since_ms > millis(options.dropped_grace + SLACK) {
            return Err(format!("{} was deleted at {}, {} ms ago", topic.name, topic.since, now_ms - topic.since_ms));
        }
    }
    Ok(())
}

/// Why an object that nothing refers to should not be there, if so.
fn left_over(index: &Index, before: &Before, floor: &Floor, path: &str) -> Option<String> {
    let (folder, _) = path.split_once('/').unwrap_or((path, ""));
    let is_old = |name: ObjectName| name.seq < before.head;
    let floor_at = floor.snapshot.as_ref().map_or(Seq::ZERO, |snapshot| snapshot.seq);
    match folder {
        "wal" | "fresh" => {
            let name: ObjectName = path.parse().ok()?;
            is_old(name).then(|| format!("an orphan, the horizon is at {}", index.cell.horizon))
        }
        "bronze" | "manifest" => {
            let id8 = path.split('/').nth(2)?.trim_end_matches(".json");
            let topic = index.topics.keys().chain(index.dropped.keys()).find(|id| id.id8() == id8);
            match topic {
                // A PUT may come when its topic is forgotten, and its node with it (docs/simulation.md).
                None if folder == "manifest" => None,
                None => Some("its topic is gone".to_owned()),
                Some(id) if folder == "bronze" && index.topics.contains_key(id) => Some("no index names it".to_owned()),
                Some(_) => None,
            }
        }
        "index" => {
            let name: SnapshotName = path.parse().ok()?;
            (name.seq < floor_at).then(|| format!("the floor names the snapshot of {floor_at}"))
        }
        "log" => {
            let name: LogCopyName = path.parse().ok()?;
            (name.to <= floor_at).then(|| format!("a copy of what the snapshot of {floor_at} holds"))
        }
        _ => None,
    }
}
