//! The manifest: which files hold a topic's rows, exactly, for readers that know nothing of the index.
//!
//! One object for each UTC day of ingest and a root for the topic. Both carry the seq that was folded when they were made
//! and never give way to a lower one. Paths are relative to the root of the bucket.

use serde::{Deserialize, Serialize};
use strandline_types::TopicId;
use strandline_types::calendar::Day;
use strandline_types::file_names::topic_folder;

/// The format that this crate writes. A reader refuses a higher one.
pub const FORMAT_VERSION: u32 = 1;

/// The exact file list of one UTC day of ingest; a row never changes day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayManifest {
    /// [`FORMAT_VERSION`].
    pub format: u32,
    /// The topic's name.
    pub topic: String,
    /// The topic's id, as a UUID.
    pub topic_id: String,
    /// The day, `YYYY-MM-DD`.
    pub day: String,
    /// What the writer had folded.
    pub applied_seq: u64,
    /// The files; every row of the day is in exactly one.
    pub files: Vec<ManifestFile>,
}

/// One Parquet file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Relative to the root of the bucket.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its rows.
    pub rows: u64,
    /// CRC-32C of all of it.
    pub crc32c: u32,
    /// What it covers: `[partition, start, end)` each, holes included.
    pub covered: Vec<(i32, i64, i64)>,
}

/// The topic as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootManifest {
    /// [`FORMAT_VERSION`].
    pub format: u32,
    /// The topic's name.
    pub topic: String,
    /// The topic's id, as a UUID.
    pub topic_id: String,
    /// What the writer had folded.
    pub applied_seq: u64,
    /// The days that have a manifest, ascending.
    pub days: Vec<ManifestDay>,
    /// Every partition of the topic, ascending.
    pub partitions: Vec<ManifestPartition>,
}

/// One day of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestDay {
    /// `YYYY-MM-DD`.
    pub day: String,
    /// The day's manifest, relative to the root of the bucket.
    pub path: String,
    /// Its files.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestPartition {
    /// The partition.
    pub partition: i32,
    /// Offsets below it are deleted, though a file may still hold them: SQL filters by it.
    pub log_start: i64,
    /// Offsets below it are in the listed files.
    pub watermark: i64,
}

/// A manifest that cannot be read or written. Never worth a retry.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not a manifest.
    #[error("the manifest cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// Written by a newer version.
    #[error("the manifest has format {0}, this version reads up to {FORMAT_VERSION}: run a newer version")]
    Format(u32),
}

/// `manifest/<topic>/<id8>/<YYYY-MM-DD>.json`.
pub fn day_path(topic: &str, topic_id: TopicId, day: Day) -> String {
    format!("{}/{day}.json", topic_folder("manifest", topic, topic_id))
}

/// `manifest/<topic>/<id8>.json`.
pub fn root_path(topic: &str, topic_id: TopicId) -> String {
    format!("{}.json", topic_folder("manifest", topic, topic_id))
}

/// True if a manifest made at `seq` may be written over what is there; equal seqs say the same thing already.
pub fn supersedes(seq: u64, existing_seq: Option<u64>) -> bool {
    existing_seq.is_none_or(|existing| seq > existing)
}

/// The part that both manifests begin with.
#[derive(Deserialize)]
struct Preamble {
    format: u32,
    applied_seq: u64,
}

/// The seq of a manifest, of a day or the root: what [`supersedes`] compares.
///
/// # Errors
/// It is not a manifest, or of a newer format.
pub fn applied_seq(json: &[u8]) -> Result<u64, ManifestError> {
    let preamble: Preamble = serde_json::from_slice(json)?;
    check_format(preamble.format)?;
    Ok(preamble.applied_seq)
}

