//! What answers for nothing under `bronze/`, and offsets for which nothing answers.

use super::bronze::files;
use super::verify::VerifyResult;
use crate::node::{Coverage, Parts};
use futures::TryStreamExt;
use std::collections::BTreeSet;
use strandline_bronze::manifest::ManifestFile;
use strandline_bronze::topic_folder;
use strandline_index::SealedObject;
use strandline_object_store::Purpose;
use strandline_types::TopicId;

/// The objects under `bronze/`, of one topic or of all.
pub(super) async fn listed(parts: &Parts, topic: Option<TopicId>) -> anyhow::Result<BTreeSet<String>> {
    let folder = {
        let view = parts.cell.view();
        let topic = topic.and_then(|id| view.topics.get(&id));
        topic.map_or_else(|| "bronze".to_owned(), |topic| topic_folder("bronze", &topic.name, topic.id))
    };
    let mut paths = BTreeSet::new();
    let mut listed = parts.objects.list(Purpose::Read, &folder);
    while let Some(found) = listed.try_next().await? {
        paths.insert(found.path);
    }
    Ok(paths)
}

/// Offsets below a topic's sealed ends that none of its files answers for.
pub(super) fn verify_gaps(parts: &Parts, id: TopicId, files: &[ManifestFile]) -> Option<VerifyResult> {
    let view = parts.cell.view();
    let topic = view.topics.get(&id)?;
    let mut coverage = Coverage::default();
    coverage.add(topic);
    let mut covered: Vec<_> = files.iter().flat_map(|file| &file.covered).copied().collect();
    covered.sort_unstable();
    for (partition, start, end) in covered {
        coverage.cover(id, partition, start, end);
    }
    let gaps = coverage.gaps(&view);
    let problem = |gap| {
        format!(
            "no file answers for {gap}: reads of them fail. Put the file that has them back from a backup and start the node again"
        )
    };
    let path = topic_folder("bronze", &topic.name, id);
    (!gaps.is_empty()).then(|| VerifyResult { path, rows: 0, problems: gaps.iter().map(problem).collect() })
}

/// Objects that were in no list of files that answer: what is wrong with each that does not wait to be deleted or to be sealed.
pub(super) async fn verify_unknown(parts: &Parts, paths: BTreeSet<String>) -> anyhow::Result<Vec<VerifyResult>> {
    let mut unknown: BTreeSet<String> = {
        let view = parts.cell.view();
        paths.into_iter().filter(|path| !matches!(view.sealed_object(path), SealedObject::Expected)).collect()
    };
    if !unknown.is_empty() {
        // One that was sealed just then is in the lists by now.
        let topics: Vec<TopicId> = parts.cell.view().topics.keys().copied().collect();
        for id in topics {
            for file in files(parts, id).await? {
                unknown.remove(&file.path);
            }
        }
    }
    let mut results = Vec::new();
    for path in unknown {
        let bytes = match parts.objects.get(Purpose::Read, &path).await {
            Ok(bytes) => bytes,
            // Deleted meanwhile.
            Err(error) if error.is_not_found() => continue,
            Err(error) => {
                results.push(VerifyResult { path, rows: 0, problems: vec![error.to_string()] });
                continue;
            }
        };
        let name = path.clone();
        let verify = move || strandline_bronze::verify(&name, &[bytes], None);
        let report = parts.runtime.spawner.blocking("verify a file", verify).await?;
        let mut problems = report.problems;
        problems.push(
            "it is in no index, so it answers for nothing. If it is a damaged sealed file, put the whole one in its place and start the node again; if it is none of strandline's, move it out of bronze/"
                .to_owned(),
        );
        results.push(VerifyResult { path, rows: report.rows, problems });
    }
    Ok(results)
}
