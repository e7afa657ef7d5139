//! Files that are there against the index: known, adopted, or moved to `lost/`.

use super::Report;
use super::gone::{lose, put_empty};
use super::look::{FileState, Found, Looked, look};
use super::lost::{Copies, keep_copy, set_aside};
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use strandline_bronze::{Day, SealedName, topic_folder};
use strandline_commands::{AdoptSealed, Command, FileRange, NewFile};
use strandline_index::{ExtentPlace, Index, Partition, Topic};
use strandline_object_store::{Objects, Purpose};
use strandline_runtime::Runtime;
use strandline_types::{ObjectName, TopicId};

/// Where files lie, and what reads them.
pub(super) struct Places {
    pub objects: Objects,
    pub runtime: Runtime,
    pub copies: Copies,
}

/// Files under `fresh/` that the index does not know, each looked at once, in the order of names, which is that of seqs.
pub(super) struct Fresh(Vec<(Option<ObjectName>, String, Looked)>);

impl Fresh {
    /// Lists and looks.
    pub(super) async fn look(index: &Index, objects: &Objects, runtime: &Runtime) -> anyhow::Result<Self> {
        let known: BTreeSet<&String> = index
            .topics
            .values()
            .flat_map(|topic| topic.fresh.values().map(|segment| &segment.file.path))
            .chain(index.garbage.keys())
            .collect();
        let mut files = Vec::new();
        let mut listed = objects.list(Purpose::Rebuild, "fresh");
        while let Some(found) = listed.try_next().await? {
            if known.contains(&found.path) {
                continue;
            }
            let name = found.path.parse().ok();
            let looked = match name {
                Some(_) => look(objects, runtime, &found.path).await?,
                None => Looked::Unreadable("its name is not ours".to_owned()),
            };
            files.push((name, found.path, looked));
        }
        files.sort_unstable_by(|(a, a_path, _), (b, b_path, _)| (a, a_path).cmp(&(b, b_path)));
        Ok(Self(files))
    }
}

/// Fresh files that the copies did not know and that continue their partitions: rows that had reached Parquet are kept.
pub(super) async fn fresh_files(
    index: &Index,
    places: &Places,
    fresh: &Fresh,
    report: &mut Report,
) -> anyhow::Result<Vec<Vec<Command>>> {
    let mut adopting = Adopting::new(index, places, report, |partition| partition.planned_end.is_none());
    adopting.take(fresh.0.iter().map(|(_, path, looked)| (path.as_str(), looked)).collect()).await?;
    Ok(adopting.commands)
}

/// What lies under `bronze/`, each file looked at once: by path.
pub(super) struct Bronze(pub BTreeMap<String, Looked>);

impl Bronze {
    /// Lists and looks.
    pub(super) async fn look(objects: &Objects, runtime: &Runtime) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        let mut listed = objects.list(Purpose::Rebuild, "bronze");
        while let Some(found) = listed.try_next().await? {
            let looked = look(objects, runtime, &found.path).await?;
            files.insert(found.path, looked);
        }
        Ok(Self(files))
    }
}

/// Files of open plans over extents that are there, though the copies do not know it: from here on they answer for their offsets,
/// and whoever has the lease next goes on with the plan. A damaged one goes: the plan is completed from what is left of its extents.
pub(super) async fn planned_files(
    index: &Index,
    objects: &Objects,
    bronze: &mut Bronze,
    report: &mut Report,
) -> anyhow::Result<Vec<Vec<Command>>> {
    let mut commands = Vec::new();
    for (id, topic) in &index.topics {
        for (path, _) in topic.plans.iter().filter(|(_, plan)| plan.is_over_extents() && plan.file.is_none()) {
            let found = match bronze.0.get(path) {
                None | Some(Looked::Nothing) => continue,
                Some(Looked::Unreadable(problem) | Looked::Found(Found { state: FileState::Damaged(problem), .. })) => {
                    set_aside(objects, path, problem, report).await?;
                    bronze.0.remove(path);
                    continue;
                }
                Some(Looked::Found(found)) => found,
            };
            report.adopted += 1;
            report.say(format!("adopted {path}, which was planned, with {} rows", found.file.rows));
            report.note_records_alone(path, &found.state);
            commands.push(vec![AdoptSealed { topic_id: id.0.to_vec(), file: Some(found.file.clone()) }.into()]);
        }
    }
    Ok(commands)
}

