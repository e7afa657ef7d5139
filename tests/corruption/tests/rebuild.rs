//! A rebuild that meets damage under no digest of records: in the name of the library that wrote the file, which Parquet's footer has.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;
use strandline::node::{Node, NodeOptions};
use strandline::rebuild::{Report, rebuild};
use strandline_corruption::folder::{Change, Damage, Files};
use strandline_corruption::sample;

/// The first file below this folder, with one byte changed.
fn damaged(files: &Files, below: &str) -> (Files, String) {
    let (file, bytes) = files.files.iter().find(|(file, _)| file.starts_with(below)).unwrap();
    let at = bytes.windows(10).rposition(|window| window == b"parquet-rs").unwrap();
    let damage = Damage { file: file.clone(), what: Change::Flip { at, mask: 1 } };
    (files.damaged(&damage), file.strip_prefix("store/").unwrap().to_owned())
}

/// The folder without its log, rebuilt.
async fn rebuilt(files: &Files, data: &Path) -> Report {
    files.write(data).unwrap();
    std::fs::remove_dir_all(data.join("commit-log")).unwrap();
    rebuild(data).await.unwrap()
}

async fn problems(data: &Path) -> Vec<String> {
    let node = Node::start(NodeOptions { settings: sample::settings(data) }).await.unwrap();
    let results = strandline::http::verify_bronze(node.parts(), None).await.unwrap();
    let found = results.into_iter().filter(|result| !result.problems.is_empty()).map(|result| result.path).collect();
    node.stop().await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_not_adopted_as_if_it_were_sound() {
    let root = tempfile::tempdir().unwrap();
    let sample = sample::make(&root.path().join("sample")).await.unwrap();

    // A sealed file that the copies of the log know: no other has its offsets.
    let (files, path) = damaged(&sample.stopped, "store/bronze/");
    let data = root.path().join("known");
    let report = rebuilt(&files, &data).await;
    assert_eq!((report.damaged, report.set_aside, report.unproven), (1, 0, 0), "{:#?}", report.lines);
    assert!(report.lines.iter().any(|line| line.starts_with(&format!("damaged: {path}"))), "{:#?}", report.lines);
    assert_eq!(problems(&data).await, [path]);

    // Without the copies nothing knows of the fresh files: one is damaged, the other begins where it ends.
    let mut files = sample.stopped.clone();
    files.files.retain(|file, _| !file.starts_with("store/log/"));
    let (files, path) = damaged(&files, "store/fresh/");
    let data = root.path().join("unknown");
    let report = rebuilt(&files, &data).await;
    let said = |text: &str| report.lines.iter().any(|line| line.starts_with(text));
    assert_eq!((report.damaged, report.set_aside, report.adopted), (0, 1, 1), "{:#?}", report.lines);
    assert_eq!(report.records_lost, 15, "{:#?}", report.lines);
    assert!(said(&format!("moved {path} to lost/")) && said("lost: fresh partition 1"), "{:#?}", report.lines);
    assert_eq!(problems(&data).await, Vec::<String>::new());
}
