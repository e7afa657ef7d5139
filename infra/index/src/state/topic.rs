//! One topic.

use super::Partition;
use std::collections::BTreeMap;
use strandline_commands::{FileRange, NewFile};
use strandline_types::{ObjectName, Seq, TopicId};

/// How a topic's keys or values are kept in bronze, decided at its first conversion and held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Not decided yet.
    #[default]
    Undecided,
    /// In the `_text` columns where they are valid text.
    Text,
    /// Always in the byte columns.
    Binary,
}

/// A fresh segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreshSegment {
    /// The file: path, size, CRC, rows, ranges.
    pub file: NewFile,
    /// The seq of the command that brought it.
    pub since: Seq,
    /// `now` at that seq.
    pub since_ms: i64,
    /// The plan that has it as an input, by path.
    pub plan: Option<String>,
    /// How many of its ranges still answer (others lie below a log start, or are sealed).
    pub live_ranges: u64,
}

/// A sealed file that is planned, or there but not yet in the segment index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The fresh inputs; none if it is made straight from extents.
    pub inputs: Vec<ObjectName>,
    /// What it will cover.
    pub ranges: Vec<FileRange>,
    /// The UTC day of its rows, in days since 1970.
    pub ingest_day: i32,
    /// The seq of the plan: its object is PUT only once the bucket's copy of the log covers it.
    pub since: Seq,
    /// The file, once it is really there: then it answers for its ranges, before the segment index.
    pub file: Option<NewFile>,
}

impl Plan {
    /// Made straight from extents: those of its ranges, which stay until the file is there.
    pub fn is_over_extents(&self) -> bool {
        self.inputs.is_empty()
    }
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// Reported as it was asked for.
    pub replication_factor: i32,
    /// What differs from the defaults, by Kafka's names.
    pub configs: BTreeMap<String, String>,
    /// The seq of its creation.
    pub created: Seq,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// How keys are kept.
    pub key_format: Format,
    /// How values are kept.
    pub value_format: Format,
    /// Its fresh segments (also those that an open plan has as inputs).
    pub fresh: BTreeMap<ObjectName, FreshSegment>,
    /// Its open plans, by path.
    pub plans: BTreeMap<String, Plan>,
    /// The seq of the last change that a manifest shows (a segment came or went, a log start moved).
    pub bronze_changed: Seq,
}

impl Topic {
    /// The partition of that number.
    pub fn partition(&self, partition: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }

    /// The configuration value, if it is set.
    pub fn config(&self, name: &str) -> Option<&str> {
        self.configs.get(name).map(String::as_str)
    }

    /// `message.timestamp.type=LogAppendTime`.
    pub fn log_append_time(&self) -> bool {
        self.config("message.timestamp.type") == Some("LogAppendTime")
    }

    /// The sealed file of an open plan that answers for this offset.
    pub fn sealed_plan_at(&self, partition: i32, offset: i64) -> Option<(&NewFile, &FileRange)> {
        let holds = |range: &&FileRange| range.partition == partition && range.start <= offset && offset < range.end;
        self.plans.values().find_map(|plan| {
            // A plan's ranges ascend by partition, and its file has the same ones: in the same order, as nodes write them.
            let at = plan.ranges.binary_search_by_key(&partition, |range| range.partition).ok()?;
            let file = plan.file.as_ref().filter(|_| holds(&&plan.ranges[at]))?;
            let range = file.ranges.get(at).filter(holds).or_else(|| file.ranges.iter().find(holds))?;
            Some((file, range))
        })
    }
}

/// A deleted topic whose sealed objects have to go, and be looked for once more after an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedTopic {
    /// Its name: part of its paths.
    pub name: String,
    /// The seq of its deletion.
    pub since: Seq,
    /// `now` at that seq.
    pub since_ms: i64,
}