/// Sealed files that the copies did not know: they may only continue a partition that has no fresh ones and no open plan.
pub(super) async fn sealed_files(
    index: &Index,
    places: &Places,
    bronze: &mut Bronze,
    report: &mut Report,
) -> anyhow::Result<Vec<Vec<Command>>> {
    let planned: BTreeSet<&String> = index.topics.values().flat_map(|topic| topic.plans.keys()).collect();
    let is_free = |partition: &Partition| partition.fresh.is_empty() && partition.planned_end.is_none();
    let mut adopting = Adopting::new(index, places, report, is_free);
    let mut unknown = Vec::new();
    for (path, looked) in &bronze.0 {
        if planned.contains(path) || index.garbage.contains_key(path) {
            continue;
        }
        match looked {
            Looked::Found(found) if known_sealed(index, found) => {
                adopting.report.note_records_alone(path, &found.state);
                if let FileState::Damaged(problem) = &found.state {
                    adopting.report.damaged(path, problem);
                }
            }
            Looked::Unreadable(problem) if known_by_name(index, path) => adopting.report.unreadable(path, problem),
            _ => unknown.push((path.as_str(), looked)),
        }
    }
    let gone = adopting.take(unknown).await?;
    let commands = adopting.commands;
    for path in gone {
        bronze.0.remove(&path);
    }
    Ok(commands)
}

/// Everything it covers lies below what the index knows to be sealed.
fn known_sealed(index: &Index, found: &Found) -> bool {
    let Some(topic) = index.topics.get(&found.topic_id) else { return false };
    found
        .file
        .ranges
        .iter()
        .all(|range| topic.partition(range.partition).is_some_and(|partition| range.end <= partition.sealed_end))
}

/// What its name says that it begins with lies below what the index knows to be sealed.
fn known_by_name(index: &Index, path: &str) -> bool {
    let Ok(name) = path.parse::<SealedName>() else { return false };
    let Some((folder, _)) = path.split_once("/ingest_date=") else { return false };
    let of_topic = |id: &TopicId, topic: &Topic| folder == topic_folder("bronze", &topic.name, *id);
    let topic = index.topics.iter().find(|(id, topic)| of_topic(id, topic)).map(|(_, topic)| topic);
    topic.and_then(|topic| topic.partition(name.partition)).is_some_and(|partition| name.offset < partition.sealed_end)
}

type Frontiers = BTreeMap<(TopicId, i32), i64>;

fn frontiers(index: &Index, adoptable: impl Fn(&Partition) -> bool) -> Frontiers {
    let of_topic = |topic: &Topic| {
        (0..)
            .zip(&topic.partitions)
            .map(|(number, partition)| (number, partition.frontier, adoptable(partition)))
            .collect::<Vec<_>>()
    };
    let all = index
        .topics
        .iter()
        .flat_map(|(id, topic)| of_topic(topic).into_iter().map(move |(number, frontier, free)| ((*id, number), frontier, free)));
    all.filter(|(_, _, free)| *free).map(|(place, frontier, _)| (place, frontier)).collect()
}

const COVERS_NOTHING: &str = "it covers nothing";

/// Files that the index does not know.
struct Adopting<'a> {
    index: &'a Index,
    places: &'a Places,
    frontiers: Frontiers,
    /// The day of the fresh file that ends at a partition's frontier.
    days: BTreeMap<(TopicId, i32), i32>,
    commands: Vec<Vec<Command>>,
    report: &'a mut Report,
}

impl<'a> Adopting<'a> {
    fn new(index: &'a Index, places: &'a Places, report: &'a mut Report, adoptable: impl Fn(&Partition) -> bool) -> Self {
        let mut days = BTreeMap::new();
        for (id, topic) in &index.topics {
            for (number, partition) in (0..).zip(&topic.partitions) {
                let last = partition.fresh.back().and_then(|range| topic.fresh.get(&range.segment));
                days.extend(last.map(|segment| ((*id, number), segment.file.ingest_day)));
            }
        }
        Self { index, places, frontiers: frontiers(index, adoptable), days, commands: Vec::new(), report }
    }

