//! The `strandline.*` keys of a file's footer: what a file says about itself beyond Parquet.

use crate::columns::FORMAT_VERSION;
use crate::file_check::{FILE_CRC32C, NO_DIGITS};
use crate::format::Preference;
use crc_fast::{CrcAlgorithm, Digest};
use parquet::file::metadata::KeyValue;
use serde::{Deserialize, Serialize};
use strandline_types::TopicId;

const FORMAT: &str = "strandline.format";
const TOPIC_ID: &str = "strandline.topic_id";
const COVERED: &str = "strandline.covered";
const PLAN: &str = "strandline.plan";
const DIGESTS: &str = "strandline.digests";
const SCHEMAS: &str = "strandline.schemas";
const COLUMNS: &str = "strandline.columns";
const WRITER: &str = "strandline.writer";
/// The keys under the check, in its order.
const CHECKED: [&str; 7] = [FORMAT, TOPIC_ID, COVERED, PLAN, SCHEMAS, COLUMNS, WRITER];

/// What a file holds of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionSummary {
    /// The partition.
    pub partition: i32,
    /// First offset that the file answers for.
    pub start: i64,
    /// The offset after the last one that it answers for; holes are covered too (I5).
    pub end: i64,
    /// Records.
    pub rows: u64,
    /// First row group with a row of it, if there is a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_group: Option<u32>,
    /// Last row group with a row of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_row_group: Option<u32>,
    /// Its first row, counted within the first row group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_row: Option<u32>,
    /// None if no record has a timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<TimestampSummary>,
}

/// Timestamps of a partition's records in a file; records without one are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimestampSummary {
    /// The least, in milliseconds.
    pub min_ms: i64,
    /// The greatest, in milliseconds.
    pub max_ms: i64,
    /// The first offset with the greatest.
    pub max_offset: i64,
}

impl TimestampSummary {
    /// Takes in one more record.
    pub(crate) fn include(summary: &mut Option<Self>, timestamp_ms: i64, offset: i64) {
        let summary = summary.get_or_insert(Self { min_ms: timestamp_ms, max_ms: timestamp_ms, max_offset: offset });
        summary.min_ms = summary.min_ms.min(timestamp_ms);
        if timestamp_ms > summary.max_ms {
            (summary.max_ms, summary.max_offset) = (timestamp_ms, offset);
        }
    }
}

/// A run of records under one digest: at most 1,024 of one partition, within one row group, never across a multiple of
/// 1,024 rows of it, so that it lies within one page of every column but that of the headers' keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RunNumbers", into = "RunNumbers")]
pub(crate) struct Run {
    pub row_group: u32,
    pub first_row: u32,
    pub rows: u32,
    pub partition: i32,
    pub first_offset: i64,
    pub last_offset: i64,
    /// The greatest timestamp in milliseconds, Kafka's -1 among them.
    pub max_timestamp_ms: i64,
    /// Record bytes.
    pub bytes: u64,
    pub crc32c: u32,
    /// CRC-32C over the times of ingest (milliseconds, eight bytes big-endian each), which no consumer sees and a merge carries on.
    pub ingest_crc32c: u32,
}

/// A run as it stands in the footer: numbers in the order of [`Run`]'s fields.
#[derive(Serialize, Deserialize)]
struct RunNumbers(u32, u32, u32, i32, i64, i64, i64, u64, u32, u32);

impl From<RunNumbers> for Run {
    fn from(numbers: RunNumbers) -> Self {
        let RunNumbers(
            row_group,
            first_row,
            rows,
            partition,
            first_offset,
            last_offset,
            max_timestamp_ms,
            bytes,
            crc32c,
            ingest_crc32c,
        ) = numbers;
        Self { row_group, first_row, rows, partition, first_offset, last_offset, max_timestamp_ms, bytes, crc32c, ingest_crc32c }
    }
}

impl From<Run> for RunNumbers {
    fn from(run: Run) -> Self {
        let Run {
            row_group,
            first_row,
            rows,
            partition,
            first_offset,
            last_offset,
            max_timestamp_ms,
            bytes,
            crc32c,
            ingest_crc32c,
        } = run;
        Self(row_group, first_row, rows, partition, first_offset, last_offset, max_timestamp_ms, bytes, crc32c, ingest_crc32c)
    }
}

#[derive(Serialize, Deserialize)]
struct Digests {
    algorithm: String,
    runs: Vec<Run>,
    /// CRC-32C of the other keys and of the runs: Parquet's own footer has no checksum.
    footer: u32,
}

