//! Files against the index: what is known and there, what is there and not known, what is known and gone.

use super::Report;
use crate::node::rows_of_file;
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use strandline_bronze::{CoveredRange, Preference, SegmentSpec, SegmentWriter};
use strandline_commands::{AdoptSealed, Command, FileRange, Lost, NewFile};
use strandline_index::{ExtentPlace, Format, Index, Partition, Topic};
use strandline_object_store::{Objects, Purpose, crc32c};
use strandline_segment_index::SealedRow;
use strandline_types::{ObjectName, TopicId};

/// A file as its footer tells it.
#[derive(Clone)]
struct Found {
    topic_id: TopicId,
    file: NewFile,
}

async fn look(objects: &Objects, path: &str, size: u64) -> Result<Option<Found>, String> {
    let rows = rows_of_file(objects, path, size).await.map_err(|error| error.to_string())?;
    let Some(first) = rows.first() else { return Ok(None) };
    let topic_id = first.topic_partition.topic_id;
    let range = |row: &SealedRow| FileRange {
        partition: row.topic_partition.partition,
        start: row.start_offset,
        end: row.end_offset,
        rows: row.rows,
        first_row: row.first_row,
        max_timestamp_ms: row.max_timestamp_ms,
        max_timestamp_offset: row.max_timestamp_offset,
        sent_bytes: row.sent_bytes,
    };
    let file = NewFile {
        path: path.to_owned(),
        size,
        crc32c: first.crc32c,
        rows: rows.iter().map(|row| row.rows).sum(),
        record_bytes: size,
        ingest_day: day_of(objects, path, size).await.map_err(|error| error.to_string())?,
        ranges: rows.iter().map(range).collect(),
    };
    Ok(Some(Found { topic_id, file }))
}

async fn day_of(objects: &Objects, path: &str, size: u64) -> anyhow::Result<i32> {
    if let Some(day) = path.split('/').find_map(|part| part.strip_prefix("ingest_date=")) {
        let day: strandline_bronze::Day = day.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        return Ok(day.0);
    }
    let bytes = objects.get(Purpose::Rebuild, path).await?;
    let footer = strandline_bronze::SegmentFooter::parse(path, size, &bytes)?;
    Ok(footer.ingest_ms().map_or(0, |(first, _)| strandline_bronze::Day::of_ms(first).0))
}

/// Fresh files that the copies did not know and that continue their partitions: rows that had reached Parquet are kept.
pub(super) async fn fresh_files(index: &Index, objects: &Objects, report: &mut Report) -> anyhow::Result<Vec<Vec<Command>>> {
    let known: BTreeSet<String> = index
        .topics
        .values()
        .flat_map(|topic| topic.fresh.values().map(|segment| segment.file.path.clone()))
        .chain(index.garbage.keys().cloned())
        .collect();
    let mut frontiers = frontiers(index, |partition| partition.planned_end.is_none());
    let mut commands = Vec::new();
    // In the order of names, which is that of seqs: each continues the one before.
    let mut unknown: Vec<(ObjectName, String, u64)> = Vec::new();
    let mut listed = objects.list(Purpose::Rebuild, "fresh");
    while let Some(found) = listed.try_next().await? {
        if known.contains(&found.path) {
            continue;
        }
        match found.path.parse() {
            Ok(name) => unknown.push((name, found.path, found.size)),
            Err(_) => set_aside(objects, &found.path, "its name is not ours", report).await?,
        }
    }
    unknown.sort_unstable();
    for (_, path, size) in unknown {
        adopt_one(index, objects, &path, size, &mut frontiers, &mut commands, report).await?;
    }
    Ok(commands)
}

/// What lies under `bronze/`, each file looked at once: by path, what its footer tells or what is wrong with it.
pub(super) struct Bronze(BTreeMap<String, Result<Option<Found>, String>>);

impl Bronze {
    /// Lists and looks.
    pub(super) async fn look(objects: &Objects) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        let mut listed = objects.list(Purpose::Rebuild, "bronze");
        while let Some(found) = listed.try_next().await? {
            let looked = look(objects, &found.path, found.size).await;
            files.insert(found.path, looked);
        }
        Ok(Self(files))
    }
}