    /// Adopts the files that continue their partitions, whatever their order, and moves the others to `lost/`: says which. A
    /// damaged one gives way to a hole once no sound one goes on, for else none of those after it would begin where another ends.
    async fn take(&mut self, files: Vec<(&str, &Looked)>) -> anyhow::Result<Vec<String>> {
        let mut gone = Vec::new();
        let mut left: Vec<(&str, &Found)> = Vec::new();
        for (path, looked) in files {
            let reason = match looked {
                // The sweep of dropped topics takes it.
                Looked::Found(found) if self.index.dropped.contains_key(&found.topic_id) => continue,
                Looked::Found(found) => {
                    left.push((path, found));
                    continue;
                }
                Looked::Nothing => COVERS_NOTHING,
                Looked::Unreadable(reason) => reason,
            };
            set_aside(&self.places.objects, path, reason, self.report).await?;
            gone.push(path.to_owned());
        }
        loop {
            let mut waiting = Vec::new();
            let before = left.len();
            for (path, found) in left {
                if is_damaged(found) || !self.continues(found.topic_id, &found.file.ranges) {
                    waiting.push((path, found));
                } else {
                    self.adopt(path, found).await?;
                }
            }
            left = waiting;
            if left.len() == before {
                let Some(at) = self.next_hole(&left) else { break };
                let (path, found) = left.remove(at);
                self.put_hole(path, found).await?;
            }
        }
        for (path, found) in left {
            let reason = match &found.state {
                FileState::Damaged(problem) => problem,
                _ if !self.index.topics.contains_key(&found.topic_id) => "its topic is not known",
                _ => "it does not begin where the known files end",
            };
            set_aside(&self.places.objects, path, reason, self.report).await?;
            gone.push(path.to_owned());
        }
        Ok(gone)
    }

    fn continues(&self, topic_id: TopicId, ranges: &[FileRange]) -> bool {
        !ranges.is_empty() && ranges.iter().all(|range| self.frontiers.get(&(topic_id, range.partition)) == Some(&range.start))
    }

    async fn adopt(&mut self, path: &str, found: &Found) -> anyhow::Result<()> {
        let mut file = found.file.clone();
        // A fresh file without rows does not say when they came.
        if found.state != FileState::Sound || file.rows == 0 {
            file.ingest_day = self.safe_day(found);
        }
        self.report.adopted += 1;
        self.report.say(format!("adopted {path} with {} rows", file.rows));
        self.report.note_records_alone(path, &found.state);
        if file.rows == 0
            && let Some(topic) = self.index.topics.get(&found.topic_id)
        {
            // A rebuild that did not end may have put it there: what it stands for is to be told.
            let lost = self.places.copies.ranges(&self.places.objects, &self.places.runtime, path).await?;
            let covers = |lost: &FileRange| {
                file.ranges
                    .iter()
                    .any(|range| (range.partition, range.start, range.end) == (lost.partition, lost.start, lost.end))
            };
            for range in lost.iter().filter(|range| covers(range)) {
                lose(self.report, topic, range.partition, range.start, range.end, i64::try_from(range.rows).unwrap_or(i64::MAX));
            }
        }
        self.move_on(found.topic_id, file);
        Ok(())
    }

    fn move_on(&mut self, topic_id: TopicId, file: NewFile) {
        for range in &file.ranges {
            self.frontiers.insert((topic_id, range.partition), range.end);
            self.days.insert((topic_id, range.partition), file.ingest_day);
        }
        self.commands.push(vec![AdoptSealed { topic_id: topic_id.0.to_vec(), file: Some(file) }.into()]);
    }

