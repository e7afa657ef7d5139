//! Whether manifests say what answers: engines that go by them see nothing else.

use super::verify::VerifyResult;
use crate::node::Parts;
use std::collections::BTreeMap;
use strandline_bronze::Day;
use strandline_bronze::manifest::{DayManifest, ManifestFile, ManifestPartition, RootManifest, day_path, root_path};
use strandline_object_store::Purpose;
use strandline_types::{Seq, TopicId};

/// Of a root that was there.
const MISSING: &str =
    "it is not there, and engines that go by it find no file of the topic: start the node again, which writes it anew";

/// What the index says of a topic.
struct Known {
    name: String,
    changed: Seq,
    now: Seq,
    partitions: Vec<ManifestPartition>,
}

fn known(parts: &Parts, id: TopicId) -> Option<Known> {
    let view = parts.cell.view();
    let topic = view.topics.get(&id)?;
    let partition = |(number, state): (i32, &strandline_index::Partition)| ManifestPartition {
        partition: number,
        log_start: state.log_start,
        watermark: state.frontier,
    };
    let partitions = (0..).zip(&topic.partitions).map(partition).collect();
    Some(Known { name: topic.name.clone(), changed: topic.bronze_changed, now: view.cell.seq, partitions })
}

/// The manifests of a topic against `files`, which answer for it. One that is behind is passed over: it is about to be replaced.
pub(super) async fn verify_manifests(parts: &Parts, id: TopicId, files: &[ManifestFile]) -> Vec<VerifyResult> {
    let Some(known) = known(parts, id) else { return Vec::new() };
    let path = root_path(&known.name, id);
    // Looked at before: what was there by then is there now.
    let was_there = parts.compactor.has_root_manifest(id, known.changed);
    // A change meanwhile explains any difference; the next call looks again.
    let is_unchanged = || self::known(parts, id).is_some_and(|later| later.changed == known.changed);
    let read = match parts.objects.get(Purpose::Manifest, &path).await {
        Ok(bytes) => Ok(bytes),
        Err(error) if !error.is_not_found() => Err(error.to_string()),
        // Another node may have deleted the topic.
        Err(_) if was_there && parts.cell.barrier().await.is_ok() && is_unchanged() => Err(MISSING.to_owned()),
        // One that this run has neither read nor written yet is written soon.
        Err(_) => return Vec::new(),
    };
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(problem) => return vec![VerifyResult { path, rows: 0, problems: vec![problem] }],
    };
    let mut results = Vec::new();
    let mut say = |path: &str, problem: String| {
        results.push(VerifyResult { path: path.to_owned(), rows: 0, problems: vec![problem] });
    };
    match RootManifest::parse(&bytes) {
        Err(error) => say(&path, error.to_string()),
        Ok(root) if root.applied_seq > known.now.0 => {
            say(&path, format!("it speaks of entry {}, and the log ends with {}", root.applied_seq, known.now));
        }
        Ok(root) if root.applied_seq < known.changed.0 => {}
        Ok(root) => {
            let mut expected = RootManifest::new(&known.name, id, root.applied_seq);
            expected.partitions.clone_from(&known.partitions);
            expected.days.clone_from(&root.days);
            if root != expected {
                say(&path, "its topic or its partitions are not those of the index".to_owned());
            }
            let mut listed: BTreeMap<String, ManifestFile> = BTreeMap::new();
            for day in &root.days {
                let found = match day.day.parse::<Day>() {
                    Ok(parsed) if day.path == day_path(&known.name, id, parsed) => read_day(parts, &known.name, id, parsed).await,
                    _ => Err(format!("day {} is at {}", day.day, day.path)),
                };
                let manifest = match found {
                    Ok(manifest) if manifest.applied_seq <= known.now.0 => manifest,
                    Ok(manifest) => {
                        say(
                            &day.path,
                            format!("it speaks of entry {}, and the log ends with {}", manifest.applied_seq, known.now),
                        );
                        continue;
                    }
                    Err(problem) => {
                        say(&day.path, problem);
                        continue;
                    }
                };
                let rows = manifest.files.iter().map(|file| file.rows).fold(0_u64, u64::saturating_add);
                let bytes = manifest.files.iter().map(|file| file.size).fold(0_u64, u64::saturating_add);
                if (manifest.files.len() as u64, rows, bytes) != (day.files, day.rows, day.bytes) {
                    say(&day.path, "its files, rows or bytes are not those that the root manifest names".to_owned());
                }
                for file in manifest.files {
                    if let Some(twice) = listed.insert(file.path.clone(), file) {
                        say(&day.path, format!("{} is listed twice", twice.path));
                    }
                }
            }
            for file in files {
                match listed.remove(&file.path) {
                    Some(found) if same(&found, file) => {}
                    Some(_) => {
                        say(&path, format!("what the manifest of its day says of {} is not what the index says", file.path))
                    }
                    None => say(&path, format!("{} is in no manifest", file.path)),
                }
            }
            for path_left in listed.keys() {
                say(&path, format!("{path_left} is in a manifest and does not answer"));
            }
        }
    }
    if is_unchanged() { results } else { Vec::new() }
}

fn same(a: &ManifestFile, b: &ManifestFile) -> bool {
    let sorted = |file: &ManifestFile| {
        let mut covered = file.covered.clone();
        covered.sort_unstable();
        covered
    };
    (a.size, a.rows, a.crc32c) == (b.size, b.rows, b.crc32c) && sorted(a) == sorted(b)
}

async fn read_day(parts: &Parts, topic: &str, id: TopicId, day: Day) -> Result<DayManifest, String> {
    let bytes = parts.objects.get(Purpose::Manifest, &day_path(topic, id, day)).await.map_err(|error| error.to_string())?;
    let manifest = DayManifest::parse(&bytes).map_err(|error| error.to_string())?;
    let mut expected = DayManifest::new(topic, id, day, manifest.applied_seq);
    expected.files.clone_from(&manifest.files);
    if manifest == expected { Ok(manifest) } else { Err("its topic or its day is another".to_owned()) }
}
