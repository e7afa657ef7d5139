//! The handlers' common ground.

use crate::metadata::NAMES_A_VIEW;
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_cell::{Cell, Submission};
use strandline_commands::Command;
use strandline_errors::KafkaError;
use strandline_index::{Index, Outcome, Refusal, Topic};
use strandline_segment_index::SegmentIndex;
use strandline_topic_config::BrokerSettings;
use strandline_types::{TopicId, limits};
use strandline_wire::ErrorCode;

/// How full the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUse {
    /// Bytes in all.
    pub total_bytes: i64,
    /// Bytes that can still be used.
    pub usable_bytes: i64,
}

/// Settings of the handlers.
#[derive(Clone)]
pub struct ClusterOptions {
    /// What DescribeConfigs reports of this node; `auto_create_topics`, `partitions` and `replication_factor` also act.
    pub broker: BrokerSettings,
    /// Tells how full the disk is, where there is one.
    pub disk: Option<Arc<dyn Fn() -> Option<DiskUse> + Send + Sync>>,
}

/// Answers what clients ask about the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) cell: Cell,
    pub(crate) options: Arc<ClusterOptions>,
    pub(crate) segment_index: Arc<dyn SegmentIndex>,
    /// Configurations are changed one at a time.
    pub(crate) configuring: Arc<tokio::sync::Mutex<()>>,
}

/// An error with what the client is told about it.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl Refused {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn of(error: &(impl KafkaError + std::fmt::Display)) -> Self {
        Self::new(error.code(), error.to_string())
    }

    pub(crate) fn config(error: &strandline_topic_config::ConfigError) -> Self {
        Self::new(ErrorCode::InvalidConfig, error.to_string())
    }

    pub(crate) fn unknown_topic() -> Self {
        Self::new(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition.")
    }
}

/// Takes out what a request names more than once, and gives each of those names once. Which of them is meant is not known, so that
/// none is done.
pub(crate) fn take_doubled<T, K: Ord + Clone>(items: &mut Vec<T>, key: impl Fn(&T) -> K) -> BTreeSet<K> {
    let mut seen = BTreeSet::new();
    let doubled: BTreeSet<K> = items.iter().map(&key).filter(|named| !seen.insert(named.clone())).collect();
    if !doubled.is_empty() {
        items.retain(|item| !doubled.contains(&key(item)));
    }
    doubled
}

impl Cluster {
    /// Handlers over this cell.
    pub fn new(options: ClusterOptions, cell: Cell, segment_index: Arc<dyn SegmentIndex>) -> Self {
        Self { cell, options: Arc::new(options), segment_index, configuring: Arc::default() }
    }

    /// Waits for a barrier if something that the request names is not in the view: 'unknown' must not come from an old one.
    pub(crate) async fn fresh_unless<T>(&self, asked: &[T], known: impl Fn(&Index, &T) -> bool) -> Result<(), Refused> {
        let all_known = asked.chunks(NAMES_A_VIEW).all(|some| {
            let view = self.cell.view();
            some.iter().all(|asked| known(&view, asked))
        });
        if all_known { Ok(()) } else { self.fresh().await }
    }

    /// Whatever was there before is in the view.
    pub(crate) async fn fresh(&self) -> Result<(), Refused> {
        self.cell.barrier().await.map_err(|error| Refused::of(&error))
    }

    /// The same for a topic by its name, if it is not there already.
    pub(crate) async fn fresh_for_name(&self, name: &str) -> Result<(), Refused> {
        self.fresh_unless(&[name], |index, name| index.names.contains_key(*name)).await
    }

    /// The topic of that name, shared with the index.
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.cell.view().topic_by_name(name).cloned()
    }

    /// Whether the cell has room for so many partitions more. So says the fold; this is for who only asks what it would say.
    pub(crate) fn room_for_partitions(&self, more: u64) -> Result<(), Refused> {
        let count = self.cell.view().partition_count.saturating_add(more);
        if count > limits::PARTITIONS as u64 { Err(Refused::of(&Refusal::Limit { what: "partitions" })) } else { Ok(()) }
    }

    /// The same for bytes that names and configurations of all topics would come to.
    pub(crate) fn room_for_topics(&self, bytes: u64) -> Result<(), Refused> {
        let has_room = self.cell.view().has_room_for_topics(bytes);
        if has_room { Ok(()) } else { Err(Refused::of(&Refusal::Limit { what: "bytes of topics" })) }
    }

    /// Commits commands; one result each.
    pub(crate) async fn commit(&self, commands: Vec<Command>) -> Vec<Result<Outcome, Refused>> {
        let count = commands.len();
        if count == 0 {
            return Vec::new();
        }
        match self.cell.submit(Submission { commands, ..Submission::default() }).await {
            Ok(submitted) => submitted
                .outcomes
                .into_iter()
                .map(|outcome| match outcome {
                    Outcome::Refused(refusal) => Err(Refused::of(&refusal)),
                    other => Ok(other),
                })
                .collect(),
            Err(error) => vec![Err(Refused::of(&error)); count],
        }
    }

    /// A new topic id, as Kafka makes them: a random UUID that does not begin with a dash in base64 (tools would take it
    /// for an option).
    pub(crate) fn new_topic_id(&self) -> TopicId {
        loop {
            let mut id = self.cell.runtime().random.id();
            id[6] = (id[6] & 0x0f) | 0x40;
            id[8] = (id[8] & 0x3f) | 0x80;
            if id[0] >> 2 != 62 {
                return TopicId(id);
            }
        }
    }
}