/// Files of open plans over extents that are there, though the copies do not know it: from here on they answer for their offsets,
/// and whoever has the lease next goes on with the plan.
pub(super) fn planned_files(index: &Index, bronze: &Bronze, report: &mut Report) -> Vec<Vec<Command>> {
    let mut commands = Vec::new();
    for (id, topic) in &index.topics {
        for (path, _) in topic.plans.iter().filter(|(_, plan)| plan.is_over_extents() && plan.file.is_none()) {
            let Some(Ok(Some(found))) = bronze.0.get(path) else { continue };
            report.adopted += 1;
            report.say(format!("adopted {path}, which was planned, with {} rows", found.file.rows));
            commands.push(vec![AdoptSealed { topic_id: id.0.to_vec(), file: Some(found.file.clone()) }.into()]);
        }
    }
    commands
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
    let mut frontiers = frontiers(index, is_free);
    let mut commands = Vec::new();
    let mut gone = Vec::new();
    for (path, looked) in &bronze.0 {
        if planned.contains(path) || index.garbage.contains_key(path) {
            continue;
        }
        let reason = match looked {
            Ok(Some(found)) if known_sealed(index, found) => continue,
            Ok(Some(found)) => match continues(index, found, &mut frontiers) {
                Continues::Yes => {
                    adopted(path, found.clone(), &mut commands, report);
                    continue;
                }
                Continues::OfDroppedTopic => continue,
                Continues::No(reason) => reason.to_owned(),
            },
            Ok(None) => COVERS_NOTHING.to_owned(),
            Err(reason) => reason.clone(),
        };
        set_aside(objects, path, &reason, report).await?;
        gone.push(path.clone());
    }
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
    No(&'static str),
}

/// Whether a file continues all of its partitions; then their frontiers move.
fn continues(index: &Index, found: &Found, frontiers: &mut Frontiers) -> Continues {
    if index.dropped.contains_key(&found.topic_id) {
        return Continues::OfDroppedTopic;
    }
    if !index.topics.contains_key(&found.topic_id) {
        return Continues::No("its topic is not known");
    }
    let follows = |range: &FileRange| frontiers.get(&(found.topic_id, range.partition)) == Some(&range.start);
    if !found.file.ranges.iter().all(follows) {
        return Continues::No("it does not begin where the known files end");
    }
    for range in &found.file.ranges {
        frontiers.insert((found.topic_id, range.partition), range.end);
    }
    Continues::Yes
}

fn adopted(path: &str, found: Found, commands: &mut Vec<Vec<Command>>, report: &mut Report) {
    report.adopted += 1;
    report.say(format!("adopted {path} with {} rows", found.file.rows));
    commands.push(vec![AdoptSealed { topic_id: found.topic_id.0.to_vec(), file: Some(found.file) }.into()]);
}

async fn adopt_one(
    index: &Index,
    objects: &Objects,
    path: &str,
    size: u64,
    frontiers: &mut Frontiers,
    commands: &mut Vec<Vec<Command>>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let found = match look(objects, path, size).await {
        Ok(Some(found)) => found,
        Ok(None) => return set_aside(objects, path, COVERS_NOTHING, report).await,
        Err(reason) => return set_aside(objects, path, &reason, report).await,
    };
    match continues(index, &found, frontiers) {
        Continues::Yes => {
            adopted(path, found, commands, report);
            Ok(())
        }
        Continues::OfDroppedTopic => Ok(()),
        Continues::No(reason) => set_aside(objects, path, reason, report).await,
    }
}

/// Out of the way of globs, and kept for people to look at.
async fn set_aside(objects: &Objects, path: &str, reason: &str, report: &mut Report) -> anyhow::Result<()> {
    let bytes = objects.get(Purpose::Rebuild, path).await?;
    let crc = crc32c(std::slice::from_ref(&bytes));
    // The CRC in the name: another file of the same name may have been set aside before.
    objects.put_new(Purpose::Rebuild, &format!("lost/{crc:08x}/{path}"), vec![bytes], crc).await?;
    objects.delete(Purpose::Rebuild, path).await?;
    report.set_aside += 1;
    report.say(format!("moved {path} to lost/: {reason}"));
    Ok(())
}

/// Fresh files that the index knows and that are gone: a file without rows takes their place and answers as a hole.
pub(super) async fn missing_fresh(index: &Index, objects: &Objects, report: &mut Report) -> anyhow::Result<Vec<Command>> {
    let mut commands = Vec::new();
    for (id, topic) in &index.topics {
        for segment in topic.fresh.values() {
            match objects.head(Purpose::Rebuild, &segment.file.path).await {
                Ok(there) if there.size == segment.file.size => continue,
                // Cut, or what an earlier rebuild that did not end put in its place.
                Ok(_) => set_aside(objects, &segment.file.path, "it is not of the size that the index knows", report).await?,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
            let empty = empty_file(topic, &segment.file)?;
            objects.put_new(Purpose::Rebuild, &empty.0.path, empty.1, empty.0.crc32c).await?;
            for range in &segment.file.ranges {
                lose(report, topic, range.partition, range.start, range.end, i64::try_from(range.rows).unwrap_or(i64::MAX));
            }
            commands.push(AdoptSealed { topic_id: id.0.to_vec(), file: Some(empty.0) }.into());
        }
    }
    Ok(commands)
}

fn empty_file(topic: &Topic, lost: &NewFile) -> anyhow::Result<(NewFile, Vec<bytes::Bytes>)> {
    let preference = |format: Format| if format == Format::Binary { Preference::Binary } else { Preference::Text };
    let spec = SegmentSpec {
        topic: topic.name.clone(),
        topic_id: topic.id,
        covered: lost
            .ranges
            .iter()
            .map(|range| CoveredRange { partition: range.partition, start: range.start, end: range.end })
            .collect(),
        plan: lost.path.clone(),
        key: preference(topic.key_format),
        value: preference(topic.value_format),
    };
    let written = SegmentWriter::new(spec)?.finish()?;
    let none = |range: &FileRange| FileRange {
        partition: range.partition,
        start: range.start,
        end: range.end,
        max_timestamp_ms: -1,
        max_timestamp_offset: -1,
        ..FileRange::default()
    };
    let file = NewFile {
        path: lost.path.clone(),
        size: written.file_bytes,
        crc32c: written.crc32c,
        rows: 0,
        record_bytes: 0,
        ingest_day: lost.ingest_day,
        ranges: lost.ranges.iter().map(none).collect(),
    };
    Ok((file, written.bytes))
}

/// Offsets that sealed files should answer for and none does. They stay unanswered (a storage error for who asks), so they
/// are at least named.
pub(super) fn missing_sealed(index: &Index, bronze: &Bronze, report: &mut Report) {
    let mut covered: BTreeMap<(TopicId, i32), Vec<(i64, i64)>> = BTreeMap::new();
    for found in bronze.0.values().filter_map(|looked| looked.as_ref().ok()?.as_ref()) {
        for range in &found.file.ranges {
            covered.entry((found.topic_id, range.partition)).or_default().push((range.start, range.end));
        }
    }
    for (id, topic) in &index.topics {
        for (number, partition) in (0..).zip(&topic.partitions) {
            let mut ranges = covered.remove(&(*id, number)).unwrap_or_default();
            ranges.sort_unstable();
            let mut at = partition.log_start;
            for (start, end) in ranges.into_iter().chain([(partition.sealed_end, partition.sealed_end)]) {
                let gap_end = start.min(partition.sealed_end);
                if gap_end > at {
                    lose(report, topic, number, at, gap_end, gap_end - at);
                }
                at = at.max(end);
            }
        }
    }
}

/// Batches whose bytes were only in the lost log, or in a WAL segment that is gone.
pub(super) async fn lost_extents(index: &Index, objects: &Objects, report: &mut Report) -> anyhow::Result<Vec<Command>> {
    let mut gone: BTreeSet<ObjectName> = BTreeSet::new();
    for name in index.wal_objects.keys() {
        match objects.head(Purpose::Rebuild, &format!("wal/{name}")).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {
                gone.insert(*name);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let mut commands = Vec::new();
    for (id, topic) in &index.topics {
        for (number, partition) in (0..).zip(&topic.partitions) {
            let mut run: Option<(i64, i64)> = None;
            let mut runs = Vec::new();
            for extent in &partition.extents {
                let lost = match extent.place {
                    ExtentPlace::Inline { .. } => true,
                    ExtentPlace::Object { name, .. } => gone.contains(&name),
                    ExtentPlace::Marker { .. } | ExtentPlace::Hole => false,
                };
                run = match (run, lost) {
                    (Some((start, _)), true) => Some((start, extent.end)),
                    (None, true) => Some((extent.start, extent.end)),
                    (run, false) => {
                        runs.extend(run);
                        None
                    }
                };
            }
            runs.extend(run);
            for (start, end) in runs {
                lose(report, topic, number, start, end, end - start);
                commands.push(Lost { topic_id: id.0.to_vec(), partition: number, start, end }.into());
            }
        }
    }
    Ok(commands)
}

fn lose(report: &mut Report, topic: &Topic, partition: i32, start: i64, end: i64, records: i64) {
    report.records_lost = report.records_lost.saturating_add(records);
    report.say(format!("lost: {} partition {partition}, offsets {start} to {}", topic.name, end - 1));
}
