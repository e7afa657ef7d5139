//! Files that are there against the index: known, adopted, or moved to `lost/`.

use super::Report;
use super::gone::put_empty;
use super::look::{FileState, Found, look};
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use strandline_commands::{AdoptSealed, Command, FileRange};
use strandline_index::{ExtentPlace, Index, Partition, Topic};
use strandline_object_store::{Objects, Purpose, crc32c};
use strandline_runtime::Runtime;
use strandline_types::{ObjectName, TopicId};

/// Fresh files that the copies did not know and that continue their partitions: rows that had reached Parquet are kept.
pub(super) async fn fresh_files(
    index: &Index,
    objects: &Objects,
    runtime: &Runtime,
    report: &mut Report,
) -> anyhow::Result<Vec<Vec<Command>>> {
    let known: BTreeSet<String> = index
        .topics
        .values()
        .flat_map(|topic| topic.fresh.values().map(|segment| segment.file.path.clone()))
        .chain(index.garbage.keys().cloned())
        .collect();
    let frontiers = frontiers(index, |partition| partition.planned_end.is_none());
    let mut adopting = Adopting { index, objects, frontiers, commands: Vec::new(), report };
    // In the order of names, which is that of seqs: each continues the one before.
    let mut unknown: Vec<(ObjectName, String)> = Vec::new();
    let mut listed = objects.list(Purpose::Rebuild, "fresh");
    while let Some(found) = listed.try_next().await? {
        if known.contains(&found.path) {
            continue;
        }
        match found.path.parse() {
            Ok(name) => unknown.push((name, found.path)),
            Err(_) => set_aside(objects, &found.path, "its name is not ours", adopting.report).await?,
        }
    }
    unknown.sort_unstable();
    for (_, path) in unknown {
        let looked = look(objects, runtime, &path).await;
        adopting.take(&path, &looked).await?;
    }
    Ok(adopting.commands)
}

/// What lies under `bronze/`, each file looked at once: by path, what its footer tells or what is wrong with it.
pub(super) struct Bronze(pub BTreeMap<String, Result<Option<Found>, String>>);

impl Bronze {
    /// Lists and looks.
    pub(super) async fn look(objects: &Objects, runtime: &Runtime) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        let mut listed = objects.list(Purpose::Rebuild, "bronze");
        while let Some(found) = listed.try_next().await? {
            let looked = look(objects, runtime, &found.path).await;
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
            let Some(Ok(Some(found))) = bronze.0.get(path) else { continue };
            if let FileState::Damaged(problem) = &found.state {
                set_aside(objects, path, problem, report).await?;
                bronze.0.remove(path);
                continue;
            }
            report.adopted += 1;
            report.say(format!("adopted {path}, which was planned, with {} rows", found.file.rows));
            report.note_unproven(&found.state);
            commands.push(vec![AdoptSealed { topic_id: id.0.to_vec(), file: Some(found.file.clone()) }.into()]);
        }
    }
    Ok(commands)
}

/// Sealed files that the copies did not know: they may only continue a partition that has no fresh ones and no open plan.
pub(super) async fn sealed_files(
    index: &Index,
    objects: &Objects,
    bronze: &mut Bronze,
    report: &mut Report,
) -> anyhow::Result<Vec<Vec<Command>>> {
    let planned: BTreeSet<&String> = index.topics.values().flat_map(|topic| topic.plans.keys()).collect();
    let is_free = |partition: &Partition| partition.fresh.is_empty() && partition.planned_end.is_none();
    let mut adopting = Adopting { index, objects, frontiers: frontiers(index, is_free), commands: Vec::new(), report };
    let mut gone = Vec::new();
    for (path, looked) in &bronze.0 {
        if planned.contains(path) || index.garbage.contains_key(path) {
            continue;
        }
        if let Ok(Some(found)) = looked
            && known_sealed(index, found)
        {
            adopting.report.note_unproven(&found.state);
            if let FileState::Damaged(problem) = &found.state {
                adopting.report.damaged(path, problem);
            }
        } else if !adopting.take(path, looked).await? {
            gone.push(path.clone());
        }
    }
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

/// Whether a file may be adopted.
enum Continues {
    Yes,
    /// The sweep of dropped topics takes it.
    OfDroppedTopic,
    No(String),
}

/// Whether a file continues all of its partitions; then their frontiers move.
fn continues(index: &Index, found: &Found, frontiers: &mut Frontiers) -> Continues {
    if index.dropped.contains_key(&found.topic_id) {
        return Continues::OfDroppedTopic;
    }
    if !index.topics.contains_key(&found.topic_id) {
        return Continues::No("its topic is not known".to_owned());
    }
    let follows = |range: &FileRange| frontiers.get(&(found.topic_id, range.partition)) == Some(&range.start);
    if !found.file.ranges.iter().all(follows) {
        return Continues::No("it does not begin where the known files end".to_owned());
    }
    for range in &found.file.ranges {
        frontiers.insert((found.topic_id, range.partition), range.end);
    }
    Continues::Yes
}

/// Files that the index does not know, one after another.
struct Adopting<'a> {
    index: &'a Index,
    objects: &'a Objects,
    frontiers: Frontiers,
    commands: Vec<Vec<Command>>,
    report: &'a mut Report,
}

