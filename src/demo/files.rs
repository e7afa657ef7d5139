//! The Parquet, seen as a reader sees it that knows nothing of the node: by the manifests in the folder.

use super::tally::Tally;
use anyhow::{Context as _, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use strandline_bronze::manifest::{DayManifest, RootManifest};

/// One topic's files.
#[derive(Debug, Default, Clone)]
pub(super) struct TopicFiles {
    pub(super) files: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Its folder below `manifest/` and `bronze/`, `topic/id8`.
    pub(super) folder: String,
}

/// Every topic's files, and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) topics: BTreeMap<String, TopicFiles>,
    pub(super) wrong: Vec<String>,
}

/// Reads the manifests below `data`, looks for every file, and compares rows with what was acknowledged.
pub(super) fn check(data: &Path, acknowledged: &Tally) -> Files {
    let mut files = Files::default();
    let mut ends: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
    for (name, end) in acknowledged.partitions() {
        ends.entry(&name.0).or_default().insert(name.1, end);
    }
    for (topic, ends) in ends {
        match check_topic(data, topic, &ends) {
            Ok(found) => {
                let sent: i64 = ends.values().sum();
                if found.rows != sent.unsigned_abs() {
                    files.wrong.push(format!("{topic}: {sent} events were acknowledged, its manifest lists {} rows", found.rows));
                }
                files.topics.insert(topic.to_owned(), found);
            }
            Err(error) => files.wrong.push(format!("{topic}: {error:#}")),
        }
    }
    files
}

fn check_topic(data: &Path, topic: &str, ends: &BTreeMap<i32, i64>) -> anyhow::Result<TopicFiles> {
    let store = data.join("store");
    let folder = store.join("manifest").join(topic);
    let roots = std::fs::read_dir(&folder).with_context(|| format!("cannot look into {}", folder.display()))?;
    let mut roots: Vec<_> = roots.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()).collect();
    ensure!(roots.len() == 1, "{} root manifests lie in {}, one was expected", roots.len(), folder.display());
    let path = roots.pop().unwrap_or_default();
    let root = RootManifest::parse(&read(&path)?).with_context(|| format!("{}", path.display()))?;
    for (partition, end) in ends {
        let found = root.partitions.iter().find(|found| found.partition == *partition).map(|found| found.watermark);
        ensure!(found == Some(*end), "partition {partition} ends at {end}, its manifest says {found:?}");
    }
    let id8 = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut found = TopicFiles { folder: format!("{topic}/{id8}"), ..TopicFiles::default() };
    let mut covered: BTreeMap<i32, BTreeSet<(i64, i64)>> = BTreeMap::new();
    for day in &root.days {
        let path = store.join(&day.path);
        let day = DayManifest::parse(&read(&path)?).with_context(|| format!("{}", path.display()))?;
        for file in &day.files {
            let path = store.join(&file.path);
            let size = std::fs::metadata(&path).with_context(|| format!("the manifest lists {}", path.display()))?.len();
            ensure!(size == file.size, "{} has {size} bytes, the manifest says {}", path.display(), file.size);
            ensure!(file.path.starts_with("bronze/"), "{} is not sealed", file.path);
            found.files += 1;
            found.rows += file.rows;
            found.bytes += file.size;
            for (partition, start, end) in &file.covered {
                covered.entry(*partition).or_default().insert((*start, *end));
            }
        }
    }
    for (partition, end) in ends {
        let mut next = 0;
        for (start, end) in covered.get(partition).into_iter().flatten() {
            ensure!(*start == next, "partition {partition}: offsets from {next} to {start} are in no file, or in two");
            next = *end;
        }
        ensure!(next == *end, "partition {partition}: the files end at {next}, not at {end}");
    }
    Ok(found)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
