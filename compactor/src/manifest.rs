//! Manifests: the exact list of files that answer for a topic, for readers that know nothing of the index.

use crate::error::WorkError;
use crate::sealed::SealedFiles;
use crate::shared::Shared;
use bytes::Bytes;
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use strandline_bronze::manifest::{
    DayManifest, ManifestDay, ManifestError, ManifestFile, ManifestPartition, RootManifest, applied_seq, day_path, root_path,
    supersedes,
};
use strandline_bronze::{Day, topic_folder};
use strandline_commands::NewFile;
use strandline_index::Topic;
use strandline_object_store::{Purpose, Seen};
use strandline_types::mutations::{Rule, holds};
use strandline_types::{Seq, TopicId};

/// Looks at a manifest that others put in between.
const REPLACE_ROUNDS: usize = 4;

/// What a topic's manifests say, as far as this run knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    /// Everything up to this change is in them.
    pub changed: Seq,
    /// Days that were written or checked by this run, with a checksum of their list.
    days: BTreeMap<Day, u32>,
    /// Days that an earlier run's root names.
    earlier: BTreeMap<Day, Sums>,
}

/// What a root says of a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    files: u64,
    rows: u64,
    bytes: u64,
}

/// One day, as it is to be.
struct DayNow {
    day: Day,
    sums: Sums,
    checksum: u32,
    /// What its manifest lists, unless the one in the bucket says the same.
    list: Option<Vec<ManifestFile>>,
}

/// What a manifest is made of, taken from the index at one seq.
struct Shown {
    topic: String,
    applied: Seq,
    changed: Seq,
    files: Vec<NewFile>,
    partitions: Vec<ManifestPartition>,
    sealed_ends: BTreeMap<i32, i64>,
    garbage: BTreeSet<String>,
}

fn shown(topic: &Topic, applied: Seq, garbage: impl Iterator<Item = String>) -> Shown {
    let live: BTreeSet<_> = topic.partitions.iter().flat_map(|partition| &partition.fresh).map(|range| range.segment).collect();
    let fresh = topic.fresh.iter().filter(|(name, _)| live.contains(name)).map(|(_, segment)| segment.file.clone());
    let planned = topic.plans.values().filter_map(|plan| plan.file.clone());
    let partitions = (0..).zip(&topic.partitions).map(|(partition, state)| ManifestPartition {
        partition,
        log_start: state.log_start,
        watermark: state.frontier,
    });
    Shown {
        topic: topic.name.clone(),
        applied,
        changed: topic.bronze_changed,
        files: fresh.chain(planned).collect(),
        partitions: partitions.collect(),
        sealed_ends: (0..).zip(&topic.partitions).map(|(partition, state)| (partition, state.sealed_end)).collect(),
        garbage: garbage.collect(),
    }
}

impl Shared {
    /// Topics whose bronze has changed since their manifests were written.
    pub fn manifests_due(&self) -> Vec<TopicId> {
        let view = self.cell.view();
        let memory = self.memory();
        let written = |id: &TopicId| memory.manifests.get(id).map_or(Seq::ZERO, |written| written.changed);
        view.topics.values().filter(|topic| topic.bronze_changed > written(&topic.id)).map(|topic| topic.id).collect()
    }

    /// Writes a topic's manifests if they are behind. False if there was nothing to write.
    pub async fn write_manifest_once(&self, topic_id: TopicId) -> Result<bool, WorkError> {
        let _one = self.manifests.lock().await;
        let known = self.memory().manifests.get(&topic_id).cloned();
        let written = match known {
            Some(written) => written,
            None => self.read_root(topic_id).await?,
        };
        let Some(shown) = self.shown(topic_id, written.changed) else {
            self.memory().manifests.insert(topic_id, written);
            return Ok(false);
        };
        let sealed = self.sealed_files(topic_id).await?;
        let spawner = &self.cell.runtime().spawner;
        // A topic that keeps its files for years has many: they are not looked through while clients wait.
        let look = move || {
            let days = days_now(&shown, &sealed, &written);
            (days, shown, written)
        };
        let (days, shown, mut written) = spawner.background("manifest", look).await?;
        let mut root = RootManifest::new(&shown.topic, topic_id, shown.applied.0);
        root.partitions.clone_from(&shown.partitions);
        let mut named = BTreeSet::new();
        for DayNow { day, sums, checksum, list } in days {
            let path = day_path(&shown.topic, topic_id, day);
            if let Some(list) = list {
                let mut manifest = DayManifest::new(&shown.topic, topic_id, day, shown.applied.0);
                manifest.files = list;
                let json = spawner.background("manifest", move || manifest.encode()).await??;
                self.replace(&path, json, shown.applied).await?;
            }
            written.days.insert(day, checksum);
            named.insert(day);
            let Sums { files, rows, bytes } = sums;
            root.days.push(ManifestDay { day: day.to_string(), path, files, rows, bytes });
        }
        self.replace(&root_path(&shown.topic, topic_id), root.encode()?, shown.applied).await?;
        let gone: Vec<Day> =
            written.days.keys().chain(written.earlier.keys()).filter(|day| !named.contains(day)).copied().collect();
        for day in gone {
            self.objects.delete(Purpose::Manifest, &day_path(&shown.topic, topic_id, day)).await?;
            written.days.remove(&day);
        }
        written.earlier.clear();
        written.changed = shown.changed;
        self.memory().manifests.insert(topic_id, written);
        metrics::counter!("strandline_manifests_total").increment(1);
        Ok(true)
    }

