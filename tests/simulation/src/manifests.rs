//! Manifests: analytical engines know of nothing else, so they must list what answers, all of it, once, and nothing more.

use crate::world::{TopicInfo, World};
use bytes::Bytes;
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use strandline_bronze::manifest::{DayManifest, ManifestDay, ManifestPartition, RootManifest, day_path, root_path};
use strandline_bronze::{Day, SegmentFooter, day_of_sealed_path, topic_folder};
use strandline_commands::NewFile;
use strandline_index::Topic;
use strandline_object_store::{Objects, Purpose, crc32c};
use strandline_segment_index::{SealedRow, for_each};

/// Looks until manifests have followed what was done last: nodes write them by themselves, and wait after a failure.
const LOOKS: usize = 45;

/// What is said of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct File {
    day: String,
    size: u64,
    rows: u64,
    crc32c: u32,
    /// (partition, start, end), in order.
    covered: Vec<(i32, i64, i64)>,
}

type Files = BTreeMap<String, File>;

/// The manifests as they lie in the bucket. If they are `whole`, every day that the root names is there and adds up to what the root says;
/// in the middle of work a day's list may be newer.
async fn listed(objects: &Objects, topic: &TopicInfo, whole: bool) -> Result<(RootManifest, Files), String> {
    let path = root_path(&topic.name, topic.id);
    let json = match objects.get(Purpose::Read, &path).await {
        Ok(json) => json,
        Err(error) if whole => return Err(format!("there is none: {error}")),
        Err(_) => return Ok((RootManifest::new(&topic.name, topic.id, 0), Files::new())),
    };
    let root = RootManifest::parse(&json).map_err(|error| format!("{path}: {error}"))?;
    let seq = root.applied_seq;
    let mut files = Files::new();
    for named in &root.days {
        let json = match objects.get(Purpose::Read, &named.path).await {
            Ok(json) => json,
            Err(error) if whole => return Err(format!("it names a day that is not there: {error}")),
            Err(_) => continue,
        };
        let manifest = DayManifest::parse(&json).map_err(|error| format!("{}: {error}", named.path))?;
        let (list, list_seq) = (manifest.files, manifest.applied_seq);
        let day: Day = named.day.parse().map_err(|error| format!("{}: {error}", named.day))?;
        let sums = ManifestDay {
            day: named.day.clone(),
            path: day_path(&topic.name, topic.id, day),
            files: list.len() as u64,
            rows: list.iter().map(|file| file.rows).sum(),
            bytes: list.iter().map(|file| file.size).sum(),
        };
        if whole && sums != *named {
            return Err(format!("the root, of {seq}, says {named:?}, the day's list, of {list_seq}, adds up to {sums:?}"));
        }
        for entry in list {
            let mut covered = entry.covered;
            covered.sort_unstable();
            let file = File { day: named.day.clone(), size: entry.size, rows: entry.rows, crc32c: entry.crc32c, covered };
            if files.insert(entry.path.clone(), file).is_some() {
                return Err(format!("{} is listed twice", entry.path));
            }
        }
    }
    Ok((root, files))
}

fn file_of(known: &NewFile) -> File {
    let mut covered: Vec<_> = known.ranges.iter().map(|range| (range.partition, range.start, range.end)).collect();
    covered.sort_unstable();
    let day = Day(known.ingest_day).to_string();
    File { day, size: known.size, rows: known.rows, crc32c: known.crc32c, covered }
}

/// By the log and by these rows: the topic, its files of which the index tells, and those that only rows tell of.
fn known(world: &World, topic: &TopicInfo, rows: Vec<SealedRow>) -> Result<(Topic, Files, Files), String> {
    let oracle = world.core.oracle();
    let index = oracle.index();
    let Some(state) = index.topics.get(&topic.id).cloned() else { return Err("the topic is not there".to_owned()) };
    let live: BTreeSet<_> = state.partitions.iter().flat_map(|partition| &partition.fresh).map(|range| range.segment).collect();
    let fresh = state.fresh.iter().filter(|(name, _)| live.contains(name)).map(|(_, segment)| &segment.file);
    let planned = state.plans.values().filter_map(|plan| plan.file.as_ref());
    let files: Files = fresh.chain(planned).map(|file| (file.path.clone(), file_of(file))).collect();
    let mut sealed = Files::new();
    for row in rows.into_iter().filter(|row| row.topic_partition.topic_id == topic.id) {
        if index.garbage.contains_key(&row.path) || files.contains_key(&row.path) {
            continue;
        }
        let day = day_of_sealed_path(&row.path).and_then(Result::ok).map(|day| day.to_string());
        let file = sealed.entry(row.path.clone()).or_default();
        file.day = day.unwrap_or_default();
        (file.size, file.crc32c, file.rows) = (row.size, row.crc32c, file.rows + row.rows);
        file.covered.push((row.topic_partition.partition, row.start_offset, row.end_offset));
        file.covered.sort_unstable();
    }
    Ok((Topic::clone(&state), files, sealed))
}

