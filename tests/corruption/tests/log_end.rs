//! A log that is cut off between two entries, or gone, does not pass for a shorter one: its copies tell.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;
use strandline::node::{Node, NodeOptions};
use strandline_corruption::sample;

async fn start(data: &Path) -> Result<Node, String> {
    Node::start(NodeOptions { settings: sample::settings(data), ..NodeOptions::default() })
        .await
        .map_err(|error| format!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_log_than_its_copies_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let sample = sample::make(&root.path().join("sample")).await.unwrap();
    let (name, log) = sample.stopped.files.iter().find(|(name, _)| name.ends_with(".log")).unwrap();
    let data = root.path().join("data");
    for length in [64, log.len() / 2, usize::try_from(sample.copied).unwrap() - 1] {
        let mut files = sample.stopped.clone();
        files.files.get_mut(name).unwrap().truncate(length);
        files.write(&data).unwrap();
        let refused = start(&data).await.err().unwrap();
        assert!(refused.contains("the commit log is damaged") && refused.contains("rebuild"), "cut to {length}: {refused}");
        std::fs::remove_dir_all(&data).unwrap();
    }
    sample.stopped.write(&data).unwrap();
    std::fs::remove_dir_all(data.join("commit-log")).unwrap();
    let refused = start(&data).await.err().unwrap();
    assert!(refused.contains("rebuild"), "{refused}");
    // After a rebuild the copies are of an epoch that is over, and so is that log, whatever was done since.
    strandline::rebuild::rebuild(&data).await.unwrap();
    let (log, rebuilt, before) = (data.join("commit-log"), data.join("rebuilt"), root.path().join("before"));
    std::fs::rename(&log, &rebuilt).unwrap();
    sample.stopped.write(&before).unwrap();
    std::fs::rename(before.join("commit-log"), &log).unwrap();
    let refused = start(&data).await.err().unwrap();
    assert!(refused.contains("the commit log is over") && refused.contains("rebuild"), "{refused}");
    std::fs::rename(&log, before.join("commit-log")).unwrap();
    std::fs::rename(&rebuilt, &log).unwrap();
    start(&data).await.unwrap().stop().await;
    start(&data).await.unwrap().stop().await;
    std::fs::rename(&log, &rebuilt).unwrap();
    std::fs::rename(before.join("commit-log"), &log).unwrap();
    let refused = start(&data).await.err().unwrap();
    assert!(refused.contains("the commit log is over") && refused.contains("rebuild"), "{refused}");
}

/// Nobody would know its files then, and an hour later they would be deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_gone_does_not_pass_for_a_new_cell_though_no_copy_is_left() {
    let root = tempfile::tempdir().unwrap();
    let sample = sample::make(&root.path().join("sample")).await.unwrap();
    let data = root.path().join("data");
    sample.stopped.write(&data).unwrap();
    std::fs::remove_dir_all(data.join("commit-log")).unwrap();
    for (folder, can_be_rebuilt) in [("store/log", true), ("store/index", false)] {
        std::fs::remove_dir_all(data.join(folder)).unwrap();
        let refused = start(&data).await.err().unwrap();
        assert!(refused.contains("it has no entry"), "{refused}");
        assert_eq!(refused.contains("rebuild"), can_be_rebuilt, "{refused}");
    }
    for folder in ["store/bronze", "store/fresh", "store/wal"] {
        let _ = std::fs::remove_dir_all(data.join(folder));
    }
    start(&data).await.unwrap().stop().await;
}
