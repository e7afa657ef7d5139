//! `bronze verify` also looks at what a start or a rebuild will need one day, although nobody reads it now.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::os::unix::fs::FileExt;
use std::path::Path;
use strandline::node::{Node, NodeOptions, Upkeep};
use strandline_client::{Client, ClientOptions, NewTopic, ProducerOptions, ProducerRecord};
use strandline_corruption::folder::{Change, Damage, Files};
use strandline_corruption::sample;
use strandline_runtime::Runtime;

/// What is complained of, by path, in the folder that `files` make.
async fn complaints(files: &Files, data: &Path) -> Vec<String> {
    complaints_without(files, data, "").await
}

/// The same, where a file is gone once the node has started.
async fn complaints_without(files: &Files, data: &Path, gone: &str) -> Vec<String> {
    files.write(data).unwrap();
    let node = Node::start(NodeOptions { settings: sample::settings(data), ..NodeOptions::default() }).await.unwrap();
    if !gone.is_empty() {
        std::fs::remove_file(data.join(gone)).unwrap();
    }
    let results = strandline::http::verify_bronze(node.parts(), None).await.unwrap();
    node.stop().await;
    std::fs::remove_dir_all(data).unwrap();
    let bad = results.into_iter().filter(|result| !result.problems.is_empty());
    bad.map(|result| format!("{}: {}", result.path, result.problems.join("; "))).collect()
}

fn below(files: &Files, folder: &str) -> Vec<String> {
    files.files.keys().filter(|name| name.starts_with(folder)).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_the_log_snapshots_and_wal_segments_are_looked_at() {
    let root = tempfile::tempdir().unwrap();
    let sample = sample::make(&root.path().join("sample")).await.unwrap();
    let (whole, data) = (&sample.stopped, root.path().join("data"));
    assert_eq!(complaints(whole, &data).await, Vec::<String>::new());
    for folder in ["store/log/", "store/wal/"] {
        let file = below(whole, folder).pop().unwrap();
        let damage = Damage { file: file.clone(), what: Change::Flip { at: 20, mask: 1 } };
        let found = complaints(&whole.damaged(&damage), &data).await;
        let path = file.strip_prefix("store/").unwrap();
        assert!(matches!(found.as_slice(), [one] if one.starts_with(path)), "{file}: {found:?}");
    }
    for folder in ["store/index/", "store/wal/"] {
        let file = below(whole, folder).pop().unwrap();
        // Taken away under the running node: without the snapshot there would be no start.
        let found = complaints_without(whole, &data, &file).await;
        assert!(matches!(found.as_slice(), [one] if one.contains("it is not there")), "{file}: {found:?}");
    }
    // One that is missing between others leaves a hole in what a rebuild knows.
    let mut files = whole.clone();
    let copies = below(whole, "store/log/");
    assert!(copies.len() > 2);
    files.files.remove(&copies[copies.len() - 2]);
    let found = complaints(&files, &data).await;
    assert!(matches!(found.as_slice(), [one] if one.contains("not all of these copies are there")), "{found:?}");
}

/// One that is to be written by a start is not missed yet; one that was there is, by the node that has written or read it.
#[tokio::test(flavor = "multi_thread")]
async fn a_root_manifest_that_is_gone_is_missed() {
    let root = tempfile::tempdir().unwrap();
    let sample = sample::make(&root.path().join("sample")).await.unwrap();
    let (mut files, data) = (sample.stopped.clone(), root.path().join("data"));
    // `store/manifest/<topic>/<id8>.json`
    let file = below(&files, "store/manifest/").into_iter().find(|name| name.matches('/').count() == 3).unwrap();
    files.files.remove(&file);
    files.write(&data).unwrap();
    let options = NodeOptions { settings: sample::settings(&data), upkeep: Upkeep::Asked };
    let node = Node::start(options).await.unwrap();
    let path = file.strip_prefix("store/").unwrap();
    let complaints = async || {
        let results = strandline::http::verify_bronze(node.parts(), None).await.unwrap();
        results.into_iter().filter(|result| result.path == path).flat_map(|result| result.problems).collect::<Vec<_>>()
    };
    assert_eq!(complaints().await, Vec::<String>::new(), "it is not known whether there was one");
    let ids: Vec<_> = node.parts().cell.view().topics.keys().copied().collect();
    for id in ids {
        node.parts().compactor.write_manifest_once(id).await.unwrap();
    }
    assert!(data.join(&file).exists());
    assert_eq!(complaints().await, Vec::<String>::new());
    std::fs::remove_file(data.join(&file)).unwrap();
    let found = complaints().await;
    assert!(matches!(found.as_slice(), [one] if one.contains("it is not there")), "{found:?}");
    node.stop().await;
}

/// Also batches that are in Parquet by now, and that a start would pass over: whoever rebuilds a disk wants to know.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_converted_are_looked_at_in_the_log() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(NodeOptions { settings: sample::settings(root.path()), ..NodeOptions::default() }).await.unwrap();
    let client = Client::tcp(Runtime::system(), ClientOptions::new(&node.kafka_address().to_string())).unwrap();
    client.admin().create_topic(NewTopic::new("converted", 1)).await.unwrap();
    let value = b"what is written stays ".repeat(10_000);
    let producer = client.producer(ProducerOptions::default());
    let record = ProducerRecord { topic: "converted", value: Some(&value), ..ProducerRecord::default() };
    producer.send(record).await.unwrap().wait().await.unwrap();
    producer.close().await.unwrap();
    let id = node.parts().cell.view().names["converted"];
    while node.parts().compactor.convert_once(id).await.unwrap() {}
    assert!(node.parts().cell.view().topics[&id].partitions[0].extents.is_empty());
    let complaints = async || {
        let results = strandline::http::verify_bronze(node.parts(), None).await.unwrap();
        results.into_iter().filter(|result| !result.problems.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(complaints().await, Vec::new());

    let names = std::fs::read_dir(root.path().join("commit-log")).unwrap().map(|entry| entry.unwrap().path());
    let log = names.filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap();
    let bytes = std::fs::read(&log).unwrap();
    let at = bytes.windows(22).rposition(|window| window == b"what is written stays ").unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&log).unwrap();
    file.write_all_at(b"W", at as u64).unwrap();
    let found = complaints().await;
    let [of_log] = found.as_slice() else { panic!("{found:?}") };
    assert!(of_log.path == "commit-log" && of_log.problems[0].starts_with("entry "), "{of_log:?}");
    node.stop().await;
}
