//! A rebuild that meets damage: of records, of bytes under no digest of records, of footers.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;
use strandline::node::{Node, NodeOptions};
use strandline::rebuild::{Report, rebuild};
use strandline_bronze::{FILE_CHECKSUM_DIFFERS, verify};
use strandline_cache::Cache;
use strandline_compactor::{Compactor, CompactorOptions};
use strandline_corruption::folder::{self, Change, Damage, Files};
use strandline_corruption::observe::{Seen, observe};
use strandline_corruption::sample;
use strandline_extents::ExtentReader;
use strandline_object_store::Purpose;

/// The first file below this folder, with one byte changed under no digest: in the name of the library that wrote it, which Parquet's
/// footer has.
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
    let node = Node::start(NodeOptions { settings: sample::settings(data), ..NodeOptions::default() }).await.unwrap();
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

    assert!(report.lines.iter().any(|line| line.contains("its records agree with their digests")), "{:#?}", report.lines);

    // Without the copies nothing knows of the fresh files: the records of both are sound, so both are adopted.
    let (files, path) = damaged(&forgotten(&sample.stopped), "store/fresh/");
    let data = root.path().join("unknown");
    let report = rebuilt(&files, &data).await;
    let seen = (report.damaged, report.set_aside, report.adopted, report.records_lost);
    assert_eq!(seen, (1, 0, 2, 0), "{:#?}", report.lines);
    assert!(report.lines.iter().any(|line| line.starts_with(&format!("damaged: {path}"))), "{:#?}", report.lines);
    assert_eq!(problems(&data).await, [path]);
}

/// The same without the copies of the log, so that nothing knows of the fresh files.
fn forgotten(files: &Files) -> Files {
    let mut files = files.clone();
    files.files.retain(|file, _| !file.starts_with("store/log/"));
    files
}

/// The first fresh file, with a byte of its records changed.
fn without_records(files: &Files) -> (Files, String) {
    let (file, bytes) = files.files.iter().find(|(file, _)| file.starts_with("store/fresh/")).unwrap();
    let is_of_records = |at: &usize| {
        let mut bytes = bytes.clone();
        bytes[*at] ^= 0xff;
        verify(file, &[bytes.into()], None).problems.iter().any(|problem| problem != FILE_CHECKSUM_DIFFERS)
    };
    let at = (4..bytes.len() / 2).find(is_of_records).unwrap();
    let damage = Damage { file: file.clone(), what: Change::Flip { at, mask: 0xff } };
    (files.damaged(&damage), file.strip_prefix("store/").unwrap().to_owned())
}