    fn shown(&self, topic_id: TopicId, since: Seq) -> Option<Shown> {
        let view = self.cell.view();
        let topic = view.topics.get(&topic_id).filter(|topic| topic.bronze_changed > since)?;
        let prefix = format!("bronze/{}/{}/", topic.name, topic_id.id8());
        let garbage =
            view.garbage.range(prefix.clone()..).map(|(path, _)| path).take_while(move |path| path.starts_with(&prefix));
        Some(shown(topic, view.cell.seq, garbage.cloned()))
    }

    /// What the root in the bucket says, after a start.
    async fn read_root(&self, topic_id: TopicId) -> Result<Written, WorkError> {
        let Some(topic) = self.cell.view().topics.get(&topic_id).map(|topic| topic.name.clone()) else {
            return Ok(Written::default());
        };
        let json = match self.objects.get(Purpose::Manifest, &root_path(&topic, topic_id)).await {
            Ok(json) => json,
            Err(error) if error.is_not_found() => return Ok(Written::default()),
            Err(error) => return Err(error.into()),
        };
        let Ok(root) = RootManifest::parse(&json) else { return Ok(Written::default()) };
        let sums = |day: &ManifestDay| Sums { files: day.files, rows: day.rows, bytes: day.bytes };
        let earlier = root.days.iter().filter_map(|day| Some((day.day.parse().ok()?, sums(day))));
        self.delete_left_days(&topic, topic_id, &root).await?;
        Ok(Written { changed: Seq(root.applied_seq), days: BTreeMap::new(), earlier: earlier.collect() })
    }

    /// Deletes what was left where a run ended between the put of the root and the deletes of days that it does not name any more. A day
    /// that is newer than the root is one that another run is about to name.
    async fn delete_left_days(&self, topic: &str, topic_id: TopicId, root: &RootManifest) -> Result<(), WorkError> {
        let named: BTreeSet<&str> = root.days.iter().map(|day| day.path.as_str()).collect();
        let folder = topic_folder("manifest", topic, topic_id);
        let mut listed = self.objects.list(Purpose::Manifest, &folder);
        while let Some(found) = listed.try_next().await? {
            if named.contains(found.path.as_str()) {
                continue;
            }
            let json = match self.objects.get(Purpose::Manifest, &found.path).await {
                Ok(json) => json,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            if applied_seq(&json).is_ok_and(|applied| applied <= root.applied_seq) {
                self.objects.delete(Purpose::Manifest, &found.path).await?;
            }
        }
        Ok(())
    }

    /// Puts a manifest over the one that is there, unless that one is as new. An older one that was given up and comes late finds another
    /// than it was to replace.
    async fn replace(&self, path: &str, json: Vec<u8>, applied: Seq) -> Result<(), WorkError> {
        let json = Bytes::from(json);
        for _ in 0..REPLACE_ROUNDS {
            let (existing, seen) = match self.objects.get_seen(Purpose::Manifest, path).await {
                Ok((json, seen)) => (applied_seq(&json).ok(), seen),
                Err(error) if error.is_not_found() => (None, Seen::Nothing),
                Err(error) => return Err(error.into()),
            };
            if !supersedes(applied.0, existing) || self.objects.put_instead(Purpose::Manifest, path, json.clone(), seen).await? {
                return Ok(());
            }
        }
        Err(WorkError::Write { path: path.to_owned(), reason: "another one took its place again and again".to_owned() })
    }
}

/// Every file that answers, once, by day: fresh, sealed but not yet listed, sealed and listed.
fn files_by_day<'a>(shown: &'a Shown, sealed: &'a SealedFiles) -> BTreeMap<Day, Vec<&'a NewFile>> {
    let mut files: BTreeMap<&str, &NewFile> = shown.files.iter().map(|file| (file.path.as_str(), file)).collect();
    for (path, file) in &sealed.files {
        // Rows of a file that this view does not know as sealed yet: its inputs are in the list.
        let known = file.ranges.iter().all(|range| shown.sealed_ends.get(&range.partition).is_some_and(|end| range.end <= *end));
        if (known && !shown.garbage.contains(path)) || !holds(Rule::Manifest) {
            files.entry(path).or_insert(file);
        }
    }
    let mut days: BTreeMap<Day, Vec<&NewFile>> = BTreeMap::new();
    for file in files.into_values() {
        days.entry(Day(file.ingest_day)).or_default().push(file);
    }
    days
}

fn days_now(shown: &Shown, sealed: &SealedFiles, written: &Written) -> Vec<DayNow> {
    let days = files_by_day(shown, sealed).into_iter().map(|(day, files)| {
        let checksum = checksum_of(&files);
        let sums = Sums {
            files: files.len() as u64,
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.size).sum(),
        };
        // A day of sealed files alone that an earlier run wrote with the same sums says the same.
        let all_sealed = files.iter().all(|file| file.path.starts_with("bronze/"));
        let same = written.days.get(&day) == Some(&checksum) || (all_sealed && written.earlier.get(&day) == Some(&sums));
        let list = (!same).then(|| files.into_iter().map(manifest_file).collect());
        DayNow { day, sums, checksum, list }
    });
    days.collect()
}

/// Of all that a manifest says of these files.
fn checksum_of(files: &[&NewFile]) -> u32 {
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

impl From<ManifestError> for WorkError {
    fn from(error: ManifestError) -> Self {
        Self::Write { path: "a manifest".to_owned(), reason: error.to_string() }
    }
}