/// `strandline.columns`: how the topic's keys and values were laid out, so that a rebuild finds the decision again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Columns {
    key: Preference,
    value: Preference,
}

/// All keys, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FooterKeys {
    pub topic_id: TopicId,
    pub partitions: Vec<PartitionSummary>,
    pub plan: String,
    pub runs: Vec<Run>,
    pub key: Preference,
    pub value: Preference,
    pub writer: String,
    /// The digits of the file's checksum of itself; none in format version 1.
    pub file_crc32c: Option<String>,
}

/// Footer keys that do not say what they must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("the key `{0}` is missing")]
    Missing(&'static str),
    #[error("the key `{0}` cannot be read")]
    Unreadable(&'static str),
    #[error("format {0}")]
    Format(u32),
    #[error("the checksum of the `strandline` keys differs")]
    Checksum,
}

/// What this crate signs with.
pub(crate) fn writer_name() -> String {
    concat!("strandline ", env!("CARGO_PKG_VERSION")).to_owned()
}

impl FooterKeys {
    /// The keys of a file that is being written, in format version [`FORMAT_VERSION`]: the last is the file's checksum, of which the
    /// digits are still to be put in.
    pub fn encode(&self) -> Result<Vec<KeyValue>, serde_json::Error> {
        let columns = Columns { key: self.key, value: self.value };
        let values = [
            FORMAT_VERSION.to_string(),
            self.topic_id.to_string(),
            serde_json::to_string(&self.partitions)?,
            self.plan.clone(),
            "[]".to_owned(),
            serde_json::to_string(&columns)?,
            self.writer.clone(),
        ];
        let footer = check(values.each_ref().map(String::as_str), &self.runs);
        let digests = Digests { algorithm: "crc32c".to_owned(), runs: self.runs.clone(), footer };
        let last = [(DIGESTS, serde_json::to_string(&digests)?), (FILE_CRC32C, NO_DIGITS.to_owned())];
        let keys = CHECKED.into_iter().zip(values).chain(last);
        Ok(keys.map(|(key, value)| KeyValue::new(key.to_owned(), value)).collect())
    }

    pub fn decode(pairs: &[KeyValue]) -> Result<Self, KeysError> {
        let get = |key| {
            let pair = pairs.iter().find(|pair| pair.key == key);
            pair.and_then(|pair| pair.value.as_deref()).ok_or(KeysError::Missing(key))
        };
        let format = get(FORMAT)?.parse().map_err(|_| KeysError::Unreadable(FORMAT))?;
        if format == 0 || format > FORMAT_VERSION {
            return Err(KeysError::Format(format));
        }
        let digests: Digests = json(DIGESTS, get(DIGESTS)?)?;
        let mut values = [""; CHECKED.len()];
        for (value, key) in values.iter_mut().zip(CHECKED) {
            *value = get(key)?;
        }
        if check(values, &digests.runs) != digests.footer || digests.algorithm != "crc32c" {
            return Err(KeysError::Checksum);
        }
        let file_crc32c = match format {
            1 => None,
            _ => Some(get(FILE_CRC32C)?.to_owned()),
        };
        let uuid = uuid::Uuid::try_parse(get(TOPIC_ID)?).map_err(|_| KeysError::Unreadable(TOPIC_ID))?;
        let Columns { key, value } = json(COLUMNS, get(COLUMNS)?)?;
        Ok(Self {
            topic_id: TopicId(uuid.into_bytes()),
            partitions: json(COVERED, get(COVERED)?)?,
            plan: get(PLAN)?.to_owned(),
            runs: digests.runs,
            key,
            value,
            writer: get(WRITER)?.to_owned(),
            file_crc32c,
        })
    }
}

fn json<'a, T: Deserialize<'a>>(key: &'static str, value: &'a str) -> Result<T, KeysError> {
    serde_json::from_str(value).map_err(|_| KeysError::Unreadable(key))
}

/// CRC-32C over the values in the order of [`CHECKED`], each after its length, then over the runs; all numbers big-endian.
fn check(values: [&str; CHECKED.len()], runs: &[Run]) -> u32 {
    let mut bytes = Vec::new();
    for value in values {
        bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    for run in runs {
        for number in [run.row_group, run.first_row, run.rows, run.partition as u32, run.crc32c, run.ingest_crc32c] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for number in [run.first_offset as u64, run.last_offset as u64, run.max_timestamp_ms as u64, run.bytes] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
    }
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&bytes);
    digest.finalize() as u32
}
