//! What the index knows and is not there: holes in its place, and their offsets in the report.

use super::Report;
use super::adopt::Bronze;
use super::look::Looked;
use super::lost::keep_copy;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use strandline_bronze::{CoveredRange, Preference, SegmentSpec, SegmentWriter};
use strandline_commands::{AdoptSealed, Command, FileRange, Lost, NewFile};
use strandline_index::{ExtentPlace, Format, Index, Topic};
use strandline_object_store::{Objects, Purpose, crc32c};
use strandline_types::{ObjectName, TopicId};

/// Fresh files that the index knows and that are gone: a file without rows takes their place.
pub(super) async fn missing_fresh(index: &Index, objects: &Objects, report: &mut Report) -> anyhow::Result<Vec<Command>> {
    let mut commands = Vec::new();
    for (id, topic) in &index.topics {
        for file in topic.fresh.values().map(|segment| &segment.file) {
            match objects.get(Purpose::Rebuild, &file.path).await {
                Ok(bytes) if bytes.len() as u64 == file.size => {
                    if crc32c(&[bytes]) != file.crc32c {
                        report.damaged(&file.path, "its CRC-32C is not the one that the index has");
                    }
                    continue;
                }
                // Cut, or what an earlier rebuild that did not end put in its place.
                Ok(_) => keep_copy(objects, &file.path, "it is not of the size that the index knows", report).await?,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
            let empty = put_empty(objects, topic, file, report).await?;
            commands.push(AdoptSealed { topic_id: id.0.to_vec(), file: Some(empty) }.into());
        }
    }
    Ok(commands)
}

/// A file without rows in the place of one that is gone, or of which a copy lies in `lost/`: it answers as a hole. At no moment is
/// there nothing at the path, so that a rebuild that is interrupted can be repeated.
pub(super) async fn put_empty(objects: &Objects, topic: &Topic, lost: &NewFile, report: &mut Report) -> anyhow::Result<NewFile> {
    let (file, bytes) = empty_file(topic, lost)?;
    objects.put_replace(Purpose::Rebuild, &file.path, Bytes::from(bytes.concat())).await?;
    for range in &lost.ranges {
        lose(report, topic, range.partition, range.start, range.end, i64::try_from(range.rows).unwrap_or(i64::MAX));
    }
    Ok(file)
}

fn empty_file(topic: &Topic, lost: &NewFile) -> anyhow::Result<(NewFile, Vec<Bytes>)> {
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
    for found in bronze.0.values().filter_map(Looked::found) {
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

pub(super) fn lose(report: &mut Report, topic: &Topic, partition: i32, start: i64, end: i64, records: i64) {
    report.lose(records, format!("lost: {} partition {partition}, offsets {start} to {}", topic.name, end - 1));
}