/// The files that answer, by the log and by the rows of the segment index: those of a plan that is done are in the rows only.
async fn answering(world: &World, topic: &TopicInfo) -> Result<(Topic, Files), String> {
    let mut rows = Vec::new();
    let visited = for_each(&world.core.segment_index, |row| rows.push(row)).await;
    visited.map_err(|error| format!("the segment index: {error}"))?;
    let (state, mut files, sealed) = known(world, topic, rows)?;
    // A zombie's rows may come after their file has gone for good: nothing of it is answered for any more.
    let start_of =
        |number: i32| usize::try_from(number).ok().and_then(|at| state.partitions.get(at)).map_or(0, |state| state.log_start);
    for (path, file) in sealed {
        let is_below = file.covered.iter().all(|(number, _, end)| *end <= start_of(*number));
        if !is_below || world.plain_objects().head(Purpose::Read, &path).await.is_ok() {
            files.insert(path, file);
        }
    }
    Ok((state, files))
}

/// Every offset that is in Parquet lies in exactly one of the listed files.
fn check_cover(topic: &TopicInfo, state: &Topic, files: &Files) -> Result<(), String> {
    check_once(topic, files)?;
    for (partition, number) in state.partitions.iter().zip(0..) {
        let ranges = files.values().flat_map(|file| &file.covered).filter(|(partition, ..)| *partition == number);
        let mut ranges: Vec<_> = ranges.map(|(_, start, end)| (*start, *end)).collect();
        ranges.sort_unstable();
        let reached = ranges.iter().fold(partition.log_start, |at, (start, end)| if *start <= at { at.max(*end) } else { at });
        if reached < partition.frontier {
            return Err(format!("offset {reached} of {number} is in no file, and is in Parquet up to {}", partition.frontier));
        }
        if let Some((_, end)) = ranges.last().filter(|(_, end)| *end > partition.frontier) {
            return Err(format!("{number} is listed up to {end}, and is in Parquet up to {}", partition.frontier));
        }
    }
    Ok(())
}

fn check_once(topic: &TopicInfo, files: &Files) -> Result<(), String> {
    let mut covered: BTreeMap<i32, Vec<(i64, i64, &str)>> = BTreeMap::new();
    for (path, file) in files {
        for (partition, start, end) in &file.covered {
            covered.entry(*partition).or_default().push((*start, *end, path));
        }
    }
    for (partition, mut ranges) in covered {
        ranges.sort_unstable();
        if let Some([first, next]) = ranges.array_windows().find(|[first, next]| next.0 < first.1) {
            let name = &topic.name;
            return Err(format!(
                "the manifest of {name}-{partition} lists offset {} twice: in {} and in {}",
                next.0, first.2, next.2
            ));
        }
    }
    Ok(())
}

/// Whether an object is what is said of it.
async fn check_object(objects: &Objects, path: &str, file: &File) -> Result<(), String> {
    let bytes = objects.get(Purpose::Read, path).await.map_err(|error| format!("it lists what is not there: {error}"))?;
    let footer = SegmentFooter::parse(path, bytes.len() as u64, &bytes).map_err(|error| format!("{path}: {error}"))?;
    let (size, rows): (u64, u64) = (bytes.len() as u64, footer.rows());
    let crc32c = crc32c(&[Bytes::clone(&bytes)]);
    if (size, rows, crc32c) != (file.size, file.rows, file.crc32c) {
        return Err(format!("it says of {path} {file:?}, which has {size} bytes, {rows} rows, CRC {crc32c}"));
    }
    Ok(())
}