    /// The first of the damaged files that continues its partitions; one that would take the place of the beginning of a sound file,
    /// which waits for another partition, comes last.
    fn next_hole(&self, left: &[(&str, &Found)]) -> Option<usize> {
        let continue_ =
            |(_, found): &&(&str, &Found)| is_damaged(found) && self.continues(found.topic_id, &unanswered(self.index, found));
        let begins = |found: &Found, range: &FileRange| {
            let same = |other: &FileRange| (other.partition, other.start) == (range.partition, range.start);
            found.file.ranges.iter().any(same)
        };
        let is_awaited = |found: &Found| {
            let sound = left.iter().filter(|(_, other)| !is_damaged(other) && other.topic_id == found.topic_id);
            sound.into_iter().any(|(_, other)| other.file.ranges.iter().any(|range| begins(found, range)))
        };
        let holes = || left.iter().enumerate().filter(|(_, file)| continue_(file));
        holes().find(|(_, (_, found))| !is_awaited(found)).or_else(|| holes().next()).map(|(at, _)| at)
    }

    async fn put_hole(&mut self, path: &str, found: &Found) -> anyhow::Result<()> {
        let (FileState::Damaged(problem), Some(topic)) = (&found.state, self.index.topics.get(&found.topic_id)) else {
            return Ok(());
        };
        let lost = NewFile { ranges: unanswered(self.index, found), ingest_day: self.safe_day(found), ..found.file.clone() };
        keep_copy(&self.places.objects, path, problem, self.report).await?;
        let file = put_empty(&self.places.objects, topic, &lost, self.report).await?;
        self.move_on(found.topic_id, file);
        Ok(())
    }

    /// The day of a file whose statistics may be damaged, or that has none for want of rows: not before that of the file in front of it, and
    /// not to come. That of a sealed file is in its name.
    fn safe_day(&self, found: &Found) -> i32 {
        if found.file.path.starts_with("bronze/") {
            return found.file.ingest_day;
        }
        let days = found.file.ranges.iter().filter_map(|range| self.days.get(&(found.topic_id, range.partition)));
        let before = days.copied().max();
        let today = Day::of_ms(self.places.runtime.clock.now_ms()).0;
        let told = match (found.file.rows, is_damaged(found)) {
            (0, _) => None,
            (_, true) => Some(before.unwrap_or(found.file.ingest_day)),
            (_, false) => Some(found.file.ingest_day),
        };
        bounded_day(told, before, today)
    }
}

/// Not before the file in front, and not to come. Where nothing tells it, that of the file in front, or today: were it long ago, nothing would be
/// sealed as long as it waits behind a newer one.
fn bounded_day(told: Option<i32>, before: Option<i32>, today: i32) -> i32 {
    told.or(before).unwrap_or(today).min(today).max(before.unwrap_or(0))
}

fn is_damaged(found: &Found) -> bool {
    matches!(found.state, FileState::Damaged(_))
}

/// The ranges of a file of which no offset can be had from WAL segments. All or nothing of a sealed one, whose name says what it
/// begins with.
fn unanswered(index: &Index, found: &Found) -> Vec<FileRange> {
    let Some(topic) = index.topics.get(&found.topic_id) else { return Vec::new() };
    let is_answered = |range: &&FileRange| {
        let partition = topic.partition(range.partition);
        partition.is_some_and(|partition| {
            let mut within = partition.extents.iter().filter(|extent| extent.start < range.end && extent.end > range.start);
            within.any(|extent| matches!(extent.place, ExtentPlace::Object { .. }))
        })
    };
    let ranges: Vec<FileRange> = found.file.ranges.iter().filter(|range| !is_answered(range)).cloned().collect();
    let whole = ranges.len() == found.file.ranges.len() || found.file.path.starts_with("fresh/");
    if whole { ranges } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::bounded_day;

    #[test]
    fn a_day_out_of_damaged_statistics_has_bounds() {
        assert_eq!(bounded_day(Some(20_000), None, 20_500), 20_000);
        assert_eq!(bounded_day(Some(i32::MAX), None, 20_500), 20_500, "not to come");
        assert_eq!(bounded_day(Some(-7), None, 20_500), 0);
        assert_eq!(bounded_day(Some(3), Some(20_100), 20_500), 20_100, "not before the file in front");
        assert_eq!(bounded_day(None, Some(20_100), 20_500), 20_100, "without rows nothing tells it");
        assert_eq!(bounded_day(None, None, 20_500), 20_500);
    }
}
