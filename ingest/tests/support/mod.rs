//! A node over a log in memory, requests, and what partitions hold afterwards.
#![allow(dead_code, reason = "each test file uses a part")]

use bytes::Bytes;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use strandline_cell::{Cell, CellOptions, JoinAs, Submission};
use strandline_commands::{ConfigEntry, CreateTopic, Role};
use strandline_commit_log::{CommitLog, MemoryCommitLog};
use strandline_extents::ExtentReader;
use strandline_index::{Extent, Index, Outcome};
use strandline_ingest::{Ingest, IngestOptions, PendingProduce, ProduceConnection};
use strandline_object_store::{FaultPlan, Faults, InMemory, Objects, Purpose, RetryPolicy};
use strandline_runtime::Runtime;
use strandline_types::{Caller, Gone, Seq, TopicId};
use strandline_wire::ErrorCode;
use strandline_wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};
use strandline_wire::records::{
    BatchBuilder, BatchOptions, BatchPlace, Compression, RecordScratch, for_each_record, split_batches,
};

pub const START_MS: i64 = 1_790_000_000_000;

pub struct Node {
    pub runtime: Runtime,
    pub log: MemoryCommitLog,
    pub cell: Cell,
    pub objects: Objects,
    pub faults: FaultPlan,
    pub ingest: Ingest,
}

pub fn caller() -> Caller {
    Caller::anonymous(Some("test".to_owned()), "/127.0.0.1".to_owned(), Seq::default(), Gone::default())
}

pub fn objects(runtime: &Runtime) -> (Objects, FaultPlan) {
    let faults = FaultPlan::new();
    let store = Faults::new(Arc::new(InMemory::new()), faults.clone(), runtime);
    (Objects::new(Arc::new(store), RetryPolicy::once(), runtime), faults)
}

pub async fn cell(runtime: &Runtime, log: &MemoryCommitLog, sole: bool, port: u16) -> Cell {
    let options = CellOptions {
        join: JoinAs { host: "127.0.0.1".to_owned(), port, zone: String::new(), roles: vec![Role::Ingest], sole },
        accept_clock: false,
        poll: Duration::from_millis(100),
    };
    let log: Arc<dyn CommitLog> = Arc::new(log.clone());
    Cell::start(runtime.clone(), log, Index::default(), options).await.unwrap()
}

impl Node {
    /// Batches ride inline, whatever their size.
    pub async fn embedded() -> Self {
        Self::new(true, 1).await
    }

    /// Batches go through buffers and WAL segments.
    pub async fn buffered() -> Self {
        Self::new(false, 1).await
    }

    pub async fn buffered_with_seed(seed: u64) -> Self {
        Self::new(false, seed).await
    }

    async fn new(takes_any_payload: bool, seed: u64) -> Self {
        let runtime = Runtime::simulated(seed, START_MS);
        let log = MemoryCommitLog::new(runtime.clone()).taking_any_payload(takes_any_payload);
        let cell = cell(&runtime, &log, true, 9092).await;
        let (objects, faults) = objects(&runtime);
        let ingest = Ingest::new(IngestOptions::default(), cell.clone(), objects.clone(), None);
        Self { runtime, log, cell, objects, faults, ingest }
    }

    pub async fn topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> TopicId {
        let id = TopicId(self.runtime.random.id());
        let configs = configs.iter().map(|(name, value)| ConfigEntry { name: name.to_string(), value: value.to_string() });
        let create = CreateTopic {
            topic_id: id.0.to_vec(),
            name: name.to_owned(),
            partitions,
            replication_factor: 1,
            configs: configs.collect(),
        };
        let submitted = self.cell.submit(Submission::one(create)).await.unwrap();
        assert_eq!(submitted.outcomes, [Outcome::Done]);
        id
    }

    pub async fn produce(&self, request: ProduceRequest) -> ProduceResponse {
        self.ingest.accept(&caller(), 9, request).await.answer().await.response
    }

    pub async fn accept(&self, request: ProduceRequest) -> PendingProduce {
        self.ingest.accept(&caller(), 9, request).await
    }

    /// Every record of a partition, read back from where the index says it is.
    pub async fn values(&self, topic: TopicId, partition: i32) -> Vec<(i64, String)> {
        let extents = self.extents(topic, partition);
        let reader = ExtentReader::new(self.cell.log().clone(), self.objects.clone(), Purpose::Read);
        let mut values = Vec::new();
        for extent in extents {
            let mut offset = extent.start;
            for batch in split_batches(reader.bytes(&extent).await.unwrap()).unwrap() {
                let place = BatchPlace { base_offset: offset, log_append_time_ms: None };
                let mut scratch = RecordScratch::default();
                for_each_record(&batch.bytes, place, &mut scratch, |record| {
                    values.push((record.offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
                    ControlFlow::Continue(())
                })
                .unwrap();
                offset += i64::from(batch.header.last_offset_delta) + 1;
            }
            assert_eq!(offset, extent.end);
        }
        values
    }

    pub fn extents(&self, topic: TopicId, partition: i32) -> Vec<Extent> {
        self.cell.view().partition(topic, partition).unwrap().extents.iter().copied().collect()
    }
}

/// A batch of one record per value.
pub fn batch(values: &[&str]) -> Bytes {
    batch_with(values, BatchOptions::default())
}

pub fn idempotent(producer_id: i64, producer_epoch: i16, base_sequence: i32, values: &[&str]) -> Bytes {
    batch_with(values, BatchOptions { producer_id, producer_epoch, base_sequence, ..BatchOptions::default() })
}

pub fn batch_with(values: &[&str], options: BatchOptions) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for value in values {
        builder.push_next(START_MS, Some(b"key"), Some(value.as_bytes()), &[]).unwrap();
    }
    builder.finish(None).unwrap()
}

pub fn compressed(values: &[&str], compression: Compression) -> Bytes {
    batch_with(values, BatchOptions { compression, ..BatchOptions::default() })
}

/// A request by topic name, with acks=all.
pub fn request(partitions: &[(&str, i32, Bytes)]) -> ProduceRequest {
    let mut topics: Vec<TopicProduceData> = Vec::new();
    for (topic, index, records) in partitions {
        let data = PartitionProduceData { index: *index, records: Some(records.clone()) };
        match topics.iter_mut().find(|found| found.name == *topic) {
            Some(found) => found.partition_data.push(data),
            None => topics.push(TopicProduceData {
                name: topic.to_string(),
                partition_data: vec![data],
                ..TopicProduceData::default()
            }),
        }
    }
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: topics, ..ProduceRequest::default() }
}

pub fn partition(response: &ProduceResponse, topic: usize, partition: usize) -> &PartitionProduceResponse {
    &response.responses[topic].partition_responses[partition]
}

pub fn error(response: &ProduceResponse, topic: usize, at: usize) -> ErrorCode {
    ErrorCode::from_code(partition(response, topic, at).error_code)
}

pub fn connection(node: &Node) -> ProduceConnection {
    node.ingest.connection()
}
