//! What is to be listed: the files that answer, by day, as the index and the segment index have them at one seq.

use crate::manifest::Written;
use crate::sealed::{SealedFiles, garbage_of};
use std::collections::{BTreeMap, BTreeSet};
use strandline_bronze::Day;
use strandline_bronze::manifest::{ManifestFile, ManifestPartition};
use strandline_commands::NewFile;
use strandline_index::{Index, Topic};
use strandline_types::Seq;
use strandline_types::mutations::{Rule, holds};

/// What a root says of a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// One day, as it is to be.
pub(super) struct DayNow {
    pub day: Day,
    pub sums: Sums,
    pub checksum: u32,
    /// What its manifest lists, unless the one in the bucket says the same.
    pub list: Option<Vec<ManifestFile>>,
}

/// What a manifest is made of, taken from the index at one seq.
pub(super) struct Shown {
    pub topic: String,
    pub applied: Seq,
    pub changed: Seq,
    files: Vec<NewFile>,
    pub partitions: Vec<ManifestPartition>,
    sealed_ends: BTreeMap<i32, i64>,
    garbage: BTreeSet<String>,
}

impl Shown {
    pub fn of(index: &Index, topic: &Topic) -> Self {
        let live: BTreeSet<_> =
            topic.partitions.iter().flat_map(|partition| &partition.fresh).map(|range| range.segment).collect();
        let fresh = topic.fresh.iter().filter(|(name, _)| live.contains(name)).map(|(_, segment)| segment.file.clone());
        let planned = topic.plans.values().filter_map(|plan| plan.file.clone());
        let partitions = (0..).zip(&topic.partitions).map(|(partition, state)| ManifestPartition {
            partition,
            log_start: state.log_start,
            watermark: state.frontier,
        });
        Self {
            topic: topic.name.clone(),
            applied: index.cell.seq,
            changed: topic.bronze_changed,
            files: fresh.chain(planned).collect(),
            partitions: partitions.collect(),
            sealed_ends: (0..).zip(&topic.partitions).map(|(partition, state)| (partition, state.sealed_end)).collect(),
            garbage: garbage_of(index, topic).cloned().collect(),
        }
    }
}

/// Every file that answers, once, by day: fresh, sealed but not yet listed, sealed and listed.
fn files_by_day<'a>(shown: &'a Shown, sealed: &'a SealedFiles) -> BTreeMap<Day, Vec<&'a NewFile>> {
    let mut files: BTreeMap<&str, &NewFile> = shown.files.iter().map(|file| (file.path.as_str(), file)).collect();
    for (path, file) in &sealed.files {
        // Rows of a file that this view does not know as sealed yet: its inputs are in the list.
        let known = file.ranges.iter().all(|range| shown.sealed_ends.get(&range.partition).is_some_and(|end| range.end <= *end));
        if (known && !shown.garbage.contains(path) && !sealed.gone.contains(path)) || !holds(Rule::Manifest) {
            files.entry(path).or_insert(file);
        }
    }
    if !holds(Rule::WholeManifest) {
        files.pop_last();
    }
    let mut days: BTreeMap<Day, Vec<&NewFile>> = BTreeMap::new();
    for file in files.into_values() {
        days.entry(Day(file.ingest_day)).or_default().push(file);
    }
    days
}

/// The days that have files. What an earlier run has put counts for days before `first_open`.
pub(super) fn days_now(shown: &Shown, sealed: &SealedFiles, written: &Written, first_open: Day) -> Vec<DayNow> {
    let days = files_by_day(shown, sealed).into_iter().map(|(day, files)| {
        let checksum = checksum_of(&files);
        let sums = Sums {
            files: files.len() as u64,
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.size).sum(),
        };
        // A day of sealed files alone that an earlier run wrote with the same sums says the same.
        let all_sealed = files.iter().all(|file| file.path.starts_with("bronze/"));
        let same = written.days.get(&day) == Some(&Some(checksum))
            || (all_sealed && day < first_open && written.is_as_earlier(day, sums));
        let list = (!same).then(|| files.into_iter().map(manifest_file).collect());
        DayNow { day, sums, checksum, list }
    });
    days.collect()
}

/// Of all that a manifest says of these files.
pub(super) fn checksum_of(files: &[&NewFile]) -> u32 {
    let mut text = Vec::new();
    for file in files {
        text.extend_from_slice(file.path.as_bytes());
        let numbers = [file.size, file.rows, u64::from(file.crc32c), file.ranges.len() as u64];
        numbers.iter().for_each(|number| text.extend_from_slice(&number.to_le_bytes()));
        for range in &file.ranges {
            text.extend_from_slice(&range.partition.to_le_bytes());
            [range.start, range.end].iter().for_each(|offset| text.extend_from_slice(&offset.to_le_bytes()));
        }
    }
    crc_fast::crc32_iscsi(&text)
}

fn manifest_file(file: &NewFile) -> ManifestFile {
    ManifestFile {
        path: file.path.clone(),
        size: file.size,
        rows: file.rows,
        crc32c: file.crc32c,
        covered: file.ranges.iter().map(|range| (range.partition, range.start, range.end)).collect(),
    }
}