impl Adopting<'_> {
    /// Adopts the file, or moves it to `lost/`. Says whether something is at its path afterwards.
    async fn take(&mut self, path: &str, looked: &Result<Option<Found>, String>) -> anyhow::Result<bool> {
        let reason = match looked {
            Ok(Some(found)) => match self.adopt(path, found).await? {
                Continues::Yes | Continues::OfDroppedTopic => return Ok(true),
                Continues::No(reason) => reason,
            },
            Ok(None) => COVERS_NOTHING.to_owned(),
            Err(reason) => reason.clone(),
        };
        set_aside(self.objects, path, &reason, self.report).await?;
        Ok(false)
    }

    async fn adopt(&mut self, path: &str, found: &Found) -> anyhow::Result<Continues> {
        let problem = match &found.state {
            FileState::Damaged(problem) if others_answer(self.index, found) => return Ok(Continues::No(problem.clone())),
            FileState::Damaged(problem) => Some(problem),
            FileState::Sound | FileState::RecordsAreSound => None,
        };
        let continues = continues(self.index, found, &mut self.frontiers);
        let Some(topic) = self.index.topics.get(&found.topic_id).filter(|_| matches!(continues, Continues::Yes)) else {
            return Ok(continues);
        };
        let file = match problem {
            None => {
                self.report.adopted += 1;
                self.report.say(format!("adopted {path} with {} rows", found.file.rows));
                self.report.note_unproven(&found.state);
                found.file.clone()
            }
            // Else none of the files after it would begin where another ends.
            Some(problem) => {
                set_aside(self.objects, path, problem, self.report).await?;
                put_empty(self.objects, topic, &found.file, self.report).await?
            }
        };
        self.commands.push(vec![AdoptSealed { topic_id: found.topic_id.0.to_vec(), file: Some(file) }.into()]);
        Ok(continues)
    }
}

/// Whether offsets of the file can be had from WAL segments.
fn others_answer(index: &Index, found: &Found) -> bool {
    let Some(topic) = index.topics.get(&found.topic_id) else { return false };
    let has_objects = |range: &FileRange| {
        let partition = topic.partition(range.partition);
        partition.is_some_and(|partition| {
            let within = partition.extents.iter().filter(|extent| extent.start < range.end && extent.end > range.start);
            within.into_iter().any(|extent| matches!(extent.place, ExtentPlace::Object { .. }))
        })
    };
    found.file.ranges.iter().any(has_objects)
}

/// Out of the way of globs, and kept for people to look at.
pub(super) async fn set_aside(objects: &Objects, path: &str, reason: &str, report: &mut Report) -> anyhow::Result<()> {
    let bytes = objects.get(Purpose::Rebuild, path).await?;
    let crc = crc32c(std::slice::from_ref(&bytes));
    // The CRC in the name: another file of the same name may have been set aside before.
    objects.put_new(Purpose::Rebuild, &format!("lost/{crc:08x}/{path}"), vec![bytes], crc).await?;
    objects.delete(Purpose::Rebuild, path).await?;
    report.set_aside += 1;
    report.say(format!("moved {path} to lost/: {reason}"));
    Ok(())
}