fn check_format(format: u32) -> Result<(), ManifestError> {
    if (1..=FORMAT_VERSION).contains(&format) { Ok(()) } else { Err(ManifestError::Format(format)) }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, ManifestError> {
    applied_seq(json)?;
    Ok(serde_json::from_slice(json)?)
}

impl DayManifest {
    /// A manifest of no files yet.
    pub fn new(topic: &str, topic_id: TopicId, day: Day, applied_seq: u64) -> Self {
        Self {
            format: FORMAT_VERSION,
            topic: topic.to_owned(),
            topic_id: topic_id.to_string(),
            day: day.to_string(),
            applied_seq,
            files: Vec::new(),
        }
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never in practice: nothing in it can fail to encode.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// From JSON.
    ///
    /// # Errors
    /// It is not a manifest, or of a newer format.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        parse(json)
    }
}

impl RootManifest {
    /// A manifest of nothing yet.
    pub fn new(topic: &str, topic_id: TopicId, applied_seq: u64) -> Self {
        let (topic, topic_id) = (topic.to_owned(), topic_id.to_string());
        Self { format: FORMAT_VERSION, topic, topic_id, applied_seq, days: Vec::new(), partitions: Vec::new() }
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never in practice: nothing in it can fail to encode.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// From JSON.
    ///
    /// # Errors
    /// It is not a manifest, or of a newer format.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        parse(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: TopicId = TopicId([0x1a; 16]);

    #[test]
    fn the_day_manifest_is_as_readers_know_it() {
        let mut day = DayManifest::new("veh.events.raw", TOPIC, Day(20_780), 7);
        day.files.push(ManifestFile {
            path: "fresh/a.parquet".to_owned(),
            size: 10,
            rows: 2,
            crc32c: 3,
            covered: vec![(0, 5, 9)],
        });
        let json = day.encode().unwrap();
        let expected = r#"{"format":1,"topic":"veh.events.raw","topic_id":"1a1a1a1a-1a1a-1a1a-1a1a-1a1a1a1a1a1a","day":"2026-11-23","applied_seq":7,"files":[{"path":"fresh/a.parquet","size":10,"rows":2,"crc32c":3,"covered":[[0,5,9]]}]}"#;
        assert_eq!(String::from_utf8(json.clone()).unwrap(), expected);
        assert_eq!(DayManifest::parse(&json).unwrap(), day);
        assert_eq!(applied_seq(&json).unwrap(), 7);
        assert_eq!(day_path("veh.events.raw", TOPIC, Day(20_780)), "manifest/veh.events.raw/1a1a1a1a/2026-11-23.json");
    }

    #[test]
    fn the_root_manifest_is_as_readers_know_it() {
        let mut root = RootManifest::new("t", TOPIC, 9);
        root.days.push(ManifestDay {
            day: "2026-11-23".to_owned(),
            path: day_path("t", TOPIC, Day(20_780)),
            files: 1,
            rows: 2,
            bytes: 3,
        });
        root.partitions.push(ManifestPartition { partition: 0, log_start: 4, watermark: 9 });
        let json = root.encode().unwrap();
        let expected = r#"{"format":1,"topic":"t","topic_id":"1a1a1a1a-1a1a-1a1a-1a1a-1a1a1a1a1a1a","applied_seq":9,"days":[{"day":"2026-11-23","path":"manifest/t/1a1a1a1a/2026-11-23.json","files":1,"rows":2,"bytes":3}],"partitions":[{"partition":0,"log_start":4,"watermark":9}]}"#;
        assert_eq!(String::from_utf8(json.clone()).unwrap(), expected);
        assert_eq!(RootManifest::parse(&json).unwrap(), root);
        assert_eq!(root_path("t", TOPIC), "manifest/t/1a1a1a1a.json");
    }

    #[test]
    fn a_lower_seq_never_replaces_and_a_newer_format_is_refused() {
        assert!(supersedes(1, None));
        assert!(supersedes(2, Some(1)));
        assert!(!supersedes(1, Some(1)));
        assert!(!supersedes(1, Some(2)));
        let newer = br#"{"format":2,"applied_seq":1}"#;
        assert!(matches!(applied_seq(newer), Err(ManifestError::Format(2))));
        assert!(matches!(DayManifest::parse(newer), Err(ManifestError::Format(2))));
        assert!(matches!(RootManifest::parse(b"{"), Err(ManifestError::Unreadable(_))));
    }
}
