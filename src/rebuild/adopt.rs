//! Files that are there against the index: known, adopted, or moved to `lost/`.

use super::Report;
use super::adopting::Adopting;
use super::look::{FileState, Found, Looked, look};
use super::lost::{Copies, set_aside};
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use strandline_bronze::{SealedName, topic_folder};
use strandline_commands::{AdoptSealed, Command};
use strandline_index::{Index, Topic};
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

/// Files that the copies did not know and that continue their partitions: rows that had reached Parquet are kept.
pub(super) async fn unknown_files(
    index: &Index,
    places: &Places,
    fresh: &Fresh,
    bronze: &mut Bronze,
    report: &mut Report,
) -> anyhow::Result<Vec<Vec<Command>>> {
    let planned: BTreeSet<&String> = index.topics.values().flat_map(|topic| topic.plans.keys()).collect();
    let mut adopting = Adopting::new(index, places, report);
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
    unknown.extend(fresh.0.iter().map(|(_, path, looked)| (path.as_str(), looked)));
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