fn lost_lines(report: &Report) -> Vec<&String> {
    report.lines.iter().filter(|line| line.starts_with("lost: fresh partition")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_interrupted_at_a_hole_can_be_repeated() {
    let root = tempfile::tempdir().unwrap();
    let sample = sample::make(&root.path().join("sample")).await.unwrap();
    // One is damaged, the other begins where it ends.
    let (files, path) = without_records(&forgotten(&sample.stopped));
    let data = root.path().join("whole");
    let whole = rebuilt(&files, &data).await;
    let counts = |report: &Report| (report.damaged, report.set_aside, report.adopted, report.records_lost);
    assert_eq!(counts(&whole), (0, 1, 1, 15), "{:#?}", whole.lines);
    assert!(whole.lines.iter().any(|line| line.starts_with(&format!("moved {path} to lost/"))), "{:#?}", whole.lines);
    assert_eq!(lost_lines(&whole).len(), 2, "{:#?}", whole.lines);
    assert_eq!(problems(&data).await, Vec::<String>::new());

    let after = folder::read_folder(&data).unwrap();
    let (copy, bytes) = after.files.iter().find(|(file, _)| file.starts_with("store/lost/")).unwrap();
    let mut interrupted = files.clone();
    interrupted.files.insert(copy.clone(), bytes.clone());
    let copied = rebuilt(&interrupted, &root.path().join("copied")).await;
    assert_eq!(counts(&copied), (0, 1, 1, 15), "{:#?}", copied.lines);
    assert_eq!(lost_lines(&copied), lost_lines(&whole));

    let file = format!("store/{path}");
    interrupted.files.insert(file.clone(), after.files[&file].clone());
    let data = root.path().join("replaced");
    let replaced = rebuilt(&interrupted, &data).await;
    assert_eq!(counts(&replaced), (0, 0, 2, 15), "{:#?}", replaced.lines);
    assert_eq!(lost_lines(&replaced), lost_lines(&whole));
    assert_eq!(problems(&data).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_no_hole_where_a_sound_one_has_its_rows() {
    let root = tempfile::tempdir().unwrap();
    let sample = sample::make(&root.path().join("sample")).await.unwrap();
    let data = root.path().join("merged");
    sample.stopped.write(&data).unwrap();
    let node = Node::start(NodeOptions { settings: sample::settings(&data), ..NodeOptions::default() }).await.unwrap();
    let parts = node.parts();
    let options = CompactorOptions { conversion_paused: true, merge_segments: 2, ..CompactorOptions::default() };
    let extents = ExtentReader::through(&parts.cell, parts.objects.clone(), Cache::foyer(1 << 20), Purpose::Read);
    let compactor = Compactor::new(options, parts.cell.clone(), parts.objects.clone(), parts.segment_index.clone(), extents);
    let id = parts.cell.view().names["fresh"];
    assert!(compactor.merge_once(id).await.unwrap(), "two files of one day");
    node.stop().await;
    // The merged file beside those that it was made of, of which the first is damaged.
    let mut files = forgotten(&sample.stopped);
    let of_topic = |file: &str| file.starts_with("store/fresh/fresh/");
    let merged = folder::read_folder(&data).unwrap().files.into_iter().filter(|(file, _)| of_topic(file));
    let before = files.files.len();
    files.files.extend(merged);
    assert!(files.files.len() > before);
    let (files, path) = without_records(&files);
    let data = root.path().join("rebuilt");
    let report = rebuilt(&files, &data).await;
    assert_eq!((report.records_lost, report.set_aside), (0, 2), "{:#?}", report.lines);
    assert!(report.lines.iter().any(|line| line.starts_with(&format!("moved {path} to lost/"))), "{:#?}", report.lines);
    assert_eq!(problems(&data).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_newer_version_ends_a_rebuild_and_nothing_is_moved() {
    let root = tempfile::tempdir().unwrap();
    let sample = sample::make(&root.path().join("sample")).await.unwrap();
    // Another file is damaged, and would be moved.
    let (mut files, _) = without_records(&forgotten(&sample.stopped));
    let newer = files.files.keys().rfind(|file| file.starts_with("store/fresh/fresh/")).unwrap().clone();
    let bytes = files.files.get_mut(&newer).unwrap();
    let key = b"strandline.format";
    let at = bytes.windows(key.len()).rposition(|window| window == key).unwrap() + key.len() + 2;
    assert_eq!(bytes[at], b'2');
    bytes[at] = b'9';
    let data = root.path().join("newer");
    files.write(&data).unwrap();
    std::fs::remove_dir_all(data.join("commit-log")).unwrap();
    let error = format!("{:#}", rebuild(&data).await.unwrap_err());
    assert!(error.contains("run a newer version") && error.contains("nothing was changed"), "{error}");
    let store = |files: Files| files.files.into_iter().filter(|(file, _)| file.starts_with("store/")).collect::<Vec<_>>();
    assert!(store(folder::read_folder(&data).unwrap()) == store(files), "something was moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_sealed_file_whose_footer_cannot_be_read_stays() {
    let root = tempfile::tempdir().unwrap();
    let sample = sample::make(&root.path().join("sample")).await.unwrap();
    let (file, bytes) = sample.stopped.files.iter().find(|(file, _)| file.starts_with("store/bronze/")).unwrap();
    let damage = Damage { file: file.clone(), what: Change::Flip { at: bytes.len() - 1, mask: 1 } };
    let data = root.path().join("known");
    let report = rebuilt(&sample.stopped.damaged(&damage), &data).await;
    assert_eq!((report.damaged, report.set_aside), (1, 0), "{:#?}", report.lines);
    assert!(report.records_lost > 0, "{:#?}", report.lines);
    assert!(data.join(file).exists());
    // As the report says: the node starts without it, and with it once it is whole.
    let path = file.strip_prefix("store/").unwrap();
    let found = problems(&data).await;
    assert!(found.iter().any(|found| found == path), "{found:?}");
    std::fs::write(data.join(file), bytes).unwrap();
    assert_eq!(problems(&data).await, Vec::<String>::new());
    let node = Node::start(NodeOptions { settings: sample::settings(&data), ..NodeOptions::default() }).await.unwrap();
    let seen = observe(node.parts()).await;
    let records = |seen: &Seen| seen.topics["sealed"].partitions.iter().map(|part| part.records.clone()).collect::<Vec<_>>();
    assert_eq!(records(&seen), records(&sample.truth));
    node.stop().await;
}
