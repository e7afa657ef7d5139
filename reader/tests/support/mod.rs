//! A node in memory whose states can be made to order, and a model of what its consumers must see.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)] // each test file uses its part

pub mod check;
pub mod work;

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_cache::Cache;
use strandline_cell::{Cell, CellOptions, JoinAs, Submission};
use strandline_commands::{Batch, Command, ConfigEntry, CreateTopic, NewObject, Produce, Role};
use strandline_commit_log::{CommitLog, MemoryCommitLog};
use strandline_index::{BatchOutcome, Index, Outcome};
use strandline_object_store::{Objects, Purpose};
use strandline_reader::{Reader, ReaderOptions};
use strandline_runtime::Runtime;
use strandline_segment_index::MemorySegmentIndex;
use strandline_types::{HeaderRef, TimestampType, TopicId, TopicPartition};
use strandline_wal::WalSegmentBuilder;
use strandline_wire::records::{BatchBuilder, BatchHeader, BatchOptions, Compression};

/// 2026-09-21, 14:13 UTC: far from midnight.
pub const START_MS: i64 = 1_790_000_000_000;

/// One record, as it was sent or as it came back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    pub timestamp_ms: i64,
    pub append_time: bool,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    pub fn new(timestamp_ms: i64, value: &[u8]) -> Self {
        Self { timestamp_ms, value: Some(value.to_vec()), ..Self::default() }
    }
}

/// What consumers of one partition must see.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub records: BTreeMap<i64, Record>,
    pub log_start: i64,
    pub end: i64,
}

/// Where produced bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    Inline,
    Wal,
}

/// What all nodes of a test share.
#[derive(Clone)]
pub struct World {
    pub runtime: Runtime,
    pub log: MemoryCommitLog,
    pub objects: Objects,
    pub segment_index: Arc<MemorySegmentIndex>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let runtime = Runtime::simulated(seed, START_MS);
        let log = MemoryCommitLog::new(runtime.clone());
        let objects = Objects::in_memory(&runtime);
        Self { runtime, log, objects, segment_index: Arc::new(MemorySegmentIndex::new()) }
    }

    /// A node that polls the log only every `poll`.
    pub async fn node(&self, port: u16, sole: bool, poll: Duration) -> Cell {
        let log: Arc<dyn CommitLog> = Arc::new(self.log.for_node());
        let join =
            JoinAs { host: "127.0.0.1".to_owned(), port, zone: String::new(), roles: vec![Role::Ingest, Role::Reader], sole };
        let options = CellOptions { join, accept_clock: false, poll };
        Cell::start(self.runtime.clone(), log, Index::default(), options).await.unwrap()
    }

    pub fn reader(&self, cell: &Cell, options: ReaderOptions) -> Reader {
        Reader::new(options, cell.clone(), self.objects.clone(), self.segment_index.clone(), Cache::simple(16 << 20))
    }
}

/// One node with a reader, and the model of its partitions.
pub struct Node {
    pub world: World,
    pub cell: Cell,
    pub reader: Reader,
    pub models: BTreeMap<TopicPartition, Model>,
    pub topics: BTreeMap<TopicId, (String, bool)>,
}

impl Node {
    pub async fn start(seed: u64) -> Self {
        Self::start_with(seed, ReaderOptions::default()).await
    }

    pub async fn start_with(seed: u64, options: ReaderOptions) -> Self {
        let world = World::new(seed);
        let cell = world.node(9092, true, Duration::from_secs(1)).await;
        let reader = world.reader(&cell, options);
        Self { world, cell, reader, models: BTreeMap::new(), topics: BTreeMap::new() }
    }

    pub async fn commit(&self, submission: Submission) -> Outcome {
        let submitted = self.cell.submit(submission).await.unwrap();
        submitted.outcomes.into_iter().next().unwrap()
    }