/// Readers go by all lists that are there: one that the root does not name must be empty.
async fn check_unnamed(objects: &Objects, topic: &TopicInfo, root: &RootManifest) -> Result<(), String> {
    let named: BTreeSet<&str> = root.days.iter().map(|day| day.path.as_str()).collect();
    let listed: Vec<_> =
        objects.list(Purpose::Sweep, &topic_folder("manifest", &topic.name, topic.id)).try_collect().await.unwrap();
    for found in listed.iter().filter(|found| !named.contains(found.path.as_str())) {
        let json = objects.get(Purpose::Read, &found.path).await.map_err(|error| error.to_string())?;
        let manifest = DayManifest::parse(&json).map_err(|error| format!("{}: {error}", found.path))?;
        if !manifest.files.is_empty() {
            return Err(format!("{}, of {}, lists files, and the root does not name it", found.path, manifest.applied_seq));
        }
    }
    Ok(())
}

async fn check_topic(world: &World, topic: &TopicInfo) -> Result<usize, String> {
    let objects = world.plain_objects();
    let (root, files) = listed(&objects, topic, true).await?;
    check_unnamed(&objects, topic, &root).await?;
    let (state, expected) = answering(world, topic).await?;
    check_once(topic, &files)?;
    if let Some((path, file)) = expected.iter().find(|(path, _)| !files.contains_key(*path)) {
        return Err(format!("it lacks {path}, which answers for {:?}", file.covered));
    }
    if let Some((path, file)) = files.iter().find(|(path, file)| expected.get(*path) != Some(file)) {
        return Err(format!("it says of {path} {file:?}, and what answers is {:?}", expected.get(path)));
    }
    let kept = world.core.oracle().kept_for_ever(Some(topic.id)).find(|path| !files.contains_key(*path)).cloned();
    if let Some(path) = kept {
        return Err(format!("it lacks {path}, which is kept for ever"));
    }
    check_cover(topic, &state, &files)?;
    let partitions = (0..).zip(&state.partitions).map(|(partition, state)| ManifestPartition {
        partition,
        log_start: state.log_start,
        watermark: state.frontier,
    });
    let mut partitions: Vec<_> = partitions.collect();
    // Partitions that came later and have nothing in Parquet are listed with what is written next.
    let is_empty = |partition: &ManifestPartition| partition.log_start == 0 && partition.watermark == 0;
    while partitions.len() > root.partitions.len() && partitions.last().is_some_and(is_empty) {
        partitions.pop();
    }
    if root.partitions != partitions {
        return Err(format!("it says of partitions {:?}, they are {partitions:?}", root.partitions));
    }
    for (path, file) in &files {
        check_object(&objects, path, file).await?;
    }
    Ok(files.len())
}

/// Manifests list what answers, all of it and nothing else, as it is in the bucket: once those who write them have had their turn.
pub(crate) async fn manifests(world: &World) {
    for topic in world.topics() {
        let mut found = Err(String::new());
        for _ in 0..LOOKS {
            if world.shape.directed {
                write(world, &topic).await;
            }
            found = check_topic(world, &topic).await;
            if found.is_ok() || world.core.has_failed() {
                break;
            }
            world.core.runtime.sleep(Duration::from_secs(2)).await;
        }
        match found {
            Ok(files) => world.core.trace(format!("the manifest of {} lists {files} files", topic.name)),
            Err(what) => world.core.fail(format!("the manifest of {}, without any fault: {what}", topic.name)),
        }
    }
}

/// In a script nothing is done by itself.
async fn write(world: &World, topic: &TopicInfo) {
    for node in world.live() {
        let work = async {
            let _ = node.cell.barrier().await;
            node.compactor.write_manifest_once(topic.id).await
        };
        if let Some(Err(error)) = node.ask(work).await {
            world.core.trace(format!("{} writes no manifest of {}: {error}", node.name(), topic.name));
        }
    }
}

/// No offset is in two of the listed files, at any moment.
pub(crate) async fn nothing_is_listed_twice(world: &World) {
    let objects = world.plain_objects();
    for topic in world.topics() {
        let listed = listed(&objects, &topic, false).await;
        if let Err(what) = listed.and_then(|(_, files)| check_once(&topic, &files)) {
            world.core.fail(what);
        }
    }
}