    pub async fn done(&self, command: impl Into<Command>) {
        let outcome = self.commit(Submission::one(command)).await;
        assert!(matches!(outcome, Outcome::Done | Outcome::LogStart(_) | Outcome::Planned { .. }), "{outcome:?}");
    }

    pub async fn topic(&mut self, number: u8, name: &str, partitions: i32, log_append_time: bool) -> TopicId {
        let id = TopicId([number; 16]);
        let config = ConfigEntry { name: "message.timestamp.type".to_owned(), value: "LogAppendTime".to_owned() };
        self.done(CreateTopic {
            topic_id: id.0.to_vec(),
            name: name.to_owned(),
            partitions,
            replication_factor: 1,
            configs: if log_append_time { vec![config] } else { Vec::new() },
        })
        .await;
        self.topics.insert(id, (name.to_owned(), log_append_time));
        for partition in 0..partitions {
            self.models.insert(TopicPartition { topic_id: id, partition }, Model::default());
        }
        id
    }

    /// Produces batches into one partition, in one command, and tells the model.
    pub async fn produce(&mut self, at: TopicPartition, batches: &[Vec<Record>], home: Home, compression: Compression) -> i64 {
        let encoded: Vec<Bytes> = batches.iter().map(|records| encode(records, compression)).collect();
        let all = Bytes::from(encoded.concat());
        let described = batches.iter().zip(&encoded).map(|(records, bytes)| describe(records, bytes)).collect();
        let mut produce =
            Produce { topic_id: at.topic_id.0.to_vec(), partition: at.partition, object: 0, position: 0, batches: described };
        let submission = match home {
            Home::Inline => Submission { commands: vec![produce.into()], payload: vec![all], objects: Vec::new() },
            Home::Wal => {
                let mut builder = WalSegmentBuilder::new();
                builder.push(at, all);
                let segment = builder.finish().unwrap();
                let path = format!("wal/{}", self.cell.name_object());
                self.world.objects.put_new(Purpose::Wal, &path, segment.bytes, segment.crc32c).await.unwrap();
                produce.object = 1;
                let object = NewObject { path, size: segment.file_bytes, crc32c: segment.crc32c };
                Submission { commands: vec![produce.into()], payload: Vec::new(), objects: vec![object] }
            }
        };
        let Outcome::Produced(outcomes) = self.commit(submission).await else { panic!("not produced") };
        let append = self.topics[&at.topic_id].1;
        let model = self.models.get_mut(&at).unwrap();
        let first = model.end;
        for (records, outcome) in batches.iter().zip(outcomes) {
            let BatchOutcome::Appended { base_offset, append_time_ms, .. } = outcome else { panic!("{outcome:?}") };
            assert_eq!(base_offset, model.end);
            for record in records {
                let mut record = record.clone();
                if append {
                    (record.append_time, record.timestamp_ms) = (true, append_time_ms);
                }
                model.records.insert(model.end, record);
                model.end += 1;
            }
        }
        first
    }
}

pub fn encode(records: &[Record], compression: Compression) -> Bytes {
    let options = BatchOptions { compression, timestamp_type: TimestampType::Create, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for record in records {
        let headers: Vec<_> = record.headers.iter().map(|(key, value)| HeaderRef { key, value: value.as_deref() }).collect();
        builder.push_next(record.timestamp_ms, record.key.as_deref(), record.value.as_deref(), &headers).unwrap();
    }
    builder.finish(None).unwrap()
}

fn describe(records: &[Record], bytes: &Bytes) -> Batch {
    let header = BatchHeader::parse(bytes).unwrap();
    let max = records.iter().map(|record| record.timestamp_ms).max().unwrap();
    Batch {
        length: bytes.len() as u32,
        last_offset_delta: header.last_offset_delta as u32,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        attributes: header.attributes as u32,
        max_timestamp_ms: max,
        max_timestamp_delta: records.iter().position(|record| record.timestamp_ms == max).unwrap() as u32,
        min_timestamp_ms: records.iter().map(|record| record.timestamp_ms).min().unwrap(),
    }
}
